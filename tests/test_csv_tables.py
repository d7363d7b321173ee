"""Reading and writing CSV files as tables, and what is wrong with a file."""

import pytest

from lifecycle.cli.csv_tables import read_table, write_table

from .csv_files import written

pytest.importorskip("pandas")


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_separators_missing_values_and_a_byte_order_mark(tmp_path, delimiter):
    text = "\ufeffa,b c,d\n1,x,\nNA,,2.5\n3, y ,null\n".replace(",", delimiter)
    table = read_table(written(tmp_path, text))
    assert list(table.columns) == ["a", "b c", "d"]
    assert table.to_numpy().tolist() == [["1", "x", None], [None, None, "2.5"], ["3", "y ", None]]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty"),
        ("a,b\n", "no row"),
        ("a,b\n1,2\n3,4,5\n", "no CSV table"),
        ("a,a\n1,2\n", "the column name 'a' twice"),
        ("a,b\n\xe9,1\n".encode("latin-1"), "no text in UTF-8"),
        ('a,b\n"1,2\n', "no CSV table"),
        ("a\0,b\n1,2\n", "NUL"),
    ],
)
def test_files_that_are_no_table(tmp_path, text, sentence):
    with pytest.raises(ValueError, match=sentence) as found:
        read_table(written(tmp_path, text))
    assert "table.csv" in str(found.value)
    assert "\n" not in str(found.value)


def test_what_stands_in_quotes_separates_nothing(tmp_path):
    table = read_table(written(tmp_path, '"x, in cm";"y, in cm"\n"1";"2"\n'))
    assert list(table.columns) == ["x, in cm", "y, in cm"]
    one = read_table(written(tmp_path, "a\n1\n\n3\n"))
    assert one["a"].tolist() == ["1", None, "3"]


def test_a_table_is_written_whole(tmp_path):
    table = read_table(written(tmp_path, "a,b\n1,x\n2,\n"))
    write_table(table, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes().splitlines() == [b"a,b", b"1,x", b"2,"]
    with pytest.raises(OSError, match="no folder"):
        write_table(table, tmp_path / "no" / "again.csv")

"""Reading and writing CSV files as tables, and what is wrong with a file."""

import csv
import io
import re

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, example, given, settings
from hypothesis import strategies as st

from lifecycle.cli.csv_tables import CsvReader, number_format_of, read_table
from lifecycle.cli.number_format import NUMBER_FORMATS, NumberFormat, as_number, as_numbers

from .csv_files import written

pandas = pytest.importorskip("pandas")


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
        (b"a,b\n\x81,1\n", "no text in UTF-8"),  # nor in Windows-1252
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


@pytest.mark.parametrize(
    ("text", "names", "rows"),
    [
        ("a;b\n1,5;x\n;y\n2,5;z\n", ["a", "b"], [["1,5", "x"], [None, "y"], ["2,5", "z"]]),
        ("a\tb\n1,5\tx\n\ty\n", ["a", "b"], [["1,5", "x"], [None, "y"]]),
        ("a|b\n1,5|x\n|y\n", ["a", "b"], [["1,5", "x"], [None, "y"]]),
        ('"x\nin cm";y\n1,5;2\n', ["x\nin cm", "y"], [["1,5", "2"]]),
        ("x, in cm;y, in cm\n1,5;2,5\n3,5;2\n", ["x, in cm", "y, in cm"], [["1,5", "2,5"], ["3,5", "2"]]),
        ("name;price, in €\na;1,5\n", ["name", "price, in €"], [["a", "1,5"]]),
        ("a,b,,,\n1,2,,,\n3,4,,,\n", ["a", "b"], [["1", "2"], ["3", "4"]]),
        ("a,,b,,\n1,,3,,\n", ["a", "b"], [["1", "3"]]),
        ("sep=;\na;b\n1;2\n", ["a", "b"], [["1", "2"]]),
        ("sep=;\na, b\n1\n", ["a, b"], [["1"]]),
        ('"sep=^"\r\na^b\r\n1^2\r\n', ["a", "b"], [["1", "2"]]),
        ("\n \n;;\na;b\n1;2\n", ["a", "b"], [["1", "2"]]),
        ("NA,None,null,nan\n1,2,3,NA\n", ["NA", "None", "null", "nan"], [["1", "2", "3", None]]),
        ("a,b\r1,2\r", ["a", "b"], [["1", "2"]]),
        ("x, in cm\n1\n2\n", ["x, in cm"], [["1"], ["2"]]),
        ("a\n1,5\n2,5\n", ["a"], [["1,5"], ["2,5"]]),
        ('a;b,"|c\n1;2\n', ["a", 'b,"|c'], [["1", "2"]]),
    ],
)
def test_delimiters_names_and_first_lines(tmp_path, text, names, rows):
    table = read_table(written(tmp_path, text))
    assert list(table.columns) == names
    assert table.to_numpy().tolist() == rows


@pytest.mark.parametrize(
    ("text", "number_format", "numbers", "said"),
    [
        ("a;b\n1,5;x\n;y\n", (",", "."), [1.5, np.nan], "decimal commas, such as '1,5' in 'a'"),
        (
            "a;b\n76.586;1,5\n0,125;2\n",
            (",", "."),
            [76586, 0.125],
            "points separate thousands, such as '76.586' in 'a'",
        ),
        ("a;b;c\n1,5;2,5;76.58\n2;3;1\n", (",", "."), [1.5, 2], "'76.58' in 'c' is no number then"),
        ('a,b\n"1,5",x\n"2,25",y\n', (",", "."), [1.5, 2.25], "decimal commas, such as '1,5' in 'a'"),
        (
            'a,b\n"1,234",0.5\n12,1\n',
            (".", ","),
            [1234, 12],
            "commas in numbers separate thousands, such as '1,234' in 'a'",
        ),
        ("a\tb\tc\n0.5\t1,5\t2.5\n1\t2\t3\n", (".", ","), [0.5, 1], "'1,5' in 'b' is no number then"),
        ("a\tb\n1,000\tx\n999\ty\n", (".", ""), None, "'1,000' in 'a' can have a decimal comma or separate thousands"),
        ("a,b\n1.5,x\n0.125,y\n", (".", ""), [1.5, 0.125], None),
    ],
)
def test_one_number_format_for_the_whole_file(tmp_path, text, number_format, numbers, said):
    table = read_table(written(tmp_path, text))
    assert number_format_of(table) == NumberFormat(*number_format)
    found = as_numbers(table["a"], number_format_of(table))
    assert found is None if numbers is None else np.array_equal(found, numbers, equal_nan=True)
    assert said in table.attrs["notes"][0] if said else table.attrs["notes"] == []


def test_a_column_of_words_is_no_evidence_and_nothing_is_said_of_it(tmp_path):
    table = read_table(written(tmp_path, 'w,k\nfoo,1\nbar,2\n"1,5",3\nbaz,4\n'))
    assert number_format_of(table) == NumberFormat(".", "")
    assert table.attrs["notes"] == []


def test_values_longer_than_the_limit_of_the_csv_module(tmp_path):
    limit = csv.field_size_limit()
    long = "x, " * 50_000 + "end"
    for rows in ([[long, "1"], ["y", "2"]], [["y", "2"]] * 5 + [[long, "1"]]):
        out = io.StringIO()
        csv.writer(out).writerows([["body", "label"], *rows])
        table = read_table(written(tmp_path, out.getvalue()))
        assert list(table.columns) == ["body", "label"]
        assert table.to_numpy().tolist() == rows
    assert csv.field_size_limit() == limit


@pytest.mark.parametrize("end", ["", "\n", "\n\n\n", "\r\n\r\n", "\n  \n\n", "\r\r"])
def test_blank_lines_at_the_end_are_no_rows(tmp_path, end):
    assert read_table(written(tmp_path, f"a\n1\n\n2{end}"))["a"].tolist() == ["1", None, "2"]
    assert read_table(written(tmp_path, f"a,b\n1,x\n2,y {end}")).to_numpy().tolist() == [["1", "x"], ["2", "y "]]
    assert read_table(written(tmp_path, f'a\n1\n""{end}'))["a"].tolist() == ["1", None]
    assert read_table(written(tmp_path, f'a\n1\n"x\n\n"{end}'))["a"].tolist() == ["1", "x\n\n"]


def test_other_encodings(tmp_path):
    text = "Größe,n\né,1\n"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        table = read_table(written(tmp_path, text.encode(encoding)))
        assert table.to_numpy().tolist() == [["é", "1"]]
        assert table.attrs["notes"] == []
    table = read_table(written(tmp_path, text.encode("latin-1")))
    assert list(table.columns) == ["Größe", "n"]
    assert table.attrs["notes"] == ["the text is no UTF-8 and was read as Windows-1252"]


LATIN = st.characters(codec="latin-1", exclude_categories=("Cc", "Zs"))
WORDS = st.text(st.one_of(LATIN, st.sampled_from(',;|\t"\n -=')), max_size=8).map(str.strip)
# leading blanks, and what pandas takes for missing, are not kept; NUL is no text
MISSING = set(pandas._libs.parsers.STR_NA_VALUES)
CELLS = WORDS.map(lambda v: None if v in MISSING else v)
NAMES = WORDS.filter(lambda v: v.strip(",;| \t\n") and "sep=" not in v.lower() and "number" not in v)
NUMBERS = st.one_of(st.none(), st.floats(-1e6, 1e6, allow_subnormal=False).map(lambda v: round(v, 3)))


def is_utf8(content):
    try:
        content.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True


@st.composite
def frames(draw):
    n = draw(st.integers(1, 6))
    names = draw(st.lists(NAMES, min_size=2, max_size=4, unique=True))
    columns = {
        "number": [0.5, *(draw(NUMBERS) for _ in range(n))],
        "number 2": [1.25, *(draw(NUMBERS) for _ in range(n))],
    }
    columns |= {name: ["word", *(draw(CELLS) for _ in range(n))] for name in names}
    return pandas.DataFrame(
        {name: pandas.Series(columns[name], dtype=object) for name in draw(st.permutations(list(columns)))}
    )


DIALECTS = [(d, q) for d in ",;\t|" for q in (csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC)]
ENCODINGS = ("utf-8", "utf-8-sig", "cp1252", "utf-16")


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(("delimiter", "quoting"), DIALECTS)
@settings(deadline=None, max_examples=25, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_a_frame_comes_back_from_every_dialect_and_encoding(tmp_path, delimiter, quoting, encoding, data):
    frame = data.draw(frames())
    decimal = data.draw(st.sampled_from(".,"))
    end = data.draw(st.sampled_from(["\n", "\r\n"]))
    first = data.draw(st.sampled_from(["", f"sep={delimiter}{end}", end, f"{delimiter}{delimiter}{end}"]))
    n_empty = data.draw(st.integers(0, 2))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow([*frame.columns, *[""] * n_empty])
    for row in frame.itertuples(index=False):
        texts = [v if not isinstance(v, float) else repr(v).replace(".", decimal) for v in row]
        writer.writerow([*("" if v is None else v for v in texts), *[""] * n_empty])
    content = (first + out.getvalue()).encode(encoding)
    if encoding == "cp1252":
        assume(content.isascii() or not is_utf8(content))
    table = read_table(written(tmp_path, content))
    assert list(table.columns) == list(frame.columns)
    number_format = number_format_of(table)
    for name in frame.columns:
        if name.startswith("number"):
            expected = [np.nan if v is None else v for v in frame[name]]
            np.testing.assert_array_equal(as_numbers(table[name], number_format), expected)
        else:
            assert table[name].tolist() == [v or None for v in frame[name]]


def in_blocks(content, size, numeric=(), number_format=NUMBER_FORMATS[0]):
    """The table of a file that is read in blocks; all columns are text, but for numeric ones."""
    reader = CsvReader(io.BufferedReader(io.BytesIO(content)), "table.csv", size)
    words = [c for c in reader.first if c not in numeric]
    return pandas.concat(list(reader.tables(numeric, words, number_format)), ignore_index=True)


@pytest.mark.parametrize("encoding", ENCODINGS)
@settings(deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_where_blocks_end_changes_nothing(tmp_path, encoding, data):
    delimiter, end = data.draw(st.sampled_from(",;\t|")), data.draw(st.sampled_from(["\n", "\r\n", "\r"]))
    n = data.draw(st.integers(1, 3))
    quoting = data.draw(st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]))
    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, quoting=quoting, lineterminator=end)
    writer.writerow(["é", "b", "c"][:n])  # whose encoding is decided
    for row in data.draw(st.lists(st.lists(CELLS, min_size=n, max_size=n), min_size=1, max_size=12)):
        if end != "\r":  # after such a blank line pandas drops a delimiter with which a row begins
            out.write(data.draw(st.sampled_from(["", "", end, f"  {end}"])))
        writer.writerow(row)
    out.write(data.draw(st.sampled_from(["", end, f" {end}{end}", "last"])))
    content = f"sep={delimiter}{end}{out.getvalue()}".encode(encoding)
    assume(encoding != "cp1252" or not is_utf8(content))
    whole = read_table(written(tmp_path, content))
    # the first block ends after the names, or later
    size = data.draw(st.integers(len(f'sep={delimiter}{end}"é"{end}'.encode(encoding)), len(content)))
    pandas.testing.assert_frame_equal(in_blocks(content, size), whole.astype(object), check_dtype=False)


NUMBER_LIKE = st.text("0123456789+-eE.,_ \tinfaxyT\xa0１", min_size=1, max_size=12)


@settings(deadline=None, max_examples=300)
@example(["1,5 "], NumberFormat(",", "."))
@example(["1,5"], NumberFormat(".", ","))
@given(
    st.lists(
        st.one_of(
            NUMBER_LIKE, st.floats(width=64).map(repr), st.integers().map(str), st.floats().map("{:,.3f}".format)
        ),
        min_size=1,
        max_size=6,
    ),
    st.sampled_from(NUMBER_FORMATS),
)
def test_pandas_reads_as_numbers_what_the_rule_does(values, number_format):
    values = [v.lstrip(" ") for v in values]
    assume(all(v not in MISSING and v.strip() for v in values))
    content = "\n".join(["n|w", *(f"{v}|w" for v in values)]).encode()
    column = in_blocks(content, -1, ["n"], number_format)["n"]
    if column.dtype.kind in "iuf":
        np.testing.assert_array_equal(column, [as_number(v, number_format) for v in values])
    else:
        assert column.tolist() == values


def test_a_column_is_text_only_in_the_blocks_with_other_values():
    content = b"a,b\n" + b"1,x\n" * 50 + b"True,x\n" + b"0.5,x\n" * 50 + b"1_0,x\n" + b"9" * 25 + b",x\n"
    reader = CsvReader(io.BufferedReader(io.BytesIO(content)), "table.csv", 40)
    columns = [table["a"] for table in reader.tables(["a"], ["b"], NUMBER_FORMATS[0])]
    assert {c.dtype.kind for c in columns} == {"i", "f", "O"}
    assert [v for c in columns if c.dtype == object for v in c if not re.fullmatch(r"1|0\.5", v)] == [
        "True",
        "1_0",
        "9" * 25,
    ]


@pytest.mark.parametrize(
    ("names", "late", "sentence"),
    [
        ("a,b", b"1,2,3\n", "is no CSV table: row 41 has 3 values, but there are 2 names"),
        ("a,b", b'1,"2\n', "is no CSV table: .*EOF inside string"),
        ("é,b", b"1,\xe9\n", "is no text in UTF-8 in row 41, column 'b'"),
        ("é,b", b'"1\n2",\n\n\xe9', "is no text in UTF-8 in row 42, column 'é'"),
        ("a,b", b"1,\x81\n", "is no text in UTF-8 in row 41, column 'b'"),
        ("a,b", b"1\0,2\n", "holds NUL characters in row 41, column 'a'"),
        ("a,,", b"1,,x\n", "holds 'x' in row 41, column 3, which has no name"),
    ],
)
def test_a_late_row_that_contradicts_the_first_block_is_named(names, late, sentence):
    early = names + "\n" + "1,2\n" * 20 + "\n" * 3 + "3,4\n" * 20
    if names.endswith(","):
        early = early.replace(",2", ",").replace(",4", ",")
    with pytest.raises(ValueError, match=f"^table.csv {sentence}"):
        in_blocks(early.encode() + late + b"5,\n" * 9, 40)


def test_text_that_is_ascii_at_first_may_be_in_both_encodings():
    early = b"a,b\n" + b"1,x\n" * 30
    assert in_blocks(early + "2,é\n".encode(), 30)["b"].iloc[-1] == "é"
    with pytest.warns(UserWarning, match="table.csv: the text is no UTF-8 and was read as Windows-1252"):
        table = in_blocks(early + "2,é\n3,ü\n".encode("cp1252"), 30)
    assert table["b"].tolist()[-2:] == ["é", "ü"]

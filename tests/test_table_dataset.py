"""Features and target of a CSV file: kinds of columns, what is left out, what cannot be learned from."""

import numpy as np
import pytest

from lifecycle.cli.table_dataset import read_dataset

from .csv_files import many, written

pytest.importorskip("pandas")


def test_kinds_of_columns_and_what_is_left_out(tmp_path):
    header = "number,holes,word,flag,constant,row,code,y"

    def row(k):
        return f"{k / 7!r},{'' if k % 3 else k},{'ab'[k % 2]},{k % 2 == 0},1,p{k},1_{k % 5},{'no' if k % 4 else 'yes'}"

    data = read_dataset(written(tmp_path, many(header, row)), "y")
    assert (data.numeric, data.categorical) == (["number", "holes"], ["word", "flag", "code"])
    assert data.notes == ["columns left out: constant (one value), row (60 different words, such as 'p0')"]
    assert data.classification
    np.testing.assert_array_equal(data.X["number"], np.arange(60) / 7)
    assert np.isnan(data.X["holes"]).sum() == 40
    assert set(data.X["flag"]) == {"True", "False"}


@pytest.mark.parametrize(
    ("value", "classification"),
    [
        (lambda k: k % 3, True),
        (lambda k: f"{k % 3}.0", True),
        (lambda k: k, False),
        (lambda k: k % 3 + 0.5, False),
        (lambda k: "yes" if k % 2 else "no", True),
        (lambda k: k % 2 == 0, True),
    ],
)
def test_what_is_a_class_and_what_is_a_quantity(tmp_path, value, classification):
    data = read_dataset(written(tmp_path, many("x,y", lambda k: f"{k / 2},{value(k)}")), "y")
    assert data.classification is classification


def test_rows_without_a_target_and_rare_classes_are_left_out_and_said(tmp_path):
    def row(k):
        return f"{k / 2},{'' if k < 5 else 'rare' if k < 8 else 'ab'[k % 2]}"

    data = read_dataset(written(tmp_path, many("x,y", row)), "y")
    assert len(data.y) == len(data.X) == 52
    assert set(data.y) == {"a", "b"}
    assert data.notes == [
        "5 rows without a y are left out",
        "3 rows of 'rare' are left out: fewer than 10 in a class",
    ]


@pytest.mark.parametrize(
    ("text", "target", "sentence"),
    [
        (many("x,y", lambda k: f"{k},a"), "y", "at least two classes"),
        (many("x,y", lambda k: f"{k},7"), "y", "at least two classes"),
        (many("x,y", lambda k: f"{k},"), "y", "at least two classes"),
        (many("x,y", lambda k: f"{k},2.5"), "y", "one value only, 2.5"),
        (many("x,y", lambda k: f"{k},{k % 2}"), "z", "no column 'z'; it has 'x', 'y'"),
        (many("x,y", lambda k: f"{k},{k % 2}", 30), "y", "30 rows with a y; at least 40"),
        (many("x,y", lambda k: f"{k},{k / 3 if k else 'inf'}"), "y", "infinite"),
        (many("x,y", lambda k: f"{k if k else '-inf'},{k % 2}"), "y", "'x' of table.csv holds infinite"),
        (many("x,y", lambda k: f"p{k},{k % 2}"), "y", "no column to learn from"),
        (many("y", lambda k: f"{k % 2}"), "y", "no column to learn from"),
    ],
)
def test_tables_that_cannot_be_learned_from(tmp_path, text, target, sentence):
    with pytest.raises(ValueError, match=sentence) as found:
        read_dataset(written(tmp_path, text), target)
    assert "\n" not in str(found.value)


def test_the_number_format_is_decided_for_the_file(tmp_path):
    text = many(
        "a;b;c;d;y", lambda k: f"{k},5;{3 * k};x{k % 3};{'' if k % 4 else f'76.58{k % 9}'};{'0,125' if k else '2,5'}"
    )
    data = read_dataset(written(tmp_path, text), "y")
    assert (data.numeric, data.categorical) == (["a", "b", "d"], ["c"])
    assert data.X["a"][3] == 3.5
    assert np.nanmax(data.X["d"]) == 76588
    assert data.y[1] == 0.125
    assert data.notes[0] == (
        "numbers have decimal commas, such as '0,5' in 'a'; points separate thousands, such as '76.580' in 'd'"
    )


def test_words_among_numbers_are_named(tmp_path):
    def row(k):
        return f"{'k.A.' if k == 40 else f'{k},5'};{'−' if k == 9 else k % 7};{k / 3!r};{k % 2}".replace(".3", ",3")

    data = read_dataset(written(tmp_path, many("a;b;c;y", row)), "y")
    notes = "\n".join(data.notes)
    assert "a is read as words because of 1 values such as 'k.A.'" in notes
    assert "a (60 different words, such as 'k.A.')" in notes
    assert "b is read as words because of 1 values such as '−'" in notes
    prices = many("a,price", lambda k: f"{k % 7},{'k.A.' if k == 40 else k * 1.5}")
    with pytest.raises(ValueError, match=r"'price' holds numbers, but also 'k\.A\.'"):
        read_dataset(written(tmp_path, prices), "price")


def test_leading_zeros_make_words(tmp_path):
    def row(k):
        return f"{k % 9 + 1:02d},{k:05d},{k % 5},{'01' if k % 2 else '1'}"

    data = read_dataset(written(tmp_path, many("month,code,x,y", row)), "y")
    assert (data.numeric, data.categorical) == (["x"], ["month"])
    assert sorted(set(data.y)) == ["01", "1"]
    assert "month is read as words because of leading zeros, such as '01'" in data.notes


def test_columns_that_identify_the_row_are_left_out_unless_asked_for(tmp_path):
    def row(k):
        return f"{k + 1},{901 * k + 7},Miller {k},{k % 9},{k / 7!r},{k % 2}"

    path = written(tmp_path, many("running,customerId,name,x,amount,y", row))
    data = read_dataset(path, "y")
    assert (data.numeric, data.categorical) == (["x", "amount"], [])
    assert data.notes == [
        "columns left out: name (60 different words, such as 'Miller 0')",
        "columns left out because they identify the row: running, customerId (--keep NAME to learn from one)",
    ]
    data = read_dataset(path, "y", keep=["running", "name"])
    assert (data.numeric, data.categorical) == (["running", "x", "amount"], ["name"])
    with pytest.raises(ValueError, match="no column 'z'"):
        read_dataset(path, "y", keep=["z"])


@pytest.mark.parametrize(
    ("name", "value", "is_identifier"),
    [
        ("height", lambda k: 150 + k * 7 % 60, False),
        ("height", lambda k: 150 + k, False),
        ("height", lambda k: k * 7 % 60, False),
        ("height", lambda k: 60 - k, False),
        ("unnamed", lambda k: k, True),
        ("unnamed", lambda k: k + 1, True),
        ("customer_id", lambda k: 150 + k * 7 % 60, True),
        ("customer_id", lambda k: k % 20, False),
    ],
)
def test_consecutive_numbers_identify_rows_only_in_their_order_or_by_their_name(tmp_path, name, value, is_identifier):
    data = read_dataset(written(tmp_path, many(f"{name},x,y", lambda k: f"{value(k)},{k % 7},{k % 2}")), "y")
    assert (name not in data.numeric) == is_identifier


@pytest.mark.parametrize(
    ("name", "value", "is_date"),
    [
        ("day", lambda k: f"2024-01-{k % 28 + 1:02d}", True),
        ("day", lambda k: f"2024-01-{k % 28 + 1:02d}T10:00:00Z", True),
        ("day", lambda k: f"{k % 28 + 1}.03.2024", True),
        ("day", lambda k: f"3/{k % 28 + 1}/24", True),
        ("day", lambda k: f"Mar {k % 28 + 1} 2024", True),
        ("year", lambda k: 1990 + k % 30, True),
        ("years_of_work", lambda k: k % 30, False),
        ("size", lambda k: f"{k % 5}-{k % 3}", False),
        ("size", lambda k: 1000.5 + k, False),
        ("word", lambda k: ["may", "march", "mar 10"][k % 3], False),
    ],
)
def test_dates_are_said(tmp_path, name, value, is_date):
    data = read_dataset(written(tmp_path, many(f"{name},x,y", lambda k: f"{value(k)},{k % 7},{k % 2}")), "y")
    said = [note for note in data.notes if note.startswith(f"the rows have dates ({name}) and are split at random")]
    assert len(said) == is_date


def test_a_column_without_a_name_is_left_out(tmp_path):
    data = read_dataset(written(tmp_path, many(",x,y", lambda k: f"{k},{k % 7},{k % 2}")), "y")
    assert data.numeric == ["x"]
    assert data.notes == ["columns left out: one without a name"]


def test_a_name_with_a_line_break_stays_on_one_line_of_the_notes(tmp_path):
    text = many('"one\nvalue";x;y', lambda k: f"1;{k % 7};{k % 2}")
    assert read_dataset(written(tmp_path, text), "y").notes == ["columns left out: one value (one value)"]

"""Features and target of a CSV file: kinds of columns, what is left out, what cannot be learned from."""

import numpy as np
import pytest

from lifecycle.cli.csv_tables import read_table
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
    data = read_dataset(written(tmp_path, many("x,y", lambda k: f"{k},{value(k)}")), "y")
    assert data.classification is classification


def test_rows_without_a_target_and_rare_classes_are_left_out_and_said(tmp_path):
    def row(k):
        return f"{k},{'' if k < 5 else 'rare' if k < 8 else 'ab'[k % 2]}"

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


def test_decimal_commas_where_they_do_not_separate(tmp_path):
    text = many("a;b;c;y", lambda k: f"{k},5;{k};x,{k % 3};{k % 2}")
    data = read_dataset(written(tmp_path, text), "y")
    assert (data.numeric, data.categorical) == (["a", "b"], ["c"])
    assert data.X["a"][3] == 3.5
    text = many("a,y", lambda k: f'"{k},500",{k % 2}')
    with pytest.raises(ValueError, match="no column to learn from"):
        read_dataset(written(tmp_path, text), "y")
    thousands = read_table(written(tmp_path, "a\tb\n1,000\tx\n12,500\ty\n999\tz\n"))
    assert thousands["a"].tolist() == ["1,000", "12,500", "999"]


def test_a_column_without_a_name_is_left_out(tmp_path):
    data = read_dataset(written(tmp_path, many(",x,y", lambda k: f"{k},{k % 7},{k % 2}")), "y")
    assert data.numeric == ["x"]
    assert data.notes == ["columns left out: one without a name"]

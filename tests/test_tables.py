"""CSV files as tables: what is a number, what is a word, what is to be learned, and what is wrong with a file."""

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

import lifecycle as lc
from lifecycle.cli import tables

pytest.importorskip("pandas")


def written(folder, text, name="table.csv"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode("utf-8"))
    return path


def many(header, row, n=60):
    return "\n".join([header, *(row(k) for k in range(n))]) + "\n"


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
def test_separators_missing_values_and_a_byte_order_mark(tmp_path, delimiter):
    text = "\ufeffa,b c,d\n1,x,\nNA,,2.5\n3, y ,null\n".replace(",", delimiter)
    table = tables.read_table(written(tmp_path, text))
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
        tables.read_table(written(tmp_path, text))
    assert "table.csv" in str(found.value)
    assert "\n" not in str(found.value)


def test_kinds_of_columns_and_what_is_left_out(tmp_path):
    header = "number,holes,word,flag,constant,row,code,y"

    def row(k):
        return f"{k / 7!r},{'' if k % 3 else k},{'ab'[k % 2]},{k % 2 == 0},1,p{k},1_{k % 5},{'no' if k % 4 else 'yes'}"

    task = tables.read_task(written(tmp_path, many(header, row)), "y")
    assert (task.numbers, task.words) == (["number", "holes"], ["word", "flag", "code"])
    assert task.notes == ["columns left out: constant (one value), row (60 different words, such as 'p0')"]
    assert task.classification
    np.testing.assert_array_equal(task.X["number"], np.arange(60) / 7)
    assert np.isnan(task.X["holes"]).sum() == 40
    assert set(task.X["flag"]) == {"True", "False"}


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
    task = tables.read_task(written(tmp_path, many("x,y", lambda k: f"{k},{value(k)}")), "y")
    assert task.classification is classification


def test_rows_without_a_target_and_rare_classes_are_left_out_and_said(tmp_path):
    def row(k):
        return f"{k},{'' if k < 5 else 'rare' if k < 8 else 'ab'[k % 2]}"

    task = tables.read_task(written(tmp_path, many("x,y", row)), "y")
    assert len(task.y) == len(task.X) == 52
    assert set(task.y) == {"a", "b"}
    assert task.notes == [
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
        tables.read_task(written(tmp_path, text), target)
    assert "\n" not in str(found.value)


@pytest.mark.filterwarnings("ignore:1 rows hold words in 'c'")
def test_a_model_finds_its_columns_in_another_file(tmp_path):
    header = "n,w,c,y"
    task = tables.read_task(
        written(tmp_path, many(header, lambda k: f"{k},{'ab'[k % 2]},{'x' if k % 3 else k % 5},{k % 2}")), "y"
    )
    model = tables.prepared(task.numbers, task.words, lc.LinearClassifier(random_state=0)).fit(task.X, task.y)
    # in this file c looks like a number; the model knows it as a word, whose "3" it has seen
    other = tables.read_table(written(tmp_path, "extra,c,w,n\n9,3,b,1\n9,99,,\n", "other.csv"))
    found = tables.predict_table(model, other)
    assert list(found.columns) == ["prediction", "probability of 0", "probability of 1"]
    assert found["prediction"].tolist()[0] == 1
    row = task.X.iloc[[1]].assign(c="3")
    np.testing.assert_array_equal(found.iloc[[0], 1:].to_numpy(), model.predict_proba(row))
    with pytest.raises(ValueError, match="lacks 'w'; it has 'n', 'c'"):
        tables.predict_table(model, tables.read_table(written(tmp_path, "n,c\n1,x\n", "lacks.csv")))
    with pytest.raises(ValueError, match="'n' must hold numbers; it holds 'abc'"):
        tables.predict_table(model, tables.read_table(written(tmp_path, "n,w,c\n1,a,x\nabc,a,x\n", "text.csv")))


def test_decimal_commas_where_they_do_not_separate(tmp_path):
    text = many("a;b;c;y", lambda k: f"{k},5;{k};x,{k % 3};{k % 2}")
    task = tables.read_task(written(tmp_path, text), "y")
    assert (task.numbers, task.words) == (["a", "b"], ["c"])
    assert task.X["a"][3] == 3.5
    text = many("a,y", lambda k: f'"{k},500",{k % 2}')
    with pytest.raises(ValueError, match="no column to learn from"):
        tables.read_task(written(tmp_path, text), "y")
    thousands = tables.read_table(written(tmp_path, "a\tb\n1,000\tx\n12,500\ty\n999\tz\n"))
    assert thousands["a"].tolist() == ["1,000", "12,500", "999"]


def test_what_stands_in_quotes_separates_nothing(tmp_path):
    table = tables.read_table(written(tmp_path, '"x, in cm";"y, in cm"\n"1";"2"\n'))
    assert list(table.columns) == ["x, in cm", "y, in cm"]
    one = tables.read_table(written(tmp_path, "a\n1\n\n3\n"))
    assert one["a"].tolist() == ["1", None, "3"]


def test_a_column_without_a_name_is_left_out(tmp_path):
    task = tables.read_task(written(tmp_path, many(",x,y", lambda k: f"{k},{k % 7},{k % 2}")), "y")
    assert task.numbers == ["x"]
    assert task.notes == ["columns left out: one without a name"]


def test_words_that_the_model_has_not_seen_are_said(tmp_path):
    task = tables.read_task(written(tmp_path, many("n,w,y", lambda k: f"{k},{'ab'[k % 2]},{k % 2}")), "y")
    model = tables.prepared(task.numbers, task.words, lc.LinearClassifier(random_state=0)).fit(task.X, task.y)
    other = tables.read_table(written(tmp_path, "n,w\n1,a\n2,king\n3,\n", "other.csv"))
    with pytest.warns(UserWarning, match="1 rows hold words in 'w' that the model has not seen, such as 'king'"):
        assert len(tables.predict_table(model, other)) == 3


def test_predictions_of_plain_estimators(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    model = lc.LinearRegressor(optimizer="exact").fit(X, y)
    lines = [",".join(f"c{k}" for k in range(10)), *(",".join(map(repr, row.tolist())) for row in X[:20])]
    table = tables.read_table(written(tmp_path, "\n".join(lines)))
    found = tables.predict_table(model, table)
    np.testing.assert_array_equal(found["prediction"], model.predict(X[:20]))
    with pytest.raises(ValueError, match=r"takes 10 columns .* the table has 9"):
        tables.predict_table(model, table.drop(columns="c3"))
    nn = pytest.importorskip("torch.nn")
    with pytest.raises(lc.UnsupportedModel, match="bare Linear"):
        tables.predict_table(nn.Linear(10, 1), table)


def test_several_targets(tmp_path):
    lt = pytest.importorskip("lifecycle.torch")
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:, :2]
    model = lt.TorchRegressor(max_epochs=1, random_state=0).fit(X, np.stack([y, 1 - y], axis=1))
    found = tables.predict_table(model, tables.read_table(written(tmp_path, "a,b\n1,2\n3,4\n")))
    assert list(found.columns) == ["prediction 1", "prediction 2"]


def test_a_table_is_written_whole(tmp_path):
    table = tables.read_table(written(tmp_path, "a,b\n1,x\n2,\n"))
    tables.write_table(table, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes().splitlines() == [b"a,b", b"1,x", b"2,"]
    with pytest.raises(OSError, match="no folder"):
        tables.write_table(table, tmp_path / "no" / "again.csv")

"""Predictions for the rows of a CSV file."""

import json
import re

import numpy as np
import pytest
from sklearn.datasets import load_breast_cancer, load_diabetes

import lifecycle as lc
from lifecycle.cli.csv_tables import number_format_of, read_table
from lifecycle.cli.number_format import NumberFormat, as_numbers
from lifecycle.cli.prediction import number_format_in, predict_table, read_rows
from lifecycle.cli.table_dataset import preprocessing_pipeline, read_dataset

from .csv_files import many, written

pytest.importorskip("pandas")


def fitted(data):
    classifier = lc.LinearClassifier(random_state=0)
    return preprocessing_pipeline(data.numeric, data.categorical, classifier).fit(data.X, data.y)


@pytest.mark.filterwarnings("ignore:1 rows hold words in 'c'")
def test_a_model_finds_its_columns_in_another_file(tmp_path):
    header = "n,w,c,y"
    data = read_dataset(
        written(tmp_path, many(header, lambda k: f"{k / 2},{'ab'[k % 2]},{'x' if k % 3 else k % 5},{k % 2}")), "y"
    )
    model = preprocessing_pipeline(data.numeric, data.categorical, lc.LinearClassifier(random_state=0)).fit(
        data.X, data.y
    )
    # in this file c looks like a number; the model knows it as a word, whose "3" it has seen
    other = read_table(written(tmp_path, "extra,c,w,n\n9,3,b,0.5\n9,99,,\n", "other.csv"))
    found = predict_table(model, other)
    assert list(found.columns) == ["prediction", "probability of 0", "probability of 1"]
    assert found["prediction"].tolist()[0] == 1
    row = data.X.iloc[[1]].assign(c="3")
    np.testing.assert_array_equal(found.iloc[[0], 1:].to_numpy(), model.predict_proba(row))
    with pytest.raises(ValueError, match="lacks 'w'; it has 'n', 'c'"):
        predict_table(model, read_table(written(tmp_path, "n,c\n1,x\n", "lacks.csv")))
    with pytest.raises(ValueError, match="'n' must hold numbers; it holds 'abc'"):
        predict_table(model, read_table(written(tmp_path, "n,w,c\n1,a,x\nabc,a,x\n", "text.csv")))


def test_words_that_the_model_has_not_seen_are_said(tmp_path):
    data = read_dataset(written(tmp_path, many("n,w,y", lambda k: f"{k / 2},{'ab'[k % 2]},{k % 2}")), "y")
    model = preprocessing_pipeline(data.numeric, data.categorical, lc.LinearClassifier(random_state=0)).fit(
        data.X, data.y
    )
    other = read_table(written(tmp_path, "n,w\n1,a\n2,king\n3,\n", "other.csv"))
    with pytest.warns(UserWarning, match="1 rows hold words in 'w' that the model has not seen, such as 'king'"):
        assert len(predict_table(model, other)) == 3


def test_numbers_are_read_in_the_format_of_each_file(tmp_path):
    quoted = '"1,5"', "b"
    data = read_dataset(written(tmp_path, many("n,w,y", lambda k: f"{k / 2},{quoted[k % 2]},{k % 2}")), "y")
    assert data.categorical == ["w"]
    model = fitted(data)
    points = predict_table(model, read_table(written(tmp_path, 'n,w\n1.5,"1,5"\n1234.5,b\n')))
    commas = predict_table(model, read_table(written(tmp_path, "n;w\n1,5;1,5\n1.234,5;b\n")))
    np.testing.assert_array_equal(points, commas)
    leading_zeros = predict_table(model, read_table(written(tmp_path, "n,w\n01,b\n")))
    np.testing.assert_array_equal(leading_zeros, predict_table(model, read_table(written(tmp_path, "n,w\n1,b\n"))))


COMMAS, POINTS, GROUPED = NumberFormat(",", "."), NumberFormat(".", ""), NumberFormat(".", ",")


@pytest.mark.parametrize(
    ("trained", "text", "numbers", "said"),
    [
        # no evidence in the file: as in the training data
        (COMMAS, "n;w\n76.586;a\n2.000;b\n", [76586, 2000], "'2.000' in 'n' is read with decimal commas"),
        (COMMAS, 'n,w\n"0,125",a\n"1,125",b\n', [0.125, 1.125], None),
        (GROUPED, 'n,w\n"1,000",a\n7,b\n', [1000, 7], "'1,000' in 'n' is read with decimal points"),
        (POINTS, "n,w\n76.586,a\n2.000,b\n", [76.586, 2], None),
        # evidence of the file: another dialect
        (COMMAS, "n,w\n1.5,a\n76.586,b\n", [1.5, 76.586], "'1.5' in 'n'; the model was trained .* decimal commas"),
        (POINTS, "n;w\n1,5;a\n76.586;b\n", [1.5, 76586], "; the model was trained on a table with decimal points"),
        # words of the model, and other columns where nothing is open, are no evidence
        (COMMAS, "n;w\n76.586;1.5\n2.000;2.5\n", [76586, 2000], "decimal commas"),
        (COMMAS, "n;w;extra\n7;a;1.5\n8;b;2.5\n", [7, 8], None),
    ],
)
@pytest.mark.filterwarnings("ignore:2 rows hold words in 'w'")
def test_numbers_without_evidence_are_read_as_the_training_data(tmp_path, trained, text, numbers, said):
    data = read_dataset(written(tmp_path, many("n,w,y", lambda k: f"{k / 2},{'ab'[k % 2]},{k % 2}")), "y")
    model = fitted(data)
    table = read_rows(written(tmp_path, text), model, trained)
    np.testing.assert_array_equal(as_numbers(table["n"], number_format_of(table)), numbers)
    assert predict_table(model, table).shape == (2, 3)
    if said:
        assert re.search(said, "; ".join(table.attrs["notes"]))
    elif trained == POINTS:
        assert table.attrs["notes"] == []


def test_numbers_that_contradict_the_training_data_are_refused(tmp_path):
    data = read_dataset(written(tmp_path, many("n,m,y", lambda k: f"{k / 2},{k % 7 / 2},{k % 2}")), "y")
    model = fitted(data)
    sentence = "'2.000' in 'n' can have a decimal mark .* decimal commas, and '1.5' in 'extra' speaks against"
    with pytest.raises(ValueError, match=sentence) as found:
        read_rows(written(tmp_path, "n;m;extra\n76.586;1;1.5\n2.000;2;2.5\n"), model, COMMAS)
    assert "\n" not in str(found.value)
    both = read_rows(written(tmp_path, "n;m\n1,5;1.5\n2,5;2.25\n"), model, COMMAS)
    with pytest.raises(ValueError, match="'n' must hold numbers; it holds '1,5'"):
        predict_table(model, both)


def test_the_number_format_in_metadata():
    for number_format in (COMMAS, POINTS, GROUPED):
        stored = json.loads(json.dumps({"number_format": number_format._asdict()}))
        assert number_format_in(stored) == number_format
    for other in (None, {}, {"number_format": "%.2f"}, {"number_format": {"decimal": "x", "thousands": ""}}, []):
        assert number_format_in(other) is None


def test_predictions_of_plain_estimators(tmp_path):
    X, y = load_diabetes(return_X_y=True)
    model = lc.LinearRegressor(optimizer="exact").fit(X, y)
    lines = [",".join(f"c{k}" for k in range(10)), *(",".join(map(repr, row.tolist())) for row in X[:20])]
    table = read_table(written(tmp_path, "\n".join(lines)))
    found = predict_table(model, table)
    np.testing.assert_array_equal(found["prediction"], model.predict(X[:20]))
    with pytest.raises(ValueError, match=r"takes 10 columns .* the table has 9"):
        predict_table(model, table.drop(columns="c3"))
    nn = pytest.importorskip("torch.nn")
    with pytest.raises(lc.UnsupportedModel, match="bare Linear"):
        predict_table(nn.Linear(10, 1), table)


def test_several_targets(tmp_path):
    lt = pytest.importorskip("lifecycle.torch")
    X, y = load_breast_cancer(return_X_y=True)
    X = X[:, :2]
    model = lt.TorchRegressor(max_epochs=1, random_state=0).fit(X, np.stack([y, 1 - y], axis=1))
    found = predict_table(model, read_table(written(tmp_path, "a,b\n1,2\n3,4\n")))
    assert list(found.columns) == ["prediction 1", "prediction 2"]

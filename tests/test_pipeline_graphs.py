"""Graphs of pipelines answer as scikit-learn does on rows that are unlike those of the example, or refuse them too."""

import warnings

import numpy as np
import pandas as pd
import pytest
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.decomposition import PCA, TruncatedSVD
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfTransformer
from sklearn.feature_selection import SelectKBest, SelectPercentile, VarianceThreshold, f_regression
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline, make_union
from sklearn.preprocessing import (
    Binarizer,
    FunctionTransformer,
    KBinsDiscretizer,
    MaxAbsScaler,
    MinMaxScaler,
    Normalizer,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    PowerTransformer,
    QuantileTransformer,
    RobustScaler,
    SplineTransformer,
    StandardScaler,
)

import lifecycle as lc
from lifecycle.onnx.conversion import convert
from lifecycle.onnx.converters.transformers import numbers
from lifecycle.onnx.parity import ATOL, RTOL, compare
from lifecycle.store.adapters import SKLEARN_LINEAR_MODEL

rng = np.random.RandomState(0)
NUMBERS = np.column_stack([rng.randint(5, size=100), rng.randn(100), np.exp(rng.randn(100)), rng.randint(1, 4, 100)])
POSITIVE = np.abs(NUMBERS) + 0.5
MISSING = np.where(rng.rand(100, 4) < 0.1, np.nan, NUMBERS)
EMPTY = np.where(np.arange(4) == 1, np.nan, MISSING)
COUNTS = np.floor(5 * NUMBERS**2)
CODES = rng.randint(4, size=(100, 2)).astype(float)
HALVES = CODES + 0.5
WORDS = np.array(["a", "b", "c"], object)[rng.randint(3, size=(100, 2))]
TARGET = NUMBERS[:, 2] + 0.1 * rng.rand(100)
UNUSUAL = (0.0, 0.4, 2.7, -3.0, 1e6, -1e6, 1e30, -1e30, 1e39, 1e200, -1e200, 1e308, 1e-20, 1e-320, np.nan, np.inf)


def bins(**params):
    return KBinsDiscretizer(4, quantile_method="averaged_inverted_cdf", **params)


CASES = [
    *((scaler, NUMBERS) for scaler in (StandardScaler(), MinMaxScaler(), MinMaxScaler(clip=True), MaxAbsScaler())),
    *((scaler, NUMBERS) for scaler in (MaxAbsScaler(clip=True), RobustScaler(), RobustScaler(with_centering=False))),
    *((Normalizer(norm), NUMBERS) for norm in ("l1", "l2", "max")),
    *((step, NUMBERS) for step in (Binarizer(threshold=0.3), bins(), bins(encode="ordinal"))),
    (PowerTransformer(), NUMBERS),
    (PowerTransformer(standardize=False), NUMBERS),
    (PowerTransformer("box-cox"), POSITIVE),
    (QuantileTransformer(n_quantiles=50), NUMBERS),
    (PolynomialFeatures(3), NUMBERS),
    (PolynomialFeatures(2, interaction_only=True, include_bias=False), NUMBERS),
    *((SimpleImputer(**params), MISSING) for params in ({}, {"strategy": "constant", "fill_value": 3.0})),
    *((SimpleImputer(strategy="constant", fill_value=3.0, keep_empty_features=keep), EMPTY) for keep in (False, True)),
    (SimpleImputer(missing_values=0), NUMBERS),
    *((TfidfTransformer(**params), COUNTS) for params in ({}, {"norm": "l1", "use_idf": False}, {"norm": None})),
    *((TfidfTransformer(norm=norm, sublinear_tf=True), COUNTS) for norm in ("l2", None)),
    *((step, NUMBERS) for step in (PCA(2), PCA(2, whiten=True), TruncatedSVD(2), make_union(StandardScaler(), PCA(2)))),
    *((step, NUMBERS) for step in (VarianceThreshold(0.1), SelectKBest(f_regression, k=2))),
    (SelectPercentile(f_regression, percentile=50), NUMBERS),
    *((OneHotEncoder(**params), CODES) for params in ({}, {"handle_unknown": "ignore"}, {"drop": "first"})),
    (OneHotEncoder(handle_unknown="ignore"), HALVES),
    (OneHotEncoder(handle_unknown="ignore", drop="if_binary"), np.where(CODES > 2, np.nan, CODES)),
    *((OrdinalEncoder(), data) for data in (CODES, WORDS)),
    *((OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=-1), data) for data in (CODES, HALVES, WORDS)),
    *((OneHotEncoder(**params), WORDS) for params in ({}, {"handle_unknown": "ignore"})),
    (make_pipeline(SimpleImputer(missing_values="a", strategy="most_frequent"), OneHotEncoder()), WORDS),
    *((FunctionTransformer(f), POSITIVE) for f in (None, np.log, np.log1p, np.sqrt, np.reciprocal)),
    *((FunctionTransformer(f), NUMBERS) for f in (np.absolute, np.exp, np.expm1, np.tanh, np.square, np.sign)),
    (make_pipeline(FunctionTransformer(np.log), StandardScaler()), POSITIVE),
]


def rows_unlike(X):
    """Each with an unusual value in a column, and some with one in all."""
    if X.dtype == object:
        return [np.where(np.arange(X.shape[1]) == k, word, X[0]) for k in (0, 1) for word in ("z", "", "A", "a ")]
    rows = [np.where(np.arange(X.shape[1]) == k, value, X[3]) for k in range(X.shape[1]) for value in UNUSUAL]
    return rows + [np.full(X.shape[1], value) for value in (0.0, 1e-20, 1e-300, 1e200)]


def answer(model, row):
    """The prediction, or None where the model refuses the row."""
    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        try:
            return np.asarray(model.predict(row))
        except ValueError:
            return None


def check_answers(model, predictor, rows):
    for row in rows:
        wanted, found = answer(model, row), answer(predictor, row)
        assert (wanted is None) == (found is None), row
        if wanted is not None:
            np.testing.assert_allclose(found, wanted, rtol=RTOL, atol=ATOL, err_msg=str(row))


@pytest.mark.parametrize("as_frame", [False, True])
@pytest.mark.parametrize(
    ("step", "X"), CASES, ids=lambda v: " ".join(repr(v).split())[:60] if hasattr(v, "fit") else ""
)
def test_every_step_answers_as_scikit_learn_does_or_refuses_what_it_refuses(step, X, as_frame, tmp_path):
    def table(rows):
        return pd.DataFrame(rows, columns=[f"c{k}" for k in range(X.shape[1])]) if as_frame else np.asarray(rows)

    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Bins whose width are too small")
        warnings.filterwarnings("ignore", "Skipping features without any observed values")
        model = make_pipeline(step, Ridge()).fit(table(X), TARGET)
        lc.save(model, tmp_path / "model.lc", example=table(X[:50]))
    predictor = lc.load_predictor(tmp_path / "model.lc")
    check_answers(model, predictor, (table(row[None]) for row in rows_unlike(X)))


def test_a_step_that_goes_wrong_far_from_the_example_is_not_written(monkeypatch, tmp_path):
    monkeypatch.setitem(numbers.TRANSFORMERS, "MaxAbsScaler", lambda step, X: X / step.scale_)  # without its clip
    model = make_pipeline(MaxAbsScaler(clip=True), Ridge()).fit(NUMBERS, TARGET)
    with pytest.raises(lc.ParityError, match="differs from its model"):
        lc.save(model, tmp_path / "model.lc", example=NUMBERS)
    model = make_pipeline(FunctionTransformer(np.log), MinMaxScaler(), Ridge()).fit(POSITIVE, TARGET)
    monkeypatch.setattr("lifecycle.onnx.converters.transformers.columns.Table.finite", lambda table, allow_nan: table)
    sentence = r"answers the first row of example with other values in 0 \(-?[\d.e+]+\), which the model refuses: save"
    with pytest.raises(lc.ParityError, match=sentence):
        lc.save(model, tmp_path / "model.lc", example=POSITIVE)
    table = pd.DataFrame(POSITIVE, columns=["a", "b\n", "c", "d"])
    with pytest.raises(lc.ParityError, match=r"with other values in 'a' \(-?[\d.e+]+\), which the model refuses: save"):
        lc.save(model.fit(table, TARGET), tmp_path / "model.lc", example=table)
    assert not list(tmp_path.iterdir())


def test_rows_that_do_not_fit_the_inputs_do_not_count_as_refused_by_the_graph():
    converted = convert(Ridge().fit(NUMBERS, TARGET), SKLEARN_LINEAR_MODEL, NUMBERS)
    with pytest.raises(ValueError, match="X must have the shape"):
        compare(converted, NUMBERS, refused=[NUMBERS[:1, :2]])


@pytest.mark.parametrize("as_frame", [False, True])
def test_a_pipeline_at_the_end_of_another_answers_as_scikit_learn_does(as_frame, tmp_path):
    table = pd.DataFrame(POSITIVE, columns=list("abcd")) if as_frame else POSITIVE
    inner = make_pipeline("passthrough", FunctionTransformer(np.abs), make_pipeline(PCA(2), Ridge()))
    outer = make_pipeline(MinMaxScaler(clip=True), TransformedTargetRegressor(inner, transformer=StandardScaler()))
    for model in (make_pipeline(MinMaxScaler(clip=True), inner), outer, make_pipeline(inner)):
        model.fit(table, TARGET)
        lc.save(model, tmp_path / "model.lc", example=table[:50])
        rows = [table, *(table[:1] * factor for factor in (0.0, 0.5, 3.7, 1e6))]
        check_answers(model, lc.load_predictor(tmp_path / "model.lc"), rows)


def mixed(n=120):
    table = pd.DataFrame(
        {
            "a": rng.randn(n),
            "unused": rng.randn(n),
            "b": np.exp(rng.randn(n)),
            "count": rng.randint(5, size=n),
            "code": rng.randint(4, size=n),
            "word": np.array(["x", "y", "z"])[rng.randint(3, size=n)],
            "flag": rng.rand(n) > 0.5,
        }
    )
    table.loc[::9, "a"] = np.nan
    return table


def by_columns():
    return ColumnTransformer(
        [
            ("numbers", make_pipeline(SimpleImputer(), StandardScaler()), ["a", "b", "count"]),
            ("logs", make_pipeline(FunctionTransformer(np.log), StandardScaler()), ["b"]),
            ("words", OneHotEncoder(handle_unknown="ignore"), ["word", "code"]),
            ("flag", "passthrough", ["flag"]),
        ]
    )


TABLE = mixed()
ESTIMATORS = {
    "Ridge": lambda: make_pipeline(by_columns(), Ridge()),
    "forest": lambda: make_pipeline(by_columns(), RandomForestRegressor(5, random_state=0)),
    "logarithm": lambda: TransformedTargetRegressor(
        make_pipeline(by_columns(), Ridge()), func=np.log1p, inverse_func=np.expm1
    ),
    "scaled": lambda: TransformedTargetRegressor(
        make_pipeline(by_columns(), RandomForestRegressor(5, random_state=0)), transformer=StandardScaler()
    ),
    "power": lambda: make_pipeline(
        by_columns(), TransformedTargetRegressor(Ridge(), transformer=PowerTransformer("box-cox"))
    ),
    "no steps": lambda: make_pipeline(
        ColumnTransformer([("n", MinMaxScaler(), ["b", "count"])]),
        TransformedTargetRegressor(Ridge(), transformer=MaxAbsScaler()),
    ),
}


@pytest.mark.parametrize("name", ESTIMATORS)
def test_frames_lack_what_is_dropped_and_may_have_other_columns_in_any_order(name, tmp_path):
    model = ESTIMATORS[name]().fit(TABLE, TABLE.b.to_numpy())
    used = TABLE.drop(columns="unused")
    for example in (TABLE, used):
        lc.save(model, tmp_path / "model.lc", example=example[:60])
        predictor = lc.load_predictor(tmp_path / "model.lc")
        rows = [TABLE, used, TABLE[TABLE.columns[::-1]], used.assign(other="text"), TABLE.drop(columns="b")]
        for column, values in {"a": UNUSUAL, "b": UNUSUAL, "count": (2.5, 99), "code": (7, -1), "word": ("q",)}.items():
            rows += [TABLE[:1].assign(**{column: value}) for value in values]
        check_answers(model, predictor, rows)
    np.testing.assert_array_equal(lc.load(tmp_path / "model.lc").predict(TABLE), model.predict(TABLE))


def test_columns_that_an_example_lacks_are_named(tmp_path):
    model = make_pipeline(by_columns(), Ridge()).fit(TABLE, TABLE.b)
    with pytest.raises(ValueError, match="example lacks columns that the model uses; missing: 'word', 'flag'"):
        lc.save(model, tmp_path / "model.lc", example=TABLE[["a", "b", "count", "code"]])
    assert not list(tmp_path.iterdir())


def test_fractions_in_columns_of_integers_are_answered_as_scikit_learn_does(tmp_path):
    model = make_pipeline(by_columns(), Ridge()).fit(TABLE, TABLE.b)
    lc.save(model, tmp_path / "model.lc", example=TABLE)
    predictor = lc.load_predictor(tmp_path / "model.lc")
    assert list(predictor.interface.are_integers) == []
    for column in ("count", "code"):
        for value in (2.5, -0.5, 2.0, 1e-9, 1e300):
            rows = TABLE.assign(**{column: value})
            np.testing.assert_allclose(predictor.predict(rows), model.predict(rows))


@pytest.mark.parametrize("encoder", [OneHotEncoder(), OrdinalEncoder()])
def test_fractions_are_refused_where_scikit_learn_refuses_them(encoder, tmp_path):
    table = TABLE[["code", "b"]]
    model = make_pipeline(ColumnTransformer([("c", encoder, ["code"])], remainder="passthrough"), Ridge())
    model.fit(table, TABLE.b)
    lc.save(model, tmp_path / "model.lc", example=table)
    predictor = lc.load_predictor(tmp_path / "model.lc")
    rows = table.assign(code=1.5)
    assert [answer(one, rows) for one in (model, predictor)] == [None, None]
    np.testing.assert_allclose(predictor.predict(table.astype(float)), model.predict(table.astype(float)))


def test_values_that_become_infinite_on_the_way_to_trees_are_refused(tmp_path):
    model = make_pipeline(StandardScaler(), RandomForestRegressor(3, random_state=0)).fit(NUMBERS, TARGET)
    lc.save(model, tmp_path / "model.lc", example=NUMBERS)
    row = np.where(np.arange(4) == 1, 1e39, NUMBERS[:1])
    assert [answer(one, row) for one in (model, lc.load_predictor(tmp_path / "model.lc"))] == [None, None]


def test_a_column_that_takes_infinite_values_says_nothing_of_others(tmp_path):
    steps = ColumnTransformer([("s", MinMaxScaler(), ["b"])], remainder="passthrough")
    table = TABLE[["a", "b"]]
    model = make_pipeline(steps, HistGradientBoostingClassifier(max_iter=3)).fit(table, TABLE.flag)
    lc.save(model, tmp_path / "model.lc", example=table)
    rows = table.assign(b=np.inf)
    assert [answer(one, rows) for one in (model, lc.load_predictor(tmp_path / "model.lc"))] == [None, None]


@pytest.mark.parametrize("labels", [np.array([3, 2**63 + 5], np.uint64), np.array([2**63 + 5, 2**63 + 6], np.uint64)])
def test_labels_that_no_int64_holds_are_refused(labels, tmp_path):
    model = LogisticRegression().fit(NUMBERS, labels[CODES[:, 0].astype(int) // 2])
    with pytest.raises(lc.UnsupportedModel, match="classes of uint64 that int64 cannot hold"):
        lc.save(model, tmp_path / "model.lc", example=NUMBERS)
    assert not list(tmp_path.iterdir())
    lc.save(model, tmp_path / "model.lc")  # without a graph
    np.testing.assert_array_equal(lc.load(tmp_path / "model.lc").predict(NUMBERS), model.predict(NUMBERS))


@pytest.mark.parametrize(
    "example",
    [
        pd.Series(NUMBERS[:, 0]),
        NUMBERS[:, 0],
        (row for row in NUMBERS),
        [[1.0, 2.0], [3.0]],
        {"a": NUMBERS},
        NUMBERS.astype("M8[s]"),
        NUMBERS[None],
        NUMBERS.astype(object),
    ],
    ids=["Series", "vector", "generator", "rows of two lengths", "dict", "times", "three dimensions", "objects"],
)
@pytest.mark.parametrize("model", [Ridge(), make_pipeline(StandardScaler(), Ridge())], ids=["Ridge", "Pipeline"])
def test_examples_that_are_no_tables(model, example, tmp_path):
    model.fit(NUMBERS, TARGET)
    with pytest.raises(ValueError, match=r"^example "):
        lc.save(model, tmp_path / "model.lc", example=example)
    assert not list(tmp_path.iterdir())


def test_lists_of_rows_and_columns_of_pandas_are_examples(tmp_path):
    model = make_pipeline(StandardScaler(), Ridge()).fit(NUMBERS, TARGET)
    lc.save(model, tmp_path / "model.lc", example=NUMBERS.tolist())
    np.testing.assert_allclose(lc.load_predictor(tmp_path / "model.lc").predict(NUMBERS), model.predict(NUMBERS))
    n = len(NUMBERS)
    table = pd.DataFrame(
        {
            "whole": pd.array([1, None, 3, 4] * (n // 4), "Int64"),
            "real": pd.array([1.5, 2.5] * (n // 2), "Float64"),
            "flag": pd.array([True, False] * (n // 2), "boolean"),
            "word": pd.Categorical(["x", "y"] * (n // 2)),
            "day": pd.date_range("2026-01-01", periods=n),
        }
    )
    steps = ColumnTransformer(
        [("n", SimpleImputer(), ["whole", "real", "flag"]), ("w", OneHotEncoder(handle_unknown="ignore"), ["word"])]
    )
    model = make_pipeline(steps, Ridge()).fit(table, TARGET)
    lc.save(model, tmp_path / "model.lc", example=table)
    np.testing.assert_allclose(lc.load_predictor(tmp_path / "model.lc").predict(table), model.predict(table))
    model = make_pipeline(ColumnTransformer([("d", StandardScaler(), ["real"])], remainder="passthrough"), Ridge())
    model.fit(table.drop(columns=["day", "whole", "word"]).assign(day=1.0), TARGET)
    with pytest.raises(ValueError, match="the column 'day' of example holds neither numbers nor strings"):
        lc.save(model, tmp_path / "other.lc", example=table)
    assert not (tmp_path / "other.lc").exists()


@pytest.mark.parametrize(
    ("step", "sentence"),
    [
        (QuantileTransformer(n_quantiles=9, output_distribution="normal"), "output_distribution='normal'"),
        (SplineTransformer(), "a SplineTransformer cannot be exported"),
        (FunctionTransformer(np.cbrt), "the function cbrt cannot be exported"),
    ],
    ids=["normal", "splines", "cbrt"],
)
def test_steps_without_a_graph_are_named(step, sentence, tmp_path):
    model = make_pipeline(step, Ridge()).fit(NUMBERS, TARGET)
    with pytest.raises(lc.UnsupportedModel, match=sentence):
        lc.save(model, tmp_path / "model.lc", example=NUMBERS)
    assert not list(tmp_path.iterdir())


def test_strings_that_no_graph_can_hold_are_named(tmp_path):
    words = pd.DataFrame({"w": pd.Series(["\ud800", "k"] * 50, dtype=object)})
    model = make_pipeline(OneHotEncoder(), Ridge()).fit(words, TARGET)
    with pytest.raises(lc.UnsupportedModel, match=r"the string '\\ud800' has no UTF-8"):
        lc.save(model, tmp_path / "model.lc", example=words)
    assert not list(tmp_path.iterdir())


def test_names_with_control_characters_are_escaped_in_errors(tmp_path):
    table = pd.DataFrame(NUMBERS[:, :2], columns=["\x1b[31m", "b"])
    for model in (make_pipeline(StandardScaler(), Ridge()), Ridge()):
        model.fit(table, TARGET)
        with pytest.raises(ValueError, match=r"\\x1b\[31m") as caught:
            lc.save(model, tmp_path / "model.lc", example=table.rename(columns={"\x1b[31m": "a"}))
        assert str(caught.value).isprintable()
        lc.save(model, tmp_path / "model.lc", example=table)
        with pytest.raises(ValueError, match=r"\\x1b\[31m") as caught:
            lc.load_predictor(tmp_path / "model.lc").predict(table.assign(**{"\x1b[31m": np.nan}))
        assert str(caught.value).isprintable()
        (tmp_path / "model.lc").unlink()


@pytest.mark.filterwarnings("ignore:invalid value encountered in log:RuntimeWarning")
def test_a_step_refuses_what_another_one_makes_of_a_row(tmp_path):
    X = np.random.default_rng(0).uniform(0.1, 1.0, (100, 4))
    model = make_pipeline(FunctionTransformer(np.log), PCA(2), HistGradientBoostingRegressor(max_iter=5)).fit(
        X, X[:, 0]
    )
    lc.save(model, tmp_path / "model.lc", example=X[:20])
    predictor = lc.load_predictor(tmp_path / "model.lc")
    np.testing.assert_allclose(predictor.predict(X), model.predict(X), rtol=1e-5)
    for answer in (model.predict, predictor.predict):
        with pytest.raises(ValueError, match=r"contains NaN|the graph refuses these rows"):
            answer(-X[:1])  # whose logarithm is NaN, which PCA does not take

"""Models of every kind that a graph is made of, on real tables, for the tests of graphs and predictors."""

import warnings
from functools import cache

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits, load_iris
from sklearn.ensemble import (
    ExtraTreesRegressor,
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    HistGradientBoostingClassifier,
    HistGradientBoostingRegressor,
    RandomForestClassifier,
    RandomForestRegressor,
)
from sklearn.impute import SimpleImputer
from sklearn.linear_model import (
    LinearRegression,
    LogisticRegression,
    PoissonRegressor,
    Ridge,
    RidgeClassifier,
    SGDClassifier,
    TweedieRegressor,
)
from sklearn.neighbors import KNeighborsClassifier, KNeighborsRegressor
from sklearn.neural_network import MLPClassifier, MLPRegressor
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.svm import LinearSVC
from sklearn.tree import DecisionTreeClassifier

import lifecycle as lc


@cache
def cancer():
    return load_breast_cancer(return_X_y=True)


@cache
def cancer_with_missing():
    X, y = cancer()
    X = X.copy()
    X[::7, 3] = np.nan
    return X, y


@cache
def iris():
    X, y = load_iris(return_X_y=True)
    return X, np.array(["setosa", "versicolor", "virginica"])[y]


@cache
def digits():
    return load_digits(return_X_y=True)


@cache
def diabetes():
    return load_diabetes(return_X_y=True)


@cache
def two_targets():
    X, y = diabetes()
    return X, np.stack([y, np.sqrt(y)], axis=1)


@cache
def mixed_table():
    rng = np.random.RandomState(0)
    words = np.array(["x", "y", "z"])[rng.randint(3, size=300)]
    table = pd.DataFrame({"a": rng.randn(300), "b": rng.randint(5, size=300).astype(float), "word": words})
    table.loc[::11, "b"] = np.nan
    return table, ((table.a + (table.word == "x")) > 0.3).astype(int).to_numpy()


@cache
def numbered_categories():
    """Two columns of categories that are numbers, one of them with many, and missing values in all columns."""
    rng = np.random.RandomState(0)
    X = np.column_stack([rng.randint(9, size=400) * 10.5, rng.randn(400), rng.randint(120, size=400)])
    y = (X[:, 0] % 3 == 0) + (X[:, 2] % 5 == 0) + (rng.rand(400) > 0.5)
    for column, step in enumerate((13, 7, 11)):
        X[::step, column] = np.nan
    return X, y


@cache
def table_of_categories():
    """Columns of categories of strings and of numbers, with missing numbers."""
    rng = np.random.RandomState(0)
    words = np.array(["x", "y", "a long one"])[rng.randint(3, size=300)]
    table = pd.DataFrame(
        {"word": pd.Categorical(words), "a": rng.randn(300), "n": pd.Categorical(rng.randint(5, size=300))}
    )
    y = table.a + (table.word == "x") + 3 * np.asarray(table.n == 2)
    table.loc[::11, "n"] = np.nan
    table.loc[::9, "a"] = np.nan
    return table, y.to_numpy()


@cache
def named_columns():
    """Names that are none in Python, or that graphs use, a column of whole numbers and one of truth values."""
    frame, y = load_iris(return_X_y=True, as_frame=True)
    frame = frame.assign(label=np.arange(len(y)) % 3, variable=y > 1)
    return frame, (y == 2).to_numpy()


def columns():
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return ColumnTransformer([("n", numbers, ["a", "b"]), ("w", OneHotEncoder(handle_unknown="ignore"), ["word"])])


def as_float32(data):
    X, y = data()
    return X.astype(np.float32), y


# name -> (estimator, data)
MODELS = {
    "LinearClassifier": (lambda: lc.LinearClassifier(), digits),
    "LinearClassifier, two classes, float32": (lambda: lc.LinearClassifier(), lambda: as_float32(cancer)),
    "LinearClassifier, hinge": (lambda: lc.LinearClassifier(loss="hinge", random_state=0), iris),
    "LinearRegressor": (lambda: lc.LinearRegressor(), diabetes),
    "LogisticRegression": (lambda: LogisticRegression(max_iter=5000), iris),
    "LogisticRegression, two classes": (lambda: LogisticRegression(max_iter=5000), cancer),
    "SGDClassifier": (lambda: SGDClassifier(loss="log_loss", random_state=0), iris),
    "LinearSVC": (lambda: LinearSVC(random_state=0), iris),
    "RidgeClassifier": (lambda: RidgeClassifier(), cancer),
    "Ridge": (lambda: Ridge(), diabetes),
    "Ridge, two targets": (lambda: Ridge(), two_targets),
    "LinearRegression, two targets": (lambda: LinearRegression(), two_targets),
    "MLPRegressor, two targets": (
        lambda: MLPRegressor(hidden_layer_sizes=(9,), max_iter=30, random_state=0),
        two_targets,
    ),
    "RandomForestRegressor, two targets": (lambda: RandomForestRegressor(9, random_state=0), two_targets),
    "Pipeline, two targets": (lambda: make_pipeline(StandardScaler(), Ridge()), two_targets),
    "PoissonRegressor": (lambda: PoissonRegressor(), diabetes),
    "TweedieRegressor": (lambda: TweedieRegressor(power=1.5), diabetes),
    "MLPClassifier": (lambda: MLPClassifier((20,), max_iter=30, random_state=0), digits),
    "MLPClassifier, two classes": (lambda: MLPClassifier((9,), activation="tanh", max_iter=30, random_state=0), cancer),
    "MLPRegressor": (lambda: MLPRegressor(hidden_layer_sizes=(9,), max_iter=30, random_state=0), diabetes),
    "DecisionTreeClassifier": (lambda: DecisionTreeClassifier(random_state=0), iris),
    "RandomForestClassifier": (lambda: RandomForestClassifier(20, random_state=0), digits),
    "RandomForestClassifier, missing": (lambda: RandomForestClassifier(9, random_state=0), cancer_with_missing),
    "ExtraTreesRegressor": (lambda: ExtraTreesRegressor(9, random_state=0), two_targets),
    "GradientBoostingClassifier": (lambda: GradientBoostingClassifier(n_estimators=9, random_state=0), iris),
    "GradientBoostingRegressor": (lambda: GradientBoostingRegressor(n_estimators=9, random_state=0), diabetes),
    "HistGradientBoostingClassifier": (lambda: HistGradientBoostingClassifier(max_iter=9), cancer_with_missing),
    "HistGradientBoostingRegressor": (lambda: HistGradientBoostingRegressor(loss="poisson", max_iter=9), diabetes),
    "HistGradientBoostingClassifier, categories": (
        lambda: HistGradientBoostingClassifier(max_iter=9, categorical_features=[0, 2], min_samples_leaf=3),
        numbered_categories,
    ),
    "HistGradientBoostingClassifier, categories, float32": (
        lambda: HistGradientBoostingClassifier(max_iter=9, categorical_features=[0, 2], min_samples_leaf=3),
        lambda: as_float32(numbered_categories),
    ),
    "HistGradientBoostingRegressor, table of categories": (
        lambda: HistGradientBoostingRegressor(max_iter=9, categorical_features="from_dtype"),
        table_of_categories,
    ),
    "KNeighborsClassifier": (lambda: KNeighborsClassifier(), cancer),
    "KNeighborsClassifier, brute": (lambda: KNeighborsClassifier(3, algorithm="brute"), digits),
    "KNeighborsClassifier, distances": (lambda: KNeighborsClassifier(weights="distance"), iris),
    "KNeighborsClassifier, float32": (lambda: KNeighborsClassifier(), lambda: as_float32(cancer)),
    "KNeighborsRegressor": (lambda: KNeighborsRegressor(weights="distance"), diabetes),
    "KNeighborsRegressor, two targets": (lambda: KNeighborsRegressor(), two_targets),
    "Pipeline, neighbors": (lambda: make_pipeline(StandardScaler(), KNeighborsClassifier()), cancer),
    "Pipeline": (lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)), cancer),
    "Pipeline, imputed forest": (
        lambda: make_pipeline(SimpleImputer(), RandomForestClassifier(9, random_state=0)),
        cancer_with_missing,
    ),
    "Pipeline, names": (lambda: make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000)), named_columns),
    "Pipeline, imputed names": (lambda: make_pipeline(SimpleImputer(), lc.LinearClassifier()), named_columns),
    "Pipeline, categories of whole numbers": (
        lambda: make_pipeline(
            ColumnTransformer([("l", OneHotEncoder(handle_unknown="ignore"), ["label"])], remainder="passthrough"),
            Ridge(),
        ),
        named_columns,
    ),
    "Ridge, names": (lambda: Ridge(), named_columns),
    "RandomForestClassifier, names": (lambda: RandomForestClassifier(9, random_state=0), named_columns),
    "Pipeline of an estimator": (lambda: make_pipeline(Ridge()), diabetes),
    "Pipeline of columns": (lambda: make_pipeline(columns(), lc.LinearClassifier()), mixed_table),
    "Pipeline of columns, boosting": (
        lambda: make_pipeline(columns(), HistGradientBoostingClassifier(max_iter=9)),
        mixed_table,
    ),
}


@cache
def fitted(name):
    """The model, its rows and its targets; rows with odd numbers were not trained on."""
    make, data = MODELS[name]
    X, y = data()
    train = np.arange(0, len(y), 2)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = make().fit(X.iloc[train] if hasattr(X, "iloc") else X[train], y[train])
    return model, X, y


def rows_of(X, chosen):
    return X.iloc[chosen] if hasattr(X, "iloc") else X[chosen]

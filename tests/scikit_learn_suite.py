"""pytest plugin: scikit-learn's tests get our classes and functions under scikit-learn's names.

The names are replaced in the package `sklearn.model_selection` before the tests import them from it, so that
parametrized tests use ours too; the modules inside scikit-learn keep theirs.
"""

import json
import os

import sklearn.model_selection

import lifecycle as lc

NAMES = (
    "GridSearchCV",
    "RandomizedSearchCV",
    "cross_validate",
    "KFold",
    "StratifiedKFold",
    "GroupKFold",
    "StratifiedGroupKFold",
    "TimeSeriesSplit",
)
outcomes: dict[str, str] = {}


def pytest_configure():
    ours = {name: getattr(lc, name) for name in NAMES}  # all of ours are imported before one is replaced
    for name, value in ours.items():
        assert value.__module__.startswith("lifecycle."), f"{name} is not ours: {value.__module__}"
        setattr(sklearn.model_selection, name, value)


def pytest_runtest_logreport(report):
    if report.when == "call" or report.outcome != "passed":
        file, _, name = report.nodeid.partition("::")
        outcomes[f"{file.rpartition('/')[2]}::{name}"] = report.outcome


def pytest_sessionfinish():
    with open(os.environ["LIFECYCLE_OUTCOMES"], "w", encoding="utf-8") as file:
        json.dump(outcomes, file)

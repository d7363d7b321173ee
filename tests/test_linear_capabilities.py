"""What a solver can train is declared once: the check before any work and the documentation follow the declaration."""

import re
from pathlib import Path

import numpy as np
import pytest
from scipy import sparse

import lifecycle as lc
from lifecycle.linear import solver_choice
from lifecycle.losses import list_losses
from lifecycle.penalties import find_penalty

PAGE = Path(__file__).parents[1] / "docs" / "validation.md"
X = np.random.default_rng(0).normal(size=(100, 4))  # more rows than a batch of "adam"
Y = {"classification": (X[:, 0] > 0).astype(int), "regression": X[:, 0] + X[:, 1]}
ESTIMATORS = {"classification": lc.LinearClassifier, "regression": lc.LinearRegressor}
# what selects each declared solver
SELECTED_BY = [
    {"optimizer": "exact"},
    {"optimizer": "newton"},
    {"optimizer": "coordinate_descent"},
    {"optimizer": "gd"},
    {"optimizer": "sgd"},
    {"optimizer": "adam"},
]
CASES = list(zip(SELECTED_BY, solver_choice.SOLVERS.values(), strict=True))


def table() -> str:
    """The declarations as the table of the page."""
    rows = ["| optimizer | losses | penalties | sparse X | lr, batch_size, early_stopping, average |"]
    rows.append("| :-- | :-- | :-- | :-- | :-- |")
    sparse_x = {"any": "yes", "without l1": 'with penalty "l2" or None', "none": "no"}
    for name, can in solver_choice.SOLVERS.items():
        losses = "`squared_error`" if can.losses == "squared_error" else can.losses
        penalties = "any" if can.penalties == "any" else '"l2" or None'
        cells = name, losses, penalties, sparse_x[can.sparse_penalties], "yes" if can.takes_steps else "no"
        rows.append(f"| {' | '.join(cells)} |")
    return "\n".join(rows)


def table_of_auto() -> str:
    """What optimizer="auto" takes, loss by loss."""
    forms = [
        ('"l2" or None', ("l2", None), X, {}),
        ('"l1" or "elasticnet"', ("l1", "elasticnet"), X, {}),
        ("the same, sparse X", ("l1", "elasticnet"), sparse.csr_array(X), {}),
        ("arguments that only steps have", ("l2", None, "l1", "elasticnet"), X, {"early_stopping": True}),
    ]
    rows = [["loss", *(name for name, *_ in forms)]]
    for name, loss in list_losses().items():
        solvers = []
        for _, penalties, data, arguments in forms:
            models = [ESTIMATORS[loss.task](name, penalty=penalty, **arguments) for penalty in penalties]
            choose = solver_choice.choose_solver
            (solver,) = {choose(model, loss, find_penalty(model.penalty), data) for model in models}
            solvers.append(solver)
        rows.append([f"`{name}`", *(f'"{solver}"' for solver in solvers)])
    rows.insert(1, [":--"] * len(rows[0]))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


@pytest.mark.parametrize(("mark", "generated"), [("solvers", table), ("auto", table_of_auto)])
def test_the_documentation_prints_the_declaration(mark, generated):
    shown = re.search(rf"<!-- {mark} -->\n\n(.*?)\n\n<!-- end of {mark} -->", PAGE.read_text("utf-8"), re.DOTALL)
    assert shown is not None
    assert shown[1] == generated()


@pytest.mark.parametrize("loss", list_losses().values(), ids=list_losses())
@pytest.mark.parametrize(("arguments", "can"), CASES, ids=[a["optimizer"] for a, _ in CASES])
def test_a_solver_trains_the_losses_that_it_declares_and_refuses_the_others(arguments, can, loss):
    model = ESTIMATORS[loss.task](loss.name, **arguments, max_iter=5, tol=None)
    if can.losses == "any" or (can.losses == "smooth" and loss.smooth) or can.losses == loss.name:
        assert np.isfinite(model.fit(X, Y[loss.task]).coef_).all()
    else:
        with pytest.raises(ValueError, match=r"needs a smooth loss|needs loss='squared_error'"):
            model.fit(X, Y[loss.task])


@pytest.mark.parametrize("kind", [np.asarray, sparse.csr_array], ids=["dense", "csr"])
@pytest.mark.parametrize("penalty", ["l2", None, "l1", "elasticnet"])
@pytest.mark.parametrize(("arguments", "can"), CASES, ids=[a["optimizer"] for a, _ in CASES])
def test_a_solver_trains_the_penalties_that_it_declares_and_refuses_the_others(arguments, can, penalty, kind):
    model = lc.LinearRegressor(penalty=penalty, **arguments, max_iter=5, tol=None)
    allowed = can.penalties if kind is np.asarray else can.sparse_penalties
    if allowed == "any" or (allowed == "without l1" and penalty in ("l2", None)):
        assert np.isfinite(model.fit(kind(X), Y["regression"]).coef_).all()
    else:
        with pytest.raises(ValueError, match=r"needs penalty='l2' or None|X is sparse"):
            model.fit(kind(X), Y["regression"])


@pytest.mark.parametrize(("arguments", "can"), CASES, ids=[a["optimizer"] for a, _ in CASES])
def test_arguments_of_steps_are_refused_where_there_are_none(arguments, can):
    model = lc.LinearRegressor(**arguments, early_stopping=True, max_iter=5, tol=None)
    if can.takes_steps:
        model.fit(X, Y["regression"])
    else:
        with pytest.raises(ValueError, match="early_stopping=True has no meaning"):
            model.fit(X, Y["regression"])

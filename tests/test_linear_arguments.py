"""Invalid arguments of the linear estimators raise a sentence that says what is wrong and what exists."""

import numpy as np
import pytest

import lifecycle as lc

from .data import cancer, diabetes

INVALID_FOR_THE_CLASSIFIER = [
    ({"loss": "logistic"}, r"loss must be one of 'hinge', 'log_loss', .*; got 'logistic'"),
    ({"loss": "huber"}, r"loss must be one of 'hinge', .*; got 'huber'"),
    ({"penalty": "L2"}, r"penalty must be one of 'elasticnet', 'l1', 'l2', None; got 'L2'"),
    (
        {"optimizer": "lbfgs"},
        r"optimizer must be one of .*'adam', .*'sgd', 'newton', 'exact', 'coordinate_descent'; got",
    ),
    ({"optimizer": lc.Adam(lr=0.1), "lr": 0.2}, r"lr is set twice: in Adam\(lr=0.1\) and as lr=0.2; leave one out"),
    ({"optimizer": lc.SGD(maximize=True)}, r"SGD\(maximize=True\) would maximize the loss: leave maximize out"),
    (
        {"loss": "hinge", "optimizer": "newton"},
        r"optimizer='newton' needs a smooth loss, which 'hinge' is not: use 'gd', 'sgd' or 'adam'",
    ),
    ({"optimizer": "exact"}, r"optimizer='exact' needs loss='squared_error'; with 'log_loss' use another optimizer"),
    (
        {"penalty": "l1", "optimizer": "newton"},
        r"optimizer='newton' needs penalty='l2' or None; with 'l1' use 'coordinate_descent'",
    ),
    ({"optimizer": "newton", "lr": 0.1}, r"lr=0.1 has no meaning with optimizer='newton', .* leave it at None"),
    ({"optimizer": "newton", "early_stopping": True}, r"early_stopping=True has no meaning with optimizer='newton'"),
    ({"optimizer": "newton", "average": True}, r"average=True has no meaning with optimizer='newton'"),
    ({"optimizer": "newton", "batch_size": 8}, r"batch_size=8 has no meaning with optimizer='newton'"),
    ({"alpha": -1.0}, r"alpha must be a finite number >= 0.0; got -1.0"),
    ({"alpha": np.inf}, r"alpha must be a finite number >= 0.0; got inf"),
    ({"l1_ratio": 1.5}, r"l1_ratio must be a finite number >= 0.0 and <= 1.0; got 1.5"),
    ({"lr": 0.0}, r"lr must be a finite number > 0.0; got 0.0"),
    ({"tol": -1e-3}, r"tol must be a finite number >= 0.0; got -0.001"),
    ({"max_iter": 0}, r"max_iter must be >= 1; got 0"),
    ({"batch_size": 0}, r"batch_size must be >= 1; got 0"),
    ({"batch_size": "all"}, r"batch_size must be one of 'auto'; got 'all'"),
    ({"validation_fraction": 1.0}, r"validation_fraction must be a finite number > 0.0 and < 1.0; got 1.0"),
    ({"early_stopping": "yes"}, r"early_stopping must be one of True, False; got 'yes'"),
    ({"early_stopping": True, "validation_fraction": 1e-3}, r"early_stopping cannot set validation_fraction=0.001 "),
    ({"class_weight": "even"}, r"class_weight must be one of 'balanced', None; got 'even'"),
    ({"random_state": "now"}, r"random_state must be an int, a RandomState, a Generator or None; got 'now'"),
]
INVALID_FOR_THE_REGRESSOR = [
    ({"loss": "hinge"}, r"loss must be one of 'epsilon_insensitive', 'huber', 'squared_error'; got 'hinge'"),
    ({"loss": "huber", "optimizer": "exact"}, r"optimizer='exact' needs loss='squared_error'; with 'huber' use"),
    ({"loss": "huber", "epsilon": 0.0}, r"loss='huber' needs epsilon > 0; got 0"),
    ({"loss": "epsilon_insensitive", "optimizer": "newton"}, r"optimizer='newton' needs a smooth loss, which"),
    ({"penalty": "elasticnet", "optimizer": "exact"}, r"optimizer='exact' needs penalty='l2' or None; with 'elasticn"),
    ({"optimizer": "gd", "lr": 1e200, "max_iter": 50}, r"the coefficients grew without bound in epoch \d+ with lr=1e"),
]


@pytest.mark.parametrize(("arguments", "sentence"), INVALID_FOR_THE_CLASSIFIER, ids=str)
def test_invalid_arguments_of_the_classifier_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        lc.LinearClassifier(**arguments).fit(*cancer())


@pytest.mark.parametrize(("arguments", "sentence"), INVALID_FOR_THE_REGRESSOR, ids=str)
def test_invalid_arguments_of_the_regressor_raise(arguments, sentence):
    with pytest.raises(ValueError, match=sentence):
        lc.LinearRegressor(**arguments).fit(*diabetes())


def test_arguments_of_the_wrong_type_raise_a_type_error():
    with pytest.raises(TypeError, match=r"optimizer must be a name or an optimizer such as lc.Adam\(lr=1e-3\); got 3"):
        lc.LinearClassifier(optimizer=3).fit(*cancer())
    with pytest.raises(TypeError, match=r"alpha must be a number >= 0.0; got '1'"):
        lc.LinearClassifier(alpha="1").fit(*cancer())

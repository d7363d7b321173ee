"""LinearClassifier: labels, scores of the classes and probabilities."""

import numpy as np
import pytest
from sklearn.linear_model import SGDClassifier

import lifecycle as lc

from .data import cancer, wine
from .linear_models import CLASSIFICATION


@pytest.mark.parametrize("loss", CLASSIFICATION)
def test_labels_may_be_strings_and_are_predicted(loss):
    X, codes = wine()
    labels = np.array(["red", "white", "rosé"])[codes]
    model = lc.LinearClassifier(loss, random_state=0).fit(X, labels)
    assert model.classes_.tolist() == ["red", "rosé", "white"]
    assert model.score(X, labels) > 0.98
    assert model.coef_.shape == (3, 13)
    assert model.decision_function(X).shape == (len(X), 3)
    two = labels != "white"
    model.fit(X[two], labels[two])
    assert model.coef_.shape == (1, 13)
    assert model.score(X[two], labels[two]) > 0.98
    assert set(labels[two][model.decision_function(X[two]) > 0]) == {"rosé"}


@pytest.mark.parametrize("data", [cancer, wine], ids=["two classes", "three classes"])
def test_modified_huber_probabilities_are_those_of_scikit_learn(data):
    X, y = data()
    model = lc.LinearClassifier("modified_huber", random_state=0).fit(X, y)
    twin = SGDClassifier(loss="modified_huber", max_iter=5, tol=None).fit(X, y)
    twin.coef_, twin.intercept_ = model.coef_, model.intercept_
    far = np.vstack([X, 20 * X])  # rows for which the scores of no class, or of all, are positive
    np.testing.assert_allclose(model.predict_proba(far), twin.predict_proba(far), atol=1e-12)
    np.testing.assert_array_equal(model.predict(far), twin.predict(far))


def test_other_losses_have_no_probabilities():
    X, y = cancer()
    model = lc.LinearClassifier("hinge", random_state=0).fit(X, y)
    assert not hasattr(model, "predict_proba")
    assert not hasattr(model, "predict_log_proba")
    with pytest.raises(AttributeError) as caught:
        model.predict_proba(X)
    sentence = "predict_proba exists for loss='log_loss' and 'modified_huber'; this is 'hinge'"
    assert sentence in str(caught.value.__cause__)

"""The report is one well-formed page that loads nothing and escapes what it is given."""

import os
import re
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from lifecycle.evaluation import evaluate
from lifecycle.reporting import BeforeAfter, Table, charts, report

VOID = {"meta", "br", "hr", "link", "img", "input"}
EVIL = "<script>alert('1')</script>\"&"


class Checker(HTMLParser):
    """Every element closes in order; collects tags, attributes and text."""

    def __init__(self):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += attrs

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def check(path):
    content = path.read_text(encoding="utf-8")
    checker = Checker()
    checker.feed(content)
    checker.close()
    assert checker.open == []
    assert not {"script", "link", "img", "iframe", "object"} & set(checker.tags)
    assert not [a for a in checker.attributes if a[0] in ("src", "href", "onload", "onclick", "srcset")]
    assert "http:" not in content
    assert "https:" not in content
    assert "@import" not in content
    assert "url(" not in content
    for drawing in re.findall(r"<svg.*?</svg>", content, flags=re.DOTALL):
        ElementTree.fromstring(drawing)
        assert "nan" not in re.sub(r"<title>.*?</title>|<text.*?</text>|aria-label=\"[^\"]*\"", "", drawing)
    return content, checker


class Folds(dict):
    """What report asks of a CVResult."""

    def interval(self, confidence_level=0.95, metric=None):
        scores = self["test_score" if metric is None else f"test_{metric}"]
        return scores.mean() - 0.1, scores.mean() + 0.1


class Fitted:
    def __init__(self, history):
        self.history_ = history


def classification(labels=None):
    X, y = load_iris(return_X_y=True)
    y = y if labels is None else np.array(labels)[y]
    return evaluate(LogisticRegression(max_iter=500).fit(X, y), X, y)


def everything():
    X, y = load_diabetes(return_X_y=True)
    history = [dict(epoch=i, train_loss=1 / i, valid_loss=2 / i, valid_score=1 - 1 / i, lr=0.1) for i in range(1, 9)]
    return [
        classification(),
        evaluate(LinearRegression().fit(X, y), X, y),
        Folds(test_score=np.array([0.9, 0.8, 0.95]), fit_time=np.ones(3), score_time=np.ones(3)),
        Fitted(history),
        BeforeAfter("Compression", {"bytes": 100, "score": 0.5}, {"bytes": 25, "score": 0.5}, {"bytes": "lower"}),
        Table("Stages", ["stage", "answer", "seconds"], [["build", "a CNN", 0.25]], "All of them."),
    ]


def test_every_kind_in_one_page(tmp_path):
    path = report(tmp_path / "report.html", *everything())
    content, checker = check(path)
    headings = [w for w in checker.words if w in ("Cross-validation", "Training", "Compression", "Stages")]
    assert headings == ["Cross-validation", "Training", "Compression", "Stages"]
    assert content.count("<svg") == 6  # two for the classifier, one for the regressor, folds, two for training
    assert "-75.0 % (better)" in content
    assert "prefers-color-scheme: dark" in content
    assert 'name="viewport"' in content
    assert os.listdir(tmp_path) == ["report.html"]


def test_numbers_of_the_evaluation_stand_in_the_page(tmp_path):
    result = classification()
    _, checker = check(report(tmp_path / "r.html", result))
    for estimate in result.metrics.values():
        assert f"{estimate.value:.4g}" in checker.words
    cells = [int(w) for w in checker.words if w.isdigit()]
    for count in result.confusion_matrix[result.confusion_matrix > 0]:
        assert count in cells


def test_what_users_name_is_escaped(tmp_path):
    results = [
        classification([EVIL, "b", "c"]),
        Table(EVIL, [EVIL, EVIL], [[EVIL, EVIL]], EVIL),
        BeforeAfter(EVIL, {EVIL: 1}, {EVIL: 2}, {}, EVIL),
        Folds({f"test_{EVIL}": np.array([0.5, 0.75])}),
        Fitted([{"epoch": 1, f"loss {EVIL}": 1.0}, {"epoch": 2, f"loss {EVIL}": 0.5}]),
    ]
    content, checker = check(report(tmp_path / "r.html", *results))
    assert "<script" not in content
    assert sum(EVIL in w for w in ["".join(checker.words)]) == 1


def test_values_that_are_not_finite(tmp_path):
    results = [
        Fitted([dict(epoch=1, train_loss=np.nan), dict(epoch=2, train_loss=np.inf)]),
        Fitted([dict(epoch=1, train_loss=1.0, valid_loss=None), dict(epoch=2, train_loss=np.nan, valid_loss=2.0)]),
        Folds(test_score=np.array([np.nan, 0.5]), fit_time=np.ones(2)),
        Folds(test_score=np.array([np.nan, np.nan])),
        Folds(test_score=np.array([0.5, 0.5])),
        Table("t", ["a", "b"], [[np.nan, np.inf]]),
    ]
    content, _ = check(report(tmp_path / "r.html", *results))
    assert "No finite values" in content
    assert "No fold has a finite score" in content


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("old")
    with pytest.raises(TypeError, match="takes an Evaluation"):
        report(path, everything()[0], 3)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.html"]


@pytest.mark.parametrize("stranger", [{}, [], "x", None, LogisticRegression(), LogisticRegression, {"test_score": [1]}])
def test_strangers_are_refused(tmp_path, stranger):
    with pytest.raises(TypeError, match=r"CVResult .* TorchClassifier .* BeforeAfter"):
        report(tmp_path / "r.html", stranger)
    assert os.listdir(tmp_path) == []


def test_bad_calls(tmp_path):
    table = Table("t", ["a"], [[1]])
    with pytest.raises(ValueError, match="at least one result"):
        report(tmp_path / "r.html")
    with pytest.raises(OSError, match="is a folder"):
        report(tmp_path, table)
    with pytest.raises(OSError, match="there is no folder"):
        report(tmp_path / "no" / "r.html", table)
    with pytest.raises(ValueError, match="row of 2 values"):
        Table("t", ["a"], [[1, 2]])
    with pytest.raises(ValueError, match="same names"):
        BeforeAfter("t", {"a": 1}, {"b": 1}, {})


def test_the_file_has_the_rights_of_any_new_file(tmp_path):
    (tmp_path / "other").write_text("")
    path = report(tmp_path / "r.html", Table("t", ["a"], [[1]]))
    assert path.stat().st_mode == (tmp_path / "other").stat().st_mode


@pytest.mark.parametrize(("low", "high"), [(0, 1), (-3.7, 12), (1e-9, 3e-9), (0.971, 0.9712), (-1e6, 5e7)])
def test_ticks_are_few_round_and_inside(low, high):
    found = charts.ticks(low, high)
    assert 2 <= len(found) <= 7
    assert all(low - 1e-9 * (high - low) <= t <= high + 1e-9 * (high - low) for t in found)
    np.testing.assert_allclose(np.diff(found), found[1] - found[0], rtol=1e-6)


def test_of_many_classes_the_worst_confusions_are_listed(tmp_path):
    rng = np.random.RandomState(0)
    y = np.repeat(np.arange(60), 3)
    X = np.eye(60)[y] + rng.normal(0, 0.6, (180, 60))
    path = report(tmp_path / "r.html", evaluate(LogisticRegression(max_iter=500).fit(X, y), X + 0.5 * X[::-1], y))
    text = path.read_text(encoding="utf-8")
    assert "Most frequent confusions of 60 classes" in text
    assert len(text) < 100_000

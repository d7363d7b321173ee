"""The report is one well-formed page that loads nothing and escapes what it is given."""

import os
import re
from dataclasses import replace
from html.parser import HTMLParser
from xml.etree import ElementTree

import numpy as np
import pytest
from sklearn.datasets import load_diabetes, load_iris
from sklearn.linear_model import LinearRegression, LogisticRegression

from lifecycle.compression import Candidate, Compression
from lifecycle.compression.certificate import Certificate
from lifecycle.evaluation import evaluate
from lifecycle.reporting import Table, charts, report

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


def compression(text="int8"):
    """Three candidates: one with a certificate, one without, and one that was not tested."""
    proof = Certificate(True, "error rate", 0.05, 0.001, 0.008, 0.01, 0.95, 1000, 3, 2, "exact", "00")
    candidates = [
        Candidate({"a": text}, 50, 0.001, certificate=proof),
        Candidate({"a": text}, 25, 0.004, certificate=replace(proof, holds=False, drop=0.005, bound=0.02)),
        Candidate({"a": text}, 12, 0.2),
    ]
    return Compression(None, proof, candidates, 100, 50, notes=[text])


def everything():
    X, y = load_diabetes(return_X_y=True)
    history = [dict(epoch=i, train_loss=1 / i, valid_loss=2 / i, valid_score=1 - 1 / i, lr=0.1) for i in range(1, 9)]
    return [
        classification(),
        evaluate(LinearRegression().fit(X, y), X, y),
        Folds(test_score=np.array([0.9, 0.8, 0.95]), fit_time=np.ones(3), score_time=np.ones(3)),
        Fitted(history),
        compression(),
        Table("Stages", ["stage", "answer", "seconds"], [["build", "a CNN", 0.25]], "All of them."),
    ]


def test_every_kind_in_one_page(tmp_path):
    path = report(tmp_path / "report.html", *everything())
    content, checker = check(path)
    headings = [w for w in checker.words if w in ("Cross-validation", "Training", "Compression", "Stages")]
    assert headings == ["Cross-validation", "Training", "Compression", "Stages"]
    # two for the classifier, one for the regressor, folds, two for training, the candidates of the compression
    assert content.count("<svg") == 7
    assert content.count('<line class="whisker s1"') == 1
    assert content.count('<line class="whisker s3"') == 1
    assert {"100 before", "times smaller", "0.0080"} <= set(checker.words)
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
        compression(EVIL),
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


LARGEST = np.finfo(float).max


@pytest.mark.parametrize(
    "result",
    [
        Table("t", ["a", "b"], [[10**400, 10**5000]]),
        Folds(test_score=np.array([1e308, -1e308, 1e308])),
        Folds(test_score=np.array([5e-324, 0, 1e-323])),
        Folds(test_score=np.array([0.5])),
        Fitted([dict(epoch=1, train_loss=LARGEST), dict(epoch=2, train_loss=-LARGEST)]),
        Fitted([dict(epoch=1, train_loss=10**400), dict(epoch=2, train_loss=1)]),
        Fitted([{"train_loss": np.float32(1), 3: 1.0}]),
    ],
)
def test_numbers_at_the_ends_of_their_range(tmp_path, result):
    content, _ = check(report(tmp_path / "r.html", result))
    assert "inf" not in re.sub(r"<style>.*?</style>", "", content, flags=re.DOTALL)


def test_numbers_beyond_the_range_of_float_are_shown(tmp_path):
    table = Table("t", ["a", "b", "c"], [[10**400, np.float32(0.123456), np.int64(12345)]])
    _, checker = check(report(tmp_path / "r.html", table))
    assert {"1.000e+400", "0.1235", "12,345"} <= set(checker.words)


@pytest.mark.parametrize("text", ["\ud800", "a\x00b\x1b[31m\x0c", "\ufffe", "x" * 100_000])
def test_text_that_html_cannot_hold_and_very_long_text(tmp_path, text):
    y = np.array([text, "b", "c"], dtype=object)[load_iris(return_X_y=True)[1]]
    X = load_iris(return_X_y=True)[0]
    results = [
        evaluate(LogisticRegression(max_iter=500).fit(X, y), X, y),
        Table(text, [text, "b"], [[text, 1]], text),
        compression(text),
        Folds({f"test_{text}": np.array([0.5, 0.75])}),
        Fitted([{"epoch": 1, f"loss {text}": 1.0}, {"epoch": 2, f"loss {text}": 0.5}]),
    ]
    content, _ = check(report(tmp_path / "r.html", *results))
    assert not re.search("[\x00-\x08\x0b-\x1f\ud800-\udfff\ufffe]", content)
    assert all(len(label) < 1000 for label in re.findall(r'aria-label="([^"]*)"', content))


def test_a_fast_model_and_one_that_is_not_certified(tmp_path):
    fast = compression()
    fast.batch_size, fast.candidates = 32, [replace(one, seconds=0.01, times_faster=1.6) for one in fast.candidates]
    _, checker = check(report(tmp_path / "fast.html", fast))
    assert {"times faster", "1.6", "32 rows a call", "milliseconds"} <= set(checker.words)
    refused = compression()
    refused.certificate = replace(refused.certificate, holds=False)
    _, checker = check(report(tmp_path / "refused.html", refused))
    assert "Compression: not certified" in checker.words


def test_a_metric_without_an_interval_is_said(tmp_path):
    result = classification()
    result.metrics["accuracy"] = result.metrics["accuracy"]._replace(low=np.nan, high=np.nan)
    result.calibration[0] = replace(
        result.calibration[0], accuracy=result.calibration[0].accuracy._replace(low=np.nan, high=np.nan)
    )
    _, checker = check(report(tmp_path / "r.html", result))
    assert "no interval" in checker.words


def test_a_failure_leaves_the_old_file(tmp_path):
    path = tmp_path / "r.html"
    path.write_text("old")
    with pytest.raises(TypeError, match="takes an Evaluation"):
        report(path, everything()[0], 3)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["r.html"]


@pytest.mark.parametrize("stranger", [{}, [], "x", None, LogisticRegression(), LogisticRegression, {"test_score": [1]}])
def test_strangers_are_refused(tmp_path, stranger):
    with pytest.raises(TypeError, match=r"CVResult .* TorchClassifier .* Compression .* Table"):
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

"""compress and audit: the certificate, the sequence of its tests, and what is refused."""

import copy

import numpy as np
import pytest
import torch
from scipy import sparse
from sklearn.datasets import load_breast_cancer, load_diabetes, load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import nn

import lifecycle as lc
import lifecycle.torch as lt
from lifecycle.compression import certificate
from lifecycle.compression._plans import least_damage
from lifecycle.compression._search_rows import SearchRows
from lifecycle.compression.row_losses import RowLoss, row_loss
from lifecycle.evaluation.paired_proportions import drop_upper_bound


@pytest.fixture(scope="module")
def digits():
    X, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(y))
    X, y = np.float32(X[order] / 16), y[order]
    return X[:700], y[:700], X[700:], y[700:]


@pytest.fixture(scope="module")
def classifier(digits):
    model = lt.TorchClassifier(lt.MLP, module__hidden=(64,), max_epochs=20, random_state=0, progress=False)
    return model.fit(*digits[:2])


@pytest.fixture(scope="module")
def compressed(classifier, digits):
    return lc.compress(classifier, *digits[2:], max_drop=0.03, random_state=0, progress=False)


def state(model):
    return {name: tensor.clone() for name, tensor in model.module_.state_dict().items()}


def test_the_model_is_smaller_and_its_certificate_is_that_of_the_rows(classifier, compressed, digits):
    assert compressed.size_before == lc.size_of(classifier)
    assert compressed.size_after == lc.size_of(compressed.model) < compressed.size_before / 6
    proof = compressed.certificate
    assert proof.holds
    assert proof.bound < proof.max_drop == 0.03
    assert proof.n == round(0.5 * len(digits[3]))
    # the rows to certify on are those that the split leaves: made again, they give the same counts
    rows = SearchRows(digits[2], digits[3], None, 0.5, 0)
    X, y = digits[2][rows.certify], digits[3][rows.certify]
    right, still = (m.predict(X) == y for m in (classifier, compressed.model))
    assert (proof.worse, proof.better) == (int((right & ~still).sum()), int((still & ~right).sum()))
    assert proof.bound == pytest.approx(drop_upper_bound(proof.worse, proof.better, proof.n, 0.95), abs=2e-6)
    assert proof.drop == pytest.approx((proof.worse - proof.better) / proof.n)
    assert not set(rows.search) & set(rows.certify)


def test_the_original_is_left_alone(classifier, digits):
    before, params = state(classifier), copy.deepcopy(classifier.get_params())
    lc.compress(classifier, *digits[2:], max_drop=0.03, random_state=0, progress=False)
    assert all(torch.equal(before[name], tensor) for name, tensor in classifier.module_.state_dict().items())
    assert str(classifier.get_params()) == str(params)


def test_candidates_go_from_large_to_small_and_the_tests_end_with_the_first_that_fails(compressed):
    sizes = [one.size for one in compressed.candidates]
    assert sizes == sorted(sizes, reverse=True)
    verdicts = [None if one.certificate is None else one.certificate.holds for one in compressed.candidates]
    n_held = verdicts.count(True)
    assert verdicts[:n_held] == [True] * n_held
    assert verdicts[n_held : n_held + 1] in ([], [False])
    assert set(verdicts[n_held + 1 :]) <= {None}
    assert compressed.size_after == sizes[n_held - 1]
    assert compressed.candidates[n_held - 1].certificate == compressed.certificate


def test_the_same_random_state_gives_the_same_model(classifier, compressed, digits):
    again = lc.compress(classifier, *digits[2:], max_drop=0.03, random_state=0, progress=False)
    assert again.certificate == compressed.certificate
    assert all(
        torch.equal(a, b) for a, b in zip(state(again.model).values(), state(compressed.model).values(), strict=True)
    )
    other = lc.compress(classifier, *digits[2:], max_drop=0.03, random_state=1, progress=False)
    assert other.certificate.rows_hash != compressed.certificate.rows_hash


def test_the_result_is_shown(compressed, tmp_path):
    pytest.importorskip("matplotlib").use("agg")
    text = repr(compressed)
    assert "times smaller" in text
    assert "certificate holds: with 95 % confidence" in text
    assert list(compressed.to_frame().columns) == list(compressed.table[0])
    assert "<table" in compressed._repr_html_()
    assert "<table" in compressed.certificate._repr_html_()
    ax = compressed.plot()
    assert ax.get_xlabel() == "bytes"
    lc.save(compressed.model, tmp_path / "small.safetensors")
    assert (tmp_path / "small.safetensors").stat().st_size < compressed.size_before / 2


def test_when_nothing_passes_the_original_comes_back(classifier, digits, monkeypatch):
    monkeypatch.setattr(certificate, "is_non_inferior", lambda *arguments: False)
    result = lc.compress(classifier, *digits[2:], max_drop=0.03, random_state=0, progress=False)
    assert result.model is classifier
    assert not result.certificate.holds
    assert result.size_after == result.size_before
    assert "does not hold" in repr(result)
    assert [one.certificate is None for one in result.candidates] == [False] + [True] * (len(result.candidates) - 1)


def test_every_kind_of_model(digits):
    X, y, X_new, y_new = digits
    net = lt.TorchClassifier(lt.MLP, max_epochs=15, random_state=0, progress=False).fit(X, y).module_
    linear = lc.LinearClassifier(progress=False).fit(X, y)
    pipeline = make_pipeline(StandardScaler(), lc.LinearClassifier(progress=False)).fit(X, y)
    inputs = {net: torch.from_numpy(X_new)}
    for model in (net, linear, pipeline):
        result = lc.compress(model, inputs.get(model, X_new), y_new, max_drop=0.05, random_state=0, progress=False)
        assert type(result.model) is type(model)
        assert result.certificate.holds
        assert result.size_after < result.size_before / 3
        changes = lc.audit(model, result.model, inputs.get(model, X_new), y_new)
        assert changes.drop.low <= changes.drop.value <= changes.drop.high


def test_a_regression_is_certified_by_clipped_squared_errors():
    rng = np.random.default_rng(0)
    X = rng.standard_normal((9000, 12))
    y = X @ rng.standard_normal(12) * 3 + rng.standard_normal(9000)
    model = lc.LinearRegressor(progress=False).fit(X[:1000], y[:1000])
    result = lc.compress(model, X[1000:], y[1000:], max_drop=0.02, random_state=0, progress=False)
    assert result.certificate.holds
    assert "clipped at" in result.certificate.metric
    assert "Bernstein" in result.certificate.test
    rows = SearchRows(X[1000:], y[1000:], None, 0.5, 0)
    loss = row_loss(None, False, rows.y_search, model.predict(rows.X_search))
    values = loss(y[1000:][rows.certify], model.predict(X[1000:][rows.certify]))
    assert loss.largest == 1.0
    assert np.mean(values) == pytest.approx(1 - model.score(X[1000:], y[1000:]), rel=0.1)
    # however good the original is, a model that knows nothing loses nearly all
    useless = loss(y[1000:], np.zeros(8000))
    assert useless.mean() > 0.4


def test_a_bad_original_clips_at_its_own_errors():
    rng = np.random.default_rng(0)
    y, predicted = rng.standard_normal(1000), 3 * rng.standard_normal(1000)
    loss = row_loss(None, False, y, predicted)
    assert loss.largest == pytest.approx(np.quantile((y - predicted) ** 2 / y.var(), 0.99))
    assert loss(y, np.where(np.arange(1000) < 10, np.nan, y)).sum() == pytest.approx(10 * loss.largest)
    with pytest.raises(ValueError, match="predicts NaN or infinite"):
        row_loss(None, False, y, np.full(1000, np.nan))
    with pytest.raises(ValueError, match=r"predicts values of shape \(1000, 1\) for targets of shape \(1000,\)"):
        row_loss(None, False, y, predicted[:, None])


def test_groups_stay_together_and_count_as_one(classifier, digits):
    groups = np.arange(len(digits[3])) // 2
    with pytest.raises(ValueError, match=r"needs at least \d+ groups to certify on, and there are 274"):
        lc.compress(classifier, *digits[2:], groups=groups, max_drop=0.03, progress=False)
    result = lc.compress(classifier, *digits[2:], groups=groups, max_drop=0.2, random_state=0, progress=False)
    assert result.certificate.n == round(0.5 * len(np.unique(groups)))
    assert "means of groups" in result.certificate.test
    rows = SearchRows(digits[2], digits[3], groups, 0.5, 0)
    assert not set(groups[rows.search]) & set(groups[rows.certify])


def test_labels_that_no_prediction_has_are_refused(classifier, digits):
    """All rows would be wrong before and after, and nothing would get worse."""
    X, y = digits[2:]
    with pytest.raises(ValueError, match=r"y has labels that the model was not trained on: '0', '1'"):
        lc.compress(classifier, X, y.astype(str), max_drop=0.03)
    with pytest.raises(ValueError, match=r"y has labels that the model was not trained on: '0', '1'"):
        lc.audit(classifier, classifier, X, y.astype(str))
    with pytest.raises(ValueError, match=r"predictions such as .* are none of the labels of y, such as .*0"):
        lc.compress(classifier, X, y, max_drop=0.03, predict=lambda model, X: model.predict(X) + 0.5)
    model = lc.LinearRegressor().fit(X, y.astype(float))
    with pytest.raises(ValueError, match='scoring="accuracy" is of classes'):
        lc.compress(model, X, y.astype(float), scoring="accuracy", max_drop=0.03)


def test_buffers_that_a_call_writes_to_stay_as_they_are():
    class Counting(nn.Module):
        def __init__(self):
            super().__init__()
            self.out = nn.Linear(8, 3)
            self.register_buffer("calls", torch.zeros(1))

        def forward(self, x):
            self.calls += 1
            return self.out(x)

    net = Counting()
    X = torch.randn(700, 8, generator=torch.Generator().manual_seed(0))
    lc.compress(net, X, net.out(X).argmax(1).numpy(), max_drop=0.2, random_state=0, progress=False)
    assert net.calls == 0


def test_the_hash_of_rows_is_of_all_values():
    y, X = np.arange(3), np.array([[0.0, 1.0], [0.0, 0.0], [2.0, 0.0]])
    long = np.empty(2, object)
    long[:] = [np.arange(2000.0), np.arange(2000.0)]
    other = copy.deepcopy(long)
    other[0][1000] = -1.0
    same = [certificate.hash_of_rows(sparse.lil_matrix(X), y), certificate.hash_of_rows(sparse.csr_matrix(X), y)]
    different = [certificate.hash_of_rows(part, y) for part in (sparse.lil_matrix(2 * X), long, other)]
    assert same[0] == same[1]
    assert len({*same, *different}) == 4


def test_too_few_rows_are_told_at_once(classifier, digits):
    X, y = digits[2][:400], digits[3][:400]
    expected = r"max_drop=0\.01 with 95 % confidence needs at least 299 rows to certify on, and there are 200"
    with pytest.raises(ValueError, match=expected + r" \(certify_size=0\.5 of 400 rows\): .* max_drop=0\.015 or more"):
        lc.compress(classifier, X, y, progress=False)
    assert lc.compress(classifier, X, y, max_drop=0.03, certify_size=0.6, random_state=0, progress=False)


def test_a_callable_gives_each_row_a_loss(classifier, digits):
    result = lc.compress(
        classifier, *digits[2:], max_drop=0.1, random_state=0, progress=False, scoring=lambda y, p: np.abs(y - p) / 9
    )
    assert "Bernstein" in result.certificate.test
    with pytest.raises(ValueError, match="a finite loss of 0 or more for each row"):
        lc.compress(classifier, *digits[2:], max_drop=0.1, scoring=lambda y, p: float(np.mean(y != p)), progress=False)
    with pytest.raises(ValueError, match=r"losses of at most 1; got [89]"):
        lc.compress(classifier, *digits[2:], max_drop=0.1, scoring=lambda y, p: np.abs(y - p) * 1.0, progress=False)


def test_predict_stands_for_the_model_s_own(classifier, digits):
    net = nn.Sequential(nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10))
    net.load_state_dict({k: torch.randn_like(v) for k, v in net.state_dict().items()})
    y = net(torch.from_numpy(digits[2])).argmax(1).numpy()
    calls = []

    def predict(model, X):
        calls.append(len(X))
        with torch.no_grad():
            return model(torch.from_numpy(X)).numpy()

    result = lc.compress(net, digits[2], y, predict=predict, max_drop=0.05, random_state=0, progress=False)
    assert result.certificate.holds
    assert calls
    assert lc.audit(net, result.model, digits[2], y, predict=predict).worse == np.sum(
        predict(result.model, digits[2]).argmax(1) != y
    )


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"max_drop": 0}, "max_drop"),
        ({"confidence_level": 1}, "confidence_level"),
        ({"objective": "joules"}, "objective must be one of 'bytes'"),
        ({"certify_size": 1.0}, "certify_size"),
        ({"scoring": "roc_auc"}, "no mean of bounded losses"),
        ({"scoring": "neg_log_loss"}, "no mean of bounded losses"),
        ({"scoring": "r2"}, "no mean of bounded losses"),
        ({"scoring": "f1"}, "no mean of bounded losses"),
        ({"groups": [1, 2]}, "groups must have one entry for each of the 1097 rows"),
    ],
)
def test_bad_arguments(classifier, digits, change, error):
    with pytest.raises(ValueError, match=error):
        lc.compress(classifier, *digits[2:], **{"max_drop": 0.03, "progress": False, **change})


def test_rows_and_targets_that_do_not_fit(classifier, digits):
    with pytest.raises(ValueError, match="X has 1097 rows but y has 5 targets"):
        lc.compress(classifier, digits[2], digits[3][:5])
    with pytest.raises(ValueError, match="X has 1097 rows but y has no targets"):
        lc.compress(classifier, digits[2], 3)
    with pytest.raises(ValueError, match="missing or infinite"):
        lc.compress(lc.LinearRegressor().fit(*digits[:2]), digits[2], np.full(1097, np.nan))
    with pytest.raises(lc.UnsupportedModel, match="not fitted"):
        lc.compress(lc.LinearClassifier(), *digits[2:])


def test_a_module_and_targets_that_do_not_fit_are_refused():
    """Labels that are guessed would be wrong before and after, and nothing would change."""
    X, y = torch.randn(700, 6), np.arange(700) % 3
    net = nn.Linear(6, 3)
    for targets, error in (
        (y + 1, "y must hold the numbers 0 to 2 of the model's 3 scores; it has"),
        (np.array(["a", "b", "c"])[y], "y must hold the numbers 0 to 2"),
        ((y > 0).astype(float), "y holds 0.0 and 1.0 only"),
    ):
        with pytest.raises(ValueError, match=error):
            lc.compress(net, X, targets, max_drop=0.05)
    with pytest.raises(ValueError, match=r"the model gives the shape \(\d+, 1\), and y holds classes: pass predict="):
        lc.compress(nn.Linear(6, 1), X, y)


def test_a_model_that_is_quantized_already_does_not_grow():
    X, y = load_digits(return_X_y=True)
    model = lc.LinearClassifier(progress=False).fit(X[:700] / 16, y[:700])
    small = lc.quantize(model, bits=4, group_size=64)
    result = lc.compress(small, X[700:] / 16, y[700:], max_drop=0.05, random_state=0, progress=False)
    assert result.size_after <= result.size_before == lc.size_of(small)
    assert all(one.size < result.size_before for one in result.candidates)


def test_several_inputs():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.a, self.b = nn.Linear(32, 16), nn.Linear(32, 16)
            self.out = nn.Linear(32, 10)

        def forward(self, left, right):
            return self.out(torch.relu(torch.cat([self.a(left), self.b(right)], dim=1)))

    X, y = load_digits(return_X_y=True)
    X = torch.tensor(X / 16, dtype=torch.float32)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = Two()
    y = net(X[:, :32], X[:, 32:]).argmax(1).numpy()
    for inputs in ((X[:, :32], X[:, 32:]), {"left": X[:, :32], "right": X[:, 32:]}):
        result = lc.compress(net, inputs, y, max_drop=0.05, random_state=0, progress=False)
        assert result.certificate.holds
        assert set(result.methods.values()) == {("obs", "gptq")}
        assert lc.audit(net, result.model, inputs, y).n_samples == len(y)


def test_least_damage_is_that_of_all_choices():
    rng = np.random.default_rng(0)
    costs = [np.sort(rng.integers(0, 50, 4)).astype(float)[::-1] for _ in range(4)]
    damages = [np.sort(rng.random(4)) for _ in range(4)]
    for budget in (0.0, 40.0, 77.0, 120.0, 500.0):
        (plan,) = least_damage(costs, damages, np.array([budget]))
        every = [
            (sum(d[k] for d, k in zip(damages, choice, strict=True)), choice)
            for choice in np.ndindex(4, 4, 4, 4)
            if sum(c[k] for c, k in zip(costs, choice, strict=True)) <= budget
        ]
        if not every:
            assert plan is None
            continue
        assert sum(c[k] for c, k in zip(costs, plan, strict=True)) <= budget
        assert sum(d[k] for d, k in zip(damages, plan, strict=True)) == pytest.approx(min(every)[0])


# -- audit -----------------------------------------------------------------------------------------------------------


def test_an_audit_tells_flips_classes_groups_and_sizes(classifier, digits):
    X, y = digits[2:]
    small = lc.quantize(lc.prune(classifier, 0.9, scope="layer"), bits=4)
    groups = np.where(np.arange(len(y)) < 200, "a", "b")
    found = lc.audit(classifier, small, X, y, groups=groups)
    before, after = classifier.predict(X), small.predict(X)
    assert found.changed.tolist() == np.flatnonzero(before != after).tolist()
    assert found.drop.value == pytest.approx(classifier.score(X, y) - small.score(X, y))
    assert found.worse == ((before == y) & (after != y)).sum()
    for label, estimate in found.drop_of_class.items():
        of = y == label
        assert estimate.value == pytest.approx((before[of] == label).mean() - (after[of] == label).mean())
        assert estimate.low <= estimate.value <= estimate.high
    assert set(found.drop_of_group) == {"a", "b"}
    assert found.worst_group[1].value == max(e.value for e in found.drop_of_group.values())
    assert found.size.before == lc.size_of(classifier)
    assert found.size.after == lc.size_of(small)
    assert found.latency.after.batch_size == 32
    for model, error in zip((classifier, small), found.calibration_error, strict=True):
        assert error == pytest.approx(lc.evaluate(model, X, y).expected_calibration_error)
    assert found.drop.low > 0.05  # far more is lost than chance could tell
    assert "drop of group b" in repr(found)
    assert "<table" in found._repr_html_()
    assert len(found.to_frame()) == 1 + 10 + 2


def test_an_audit_of_a_model_with_itself_finds_nothing(classifier, digits):
    found = lc.audit(classifier, classifier, *digits[2:])
    assert (found.worse, found.better, len(found.changed), found.drop.value) == (0, 0, 0, 0.0)
    assert found.drop.high == pytest.approx(-found.drop.low) == pytest.approx(1 - 0.025 ** (1 / 1097), abs=2e-5)


def test_an_audit_with_no_model_is_refused():
    X, y = load_diabetes(return_X_y=True)
    model = lc.LinearRegressor().fit(X, y)
    with pytest.raises(TypeError, match="got a NoneType, which predicts nothing: pass a model"):
        lc.audit(model, None, X, y)


def test_an_audit_of_a_regression():
    X, y = load_diabetes(return_X_y=True)
    model = lc.LinearRegressor(progress=False).fit(X[:200], y[:200])
    small = lc.prune(model, 0.5)
    found = lc.audit(model, small, X[200:], y[200:], groups=np.arange(242) % 3)
    assert found.drop.value == pytest.approx(model.score(X[200:], y[200:]) - small.score(X[200:], y[200:]))
    assert found.drop_of_class == {}
    assert len(found.drop_of_group) == 3
    assert found.calibration_error is None


def test_a_bound_of_two_classes_holds_for_probabilities_too():
    X, y = load_breast_cancer(return_X_y=True)
    model = make_pipeline(StandardScaler(), lc.LinearClassifier(progress=False)).fit(X[:200], y[:200])
    found = lc.audit(model, lc.quantize(model), X[200:], y[200:])
    assert found.calibration_error is not None
    with pytest.raises(ValueError, match="groups must have one entry"):
        lc.audit(model, model, X, y, groups=[1])


def test_a_loss_that_is_not_bounded_is_refused():
    loss = RowLoss("loss", lambda y, p: np.full(len(y), np.nan), 1.0)
    with pytest.raises(ValueError, match="a finite loss"):
        loss(np.zeros(3), np.zeros(3))

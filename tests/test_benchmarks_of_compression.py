"""The benchmark of compression: its arithmetic, and trials with small networks, without the data and the peers."""

import copy
from functools import partial

import numpy as np
import pytest
from benchmarks import _data, _harness, _page

import lifecycle as lc

torch = pytest.importorskip("torch")
from benchmarks import compression  # noqa: E402
from benchmarks.compression import (  # noqa: E402
    _channels,
    _column_loop,
    _end_to_end,
    _g2p,
    _int8_linear,
    _memory,
    _minilm,
    _not_faster,
    _onnxruntime,
    _peers,
    _probe,
    _resnet,
    _tables,
    _timing,
)  # fmt: skip
from torch import nn  # noqa: E402

from lifecycle.torch import adapter  # noqa: E402

TRIAL = {"rounds": 1, "scale": 0.01}


@pytest.fixture(autouse=True)
def short_runs(monkeypatch):
    """One call is a run, and no peer is installed."""
    monkeypatch.setattr(_timing, "SHORTEST", 0.0)
    monkeypatch.setattr(_timing, "PAUSE", 0.0)
    monkeypatch.setattr(_peers, "missing", lambda *packages: list(packages))


def small_minilm() -> nn.Module:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return _minilm.MiniLM(vocabulary=50, width=32, heads=4, inner=64, depth=1).eval()


def tokens_of(n: int) -> torch.Tensor:
    tokens = torch.randint(1, 50, (n, 12), generator=torch.Generator().manual_seed(n))
    tokens[::3, 8:] = 0
    return tokens


def digits(scale: float = 1.0) -> tuple[np.ndarray, ...]:
    from sklearn.datasets import load_digits

    data = load_digits()
    images = (data.images[:, None] / 16).astype(np.float32)
    return images[:1000], data.target[:1000], images[1000:], data.target[1000:]


def test_a_trial_writes_its_record_and_page(tmp_path, monkeypatch):
    for name in ("MINILM", "FASHION", "G2P"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setitem(compression.CASES, "column loop, small", partial(_column_loop.measure, 40, 300))
    monkeypatch.setitem(compression.CASES, "layer, small", partial(_int8_linear.of_normal_weights, 64, 32))
    monkeypatch.setitem(compression.CASES, "not faster, small", partial(_not_faster.measure, width=128))
    only = ["MiniLM", "Fashion", "g2p", "small"]
    result = compression.run(rounds=1, threads=1, scale=0.1, only=only)
    cases = {one["case"]: one for one in result["cases"]}
    skipped = [one["skipped"].split()[0] for one in cases.values() if "skipped" in one]
    assert sorted(skipped) == sorted(["MINILM"] * 4 + ["FASHION"] * 2 + ["G2P"])
    errors = {who: row["error of the outputs"] for who, row in cases["column loop, small"]["rows"].items()}
    assert errors["lifecycle"] == pytest.approx(errors["torch operations"], rel=0.05)
    assert errors["lifecycle"] < errors["nearest codes"] == 1
    layer = cases["layer, small"]
    assert {"batch 1: float32", "batch 64: lifecycle", "batch 410: torch.ao"} < set(layer["rows"])
    assert all(0 <= row["relative error of the outputs"] < 0.05 for row in layer["rows"].values())
    assert [target["least"] for target in layer["targets"]] == [1.5, 0.95, 3.0, 0.95, 3.0, 0.95]
    rows = cases["not faster, small"]["rows"]
    assert rows["128 → 128, batch 1: 90 % zeros"]["bytes"] < rows["128 → 128, batch 1: float32"]["bytes"] / 4
    assert {"16 → 16, batch 64: int8", "128 → 128, batch 64: 2:4 zeros"} < set(rows)
    assert set(_peers.PACKAGES) < set(result["versions"])
    _harness.write(result, tmp_path)
    page = _page.text(tmp_path)
    for expected in (
        "### column loop, small",
        "Skipped: MINILM does not name",
        "batch 64: time of float32 / lifecycle",
        "Left out, as not installed: what needs torchao.",
        "with VNNI instructions, which this one",
    ):
        assert expected in page


def test_a_run_goes_on_where_it_was_interrupted(tmp_path, monkeypatch):
    calls = []

    def case(name, rounds, scale):
        calls.append(name)
        if len(calls) == 2:
            raise KeyboardInterrupt
        return {"rows": {"a": {"x": 1.0}}, "about": "."}

    monkeypatch.setattr(compression, "CASES", {name: partial(case, name) for name in ("first", "second")})
    options = {"rounds": 1, "threads": 1, "resume": tmp_path / "partial.json"}
    n_threads = torch.get_num_threads()
    with pytest.raises(KeyboardInterrupt):
        compression.run(**options)
    assert torch.get_num_threads() == n_threads
    assert [one["case"] for one in compression.run(**options)["cases"]] == ["first", "second"]
    assert calls == ["first", "second", "second"]
    with pytest.raises(ValueError, match="was measured with other settings"):
        compression.run(**{**options, "rounds": 2})


def test_targets_are_met_from_their_limit_on():
    def verdict(**target):
        (table,) = _tables.targets_of({"targets": [{"what": "trial", "measured": 1.5, **target}]})
        return table.splitlines()[-1].split("|")[-2].strip()

    assert [verdict(least=limit) for limit in (1.4, 1.5, 1.6)] == ["yes", "yes", "no"]
    assert [verdict(most=limit) for limit in (1.4, 1.5, 1.6)] == ["no", "yes", "yes"]
    assert _tables.targets_of({}) == []


def test_speeds_are_medians_of_the_ratios_of_pairs():
    seconds = {"slow": [2.0, 30.0, 6.0], "fast": [1.0, 10.0, 4.0]}
    assert _timing.cells(seconds, "fast", "slow")["speed, × slow"] == 2.0
    target = _timing.at_least("trial", seconds, "slow", "fast", 1.8)
    assert (target["low"], target["measured"], target["high"]) == (1.75, 2.0, 2.5)


def test_multiplications_are_counted():
    net = nn.Sequential(nn.Conv2d(2, 6, 3, stride=2, padding=1, groups=2), nn.Flatten(), nn.Linear(6 * 16, 5))
    assert _resnet.count_macs(net, torch.zeros(1, 2, 8, 8)) == 6 * 16 * 9 + 6 * 16 * 5


def test_the_interval_of_a_difference_is_that_of_paired_images():
    from scipy.stats import norm

    generator = np.random.default_rng(0)
    ours, theirs = generator.random((2, 3, 400)) < 0.8
    d = (ours.astype(float) - theirs).mean(axis=0)
    expected = norm.interval(0.95, d.mean(), d.std(ddof=1) / 20)
    low, mean, high = _channels.interval_of_difference(ours, theirs)
    assert (low, high) == pytest.approx(expected, abs=1e-6)
    assert mean == pytest.approx(d.mean())


def test_a_trial_of_the_channels(monkeypatch):
    monkeypatch.setattr(_data, "fashion_images", digits)
    monkeypatch.setattr(_channels, "FINE_TUNING_EPOCHS", 1)
    rows = _channels.measure(**TRIAL, width=4, depth=1)["rows"]
    assert set(rows) == {_channels.BASELINE, _channels.OURS}
    assert rows[_channels.OURS]["MACs"] < 0.9 * rows[_channels.BASELINE]["MACs"]
    assert float(rows[_channels.OURS]["accuracy"].split()[0]) > 0.3


def test_a_trial_end_to_end(monkeypatch):
    net, tokens, test_tokens = small_minilm(), tokens_of(60), tokens_of(80)
    labels, test_labels = np.arange(60) % 2, np.arange(80) % 2
    classifier = lc.LinearClassifier(progress=False).fit(adapter.outputs(net, tokens), labels)
    probe = _probe.Probe(net, tokens, test_tokens, labels, test_labels, classifier)
    monkeypatch.setattr(_probe.Probe, "load", classmethod(lambda cls, scale: probe))
    found = _end_to_end.measure(**TRIAL)
    assert set(found["rows"]) == {f"batch {n}: {who}" for n in (1, 32) for who in ("float32", "lifecycle int8")}
    assert [target.get("least", target.get("most")) for target in found["targets"]] == [4.0, 2.5, 0.005]
    assert "what needs onnxruntime and onnx and onnxscript" in found["about"]
    embed = _end_to_end._of_batches(lambda part: part[:, :1].numpy() if len(part) == 32 else None, 32)
    assert np.array_equal(embed(test_tokens), test_tokens[:, :1])


def test_a_trial_of_the_spelling(tmp_path, monkeypatch):
    generator = np.random.default_rng(0)
    sizes = {"enc_emb": (29, 8), "dec_emb": (74, 8), "fc_w": (74, 16), "fc_b": (74,)}
    for part in ("enc", "dec"):
        sizes |= {f"{part}_w_ih": (48, 8), f"{part}_w_hh": (48, 16), f"{part}_b_ih": (48,), f"{part}_b_hh": (48,)}
    np.savez(tmp_path / "g2p.npz", **{k: generator.normal(size=s).astype(np.float32) for k, s in sizes.items()})
    monkeypatch.setenv("G2P", str(tmp_path / "g2p.npz"))
    net = _g2p.load(tmp_path / "g2p.npz")
    words = ["".join(generator.choice(list("abcdefgh"), 2 + k % 4)) + "xyz"[k % 3] for k in range(200)]
    said = dict(zip(words, _g2p.spell(net, words), strict=True))
    assert all(said[word] == _g2p.spell(net, [word])[0] for word in words[:10])
    monkeypatch.setattr(_data, "pronunciations", lambda: {word: [phonemes] for word, phonemes in said.items()})
    rows = _g2p.measure(**TRIAL)["rows"]
    assert rows["batch 1: float32"]["accuracy"].startswith("1.0000")
    assert {who.partition(": ")[2] for who in rows} >= {"float32", "lifecycle, dynamic", "lifecycle, auto"}


needs_proc = pytest.mark.skipif(not _memory.RESET.exists(), reason="peak memory is read from /proc")


@needs_proc
def test_peak_memory_does_not_count_what_was_freed_before():
    def make():
        assert np.ones(30_000_000, np.float32).all()  # 120 MB
        return nn.Sequential(nn.Linear(64, 64))

    found = _memory._measured(make, torch.randn(64, 64), torch.randn(8, 64), {})
    assert found["peak"] < 60e6


@needs_proc
def test_peak_memory_counts_the_copy_of_the_model():
    found = _memory.stack_in_process(4, 512, 64)
    assert found["model"] == 4 * 4 * (512**2 + 512)
    assert found["hessian"] == 8 * 512**2
    assert found["peak"] >= found["grown"] > 0.9 * found["model"]
    assert found["stored"] < found["model"] / 6
    assert 0 < found["error"] < 0.5


@needs_proc
@pytest.mark.slow
def test_memory_is_measured_in_a_fresh_process():
    found = _memory.stack(**TRIAL)
    assert found["rows"][_memory.PEAK]["MB"] > found["rows"]["float32 model"]["MB"]
    assert 0 < found["targets"][0]["measured"] < 1


def test_onnxruntime_embeds_as_the_module(tmp_path):
    for package in _onnxruntime.NEEDED:
        pytest.importorskip(package)
    net, tokens = small_minilm(), tokens_of(4)
    with torch.no_grad():
        expected = net(tokens).numpy()
    embed = _onnxruntime.sessions(net, tokens, tmp_path)
    for who, tolerance in ((_onnxruntime.FLOAT, 1e-5), (_onnxruntime.INT8, 0.05), (_onnxruntime.FUSED_INT8, 0.05)):
        assert np.abs(embed[who](tokens) - expected).max() < tolerance, who


def test_the_peer_prunes_to_equal_cost():
    pytest.importorskip("torch_pruning")
    net, example = _resnet.ResNet(8, 1).eval(), torch.zeros(1, 1, 8, 8)
    before = copy.deepcopy(net)
    macs = 0.6 * _resnet.count_macs(net, example)
    small = _channels._of_equal_macs(net, example, macs)
    assert _resnet.count_macs(small, example) == pytest.approx(macs, rel=0.1)
    assert all(torch.equal(a, b) for a, b in zip(net.parameters(), before.parameters(), strict=True))

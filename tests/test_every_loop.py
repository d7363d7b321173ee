"""Every loop: it computes what the rule and the formats say, element by element, wherever chunks and threads fall."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from llvmlite import binding
from numba.core.caching import NullCache

import lifecycle as lc
from lifecycle import _jit, _threads
from lifecycle.formats import list_formats
from lifecycle.loops import blockwise, elementwise, norm
from lifecycle.rules import list_rules

FORMATS = list_formats()
# parameters' format, slots' format
STORAGE = [
    ("float64", "float64"),
    ("float32", "float32"),
    ("float32", "bfloat16"),
    ("bfloat16", "bfloat16"),
    ("bfloat16", "float32"),
    ("float16", "float32"),
    ("float16", "float16"),
    ("float32", "int8"),
    ("bfloat16", "int8"),
]
VARIANTS = [
    ("gd", {}),
    ("sgd", {"momentum": 0.9}),
    ("adamw", {}),
    ("adam", {"amsgrad": True}),
    ("adagrad", {}),
    ("rmsprop", {"centered": True, "momentum": 0.9}),
]
VARIANT_IDS = [f"{rule}-{'-'.join(hyper)}" for rule, hyper in VARIANTS]


class Segments:
    """Random segments of the given lengths, stored as a loop wants them."""

    def __init__(self, rule, hyper, param, slot, lengths, seed=0):
        self.rule, self.hyper, self.param, self.slot = list_rules()[rule], hyper, FORMATS[param], FORMATS[slot]
        self.hyper = {**self.rule.defaults, **hyper}
        self.update, slots = self.rule.variant(self.hyper)
        self.kinds = tuple(slots.values())
        self.dtype = np.float64 if param == "float64" else np.float32
        rng = np.random.default_rng(seed)

        def stored(n, scale):
            x = (rng.normal(size=n) * np.exp(rng.normal(size=n)) * scale).astype(self.dtype)
            if param in ("float32", "float64"):
                return x
            return np.array([self.param.store(v, np.uint32(0)) for v in x], self.param.DTYPE)

        self.lengths = np.array(lengths, np.int64)
        n_blocks = [-(-n // self.slot.BLOCK) if self.slot.BLOCK > 1 else 0 for n in lengths]
        self.rows = [
            [
                stored(n, 1.0),
                stored(n, 0.1),
                *(np.zeros(n, self.slot.DTYPE) for _ in self.kinds),
                np.zeros(n, self.dtype),
            ]
            for n in lengths
        ]
        self.scales = [[np.zeros(m, np.float32) for _ in self.kinds] for m in n_blocks]
        self.keys = rng.integers(2**32, size=len(lengths), dtype=np.uint32)
        self.t = 0

    def table(self):
        rows = []
        for (p, g, *slots, mean), scales in zip(self.rows, self.scales, strict=True):
            columns = slots if self.slot.BLOCK == 1 else [a for pair in zip(slots, scales, strict=True) for a in pair]
            rows.append([a.ctypes.data for a in (p, g, *columns, mean)])
        return np.array(rows, np.int64)

    def scalars(self, factor=0.5, share=0.25):
        self.t += 1
        s = self.rule.step(self.t, **self.hyper)
        return np.tile(np.array([*s, factor, share], self.dtype), (len(self.rows), 1))

    def step(self, averaged=True):
        self.prepare(averaged)()

    def prepare(self, averaged=True):
        slot = self.slot if self.kinds else self.param
        loop = elementwise if slot.BLOCK == 1 else blockwise
        table, scalars = self.table(), self.scalars()
        return loop.prepare(
            self.update, self.kinds, self.param, slot, table, self.lengths, scalars, self.keys, averaged
        )

    @np.errstate(over="ignore")  # bit patterns wrap around
    def step_slowly(self):
        """The same, one element at a time, in Python."""
        scalars = self.scalars()[0]
        s, factor, share = tuple(scalars[:-2]), scalars[-2], scalars[-1]
        form = self.slot
        for (p, g, *slots, mean), scales, key in zip(self.rows, self.scales, self.keys, strict=True):
            size = form.BLOCK if form.BLOCK > 1 else max(len(p), 1)
            for block, begin in enumerate(range(0, len(p), size)):
                indices = range(begin, min(begin + size, len(p)))
                updated = []
                for i in indices:
                    columns = zip(self.kinds, slots, self._scales_of(scales), strict=True)
                    values = [self._load(kind, a[i], c[block] if len(c) else None) for kind, a, c in columns]
                    x, *values = self.update(self.param.load(p[i]), factor * self.param.load(g[i]), *values, s)
                    updated.append(values)
                    p[i] = self.param.store(x, self._noises(i, key)[3])
                    mean[i] = mean[i] + share * (x - mean[i])
                for k, kind in enumerate(self.kinds):
                    column = np.array([values[k] for values in updated])
                    inverse = None
                    if form.BLOCK > 1:
                        top = column.astype(np.float32).view(np.uint32) & np.uint32(0x7FFFFFFF)
                        inverse, scales[k][block] = form.scale(top.max(), scales[k][block])
                    store = form.store_positive if kind == "non-negative" else form.store
                    for i, value in zip(indices, column, strict=True):
                        scaled = (value,) if inverse is None else (value, inverse)
                        slots[k][i] = store(*scaled, self._noises(i, key)[k])

    def _scales_of(self, scales):
        return scales if self.slot.BLOCK > 1 else [()] * len(self.kinds)

    def _load(self, kind, code, scale):
        if scale is None:
            return self.slot.load(code)
        return self.slot.load_positive(code, scale) if kind == "non-negative" else self.slot.load(code, scale)

    @staticmethod
    def _noises(i, key):
        """Of the slots a, b, c, and of the parameter."""
        r, q = _jit.noise(i, 0, key), _jit.noise(0, i, key ^ np.uint32(0x5BD1E995))
        return r, np.uint32(r << np.uint32(12)), np.uint32(q << np.uint32(12)), q

    def bits(self):
        return [a.tobytes() for row, scales in zip(self.rows, self.scales, strict=True) for a in (*row, *scales)]


@pytest.mark.parametrize(("param", "slot"), STORAGE)
@pytest.mark.parametrize(("rule", "hyper"), VARIANTS, ids=VARIANT_IDS)
def test_the_kernel_has_the_bits_of_slow_python(rule, hyper, param, slot):
    fast, slow = (Segments(rule, hyper, param, slot, [5, 0, 300]) for _ in range(2))
    for _ in range(3):
        fast.step()
        slow.step_slowly()
        assert fast.bits() == slow.bits()


@pytest.mark.parametrize(("param", "slot"), STORAGE)
def test_same_bits_on_any_number_of_threads(param, slot, monkeypatch):
    monkeypatch.setattr(_threads, "SERIAL_BELOW", {"pool": 1, "team": 1})
    results = []
    for n in (1, 2, 3, 7):
        segments = Segments("adamw", {}, param, slot, [1003, 1, 777, 256])
        with lc.threads(n):
            for _ in range(3):
                segments.step()
        results.append(segments.bits())
    assert all(bits == results[0] for bits in results)


@settings(max_examples=25, deadline=None)
@given(
    lengths=st.lists(st.integers(0, 600), min_size=1, max_size=5),
    cuts=st.lists(st.floats(0, 1), max_size=3),
    storage=st.sampled_from([("float32", "float32"), ("float32", "bfloat16"), ("float32", "int8")]),
)
def test_same_bits_wherever_chunks_fall(lengths, cuts, storage):
    undivided, divided = (Segments("adamw", {}, *storage, lengths) for _ in range(2))
    undivided.step()
    call = divided.prepare()
    bounds = sorted({0, call.size, *(int(c * call.size) for c in cuts)})
    for begin, end in itertools.pairwise(bounds):
        call.kernel.call(call.arguments, begin, end)
    assert undivided.bits() == divided.bits()


@pytest.mark.parametrize("name", ["float64", "float32", "bfloat16", "float16"])
def test_the_norm(name, monkeypatch):
    form = FORMATS[name]
    rng = np.random.default_rng(0)
    arrays = [rng.normal(size=n).astype(np.float64 if name == "float64" else np.float32) for n in (3, 0, 10_000, 4096)]
    stored = (
        arrays
        if form.DTYPE.kind == "f"
        else [np.array([form.store(v, np.uint32(0)) for v in a], form.DTYPE) for a in arrays]
    )
    back = [np.array([form.load(c) for c in a], np.float64) for a in stored]
    addresses, lengths = np.array([a.ctypes.data for a in stored]), np.array([a.size for a in stored])
    total = norm.prepare(form, addresses, lengths)
    expected = total()
    np.testing.assert_allclose(expected, sum((a**2).sum() for a in back), rtol=1e-13)
    monkeypatch.setattr(_threads, "SERIAL_BELOW", {"pool": 1, "team": 1})
    for n in (2, 3, 7):
        with lc.threads(n):
            assert total() == expected
    stored[2][5] = form.store(np.float32(np.nan), np.uint32(0)) if form.DTYPE.kind != "f" else np.nan
    assert np.isnan(total())
    assert norm.prepare(form, addresses[:0], lengths[:0])() == 0.0


@pytest.mark.parametrize("slot", ["float32", "bfloat16", "int8"])
def test_loops_use_the_widest_vectors_of_the_machine(slot, monkeypatch):
    if "+avx512f" not in binding.get_host_cpu_features().flatten():
        pytest.skip("this machine has no vectors of 64 bytes")
    monkeypatch.setattr("lifecycle._jit._compile.disk_cache", lambda function: NullCache())  # which shows no code
    loop = elementwise if FORMATS[slot].BLOCK == 1 else blockwise
    rule = list_rules()["adamw"]
    update, slots = rule.variant(rule.defaults)
    arguments = (update, tuple(slots.values()), FORMATS["float32"], FORMATS[slot], np.dtype(np.float32), 7, False)
    code = loop.compiled.__wrapped__(*arguments)._library.get_asm_str()
    roots = [line for line in code.splitlines() if "vsqrtps" in line]
    assert any("zmm" in line for line in roots)
    assert not any("ymm" in line for line in roots)


def test_a_rule_has_three_slots_at_most():
    from lifecycle.loops import _update

    with pytest.raises(ValueError, match="up to 3 slots"):
        _update.three_slot_update(lambda p, g, a, b, c, d, s: (p, a, b, c, d), 4)


# -- the same step as torch operations, which tensors of other devices take; CPU tensors take it here ------------------


@pytest.fixture
def torch():
    torch = pytest.importorskip("torch")
    pytest.importorskip("lifecycle.torch.optimizers")
    return torch


def steps_of_both_paths(torch, monkeypatch, make, gradients):
    """Parameters and their states after steps of an optimizer of `make()`, by kernels and by torch operations."""
    from lifecycle.torch import _step_plan

    # torch's square root on the CPU is not correctly rounded, unlike that of numpy, LLVM and CUDA
    monkeypatch.setattr(torch, "sqrt", lambda x: torch.from_numpy(np.sqrt(x.numpy())))
    results = []
    for devices in (("cpu",), ()):
        monkeypatch.setattr(_step_plan, "_KERNEL_DEVICES", devices)
        params, optimizer = make()
        for grads in gradients:
            for p, g in zip(params, grads, strict=True):
                p.grad = g.to(p.dtype)
            optimizer.step()
        states = [x for p in params for x in optimizer.state[p].values() if isinstance(x, torch.Tensor)]
        results.append([*(p.detach() for p in params), *states])
    return zip(*results, strict=True)


@pytest.mark.parametrize(
    ("rule", "hyper", "param", "slot"),
    [(*variant, *pair) for variant in VARIANTS for pair in STORAGE if pair[1] != "int8"]
    + [("radam", {}, "float32", "float32")],  # divides a coefficient by a tensor
)
def test_torch_operations_have_the_bits_of_the_kernel(rule, hyper, param, slot, torch, monkeypatch):
    import lifecycle.torch as lt

    generator = torch.Generator().manual_seed(0)
    draws = [[torch.randn(shape, generator=generator) for shape in ((5, 7), (4, 3), (), (0,))] for _ in range(6)]
    if param == slot == "float32":
        draws = [[*row, torch.randn(2, 3, generator=generator, dtype=torch.complex64)] for row in draws]

    def make():
        first, second, *others = (x.clone() if x.is_complex() else x.to(getattr(torch, param)) for x in draws[0])
        params = [torch.nn.Parameter(x.clone()) for x in (first, second.t().contiguous().t(), *others)]
        options = {"state_dtype": None if param == slot else slot, "ema_decay": 0.75, "seed": 5}
        return params, getattr(lt, list_rules()[rule].class_name)(params, **hyper, **options)

    for by_kernel, by_torch in steps_of_both_paths(torch, monkeypatch, make, draws[1:]):
        assert torch.equal(by_kernel, by_torch)


@pytest.mark.parametrize(("lr", "steps", "mean"), [(1e-4, 400, 0.96), (1e6, 1, -65504.0)])
def test_float16_is_rounded_stochastically_and_clipped_by_torch_operations_too(lr, steps, mean, torch, monkeypatch):
    """Rounded to the nearest, no step of 1e-4 would change 1.0; beyond its range, float16 would be infinite."""
    import lifecycle.torch as lt

    def make():
        params = [torch.nn.Parameter(torch.ones(2000, dtype=torch.float16))]
        return params, lt.GD(params, lr=lr)

    ((by_kernel, by_torch),) = steps_of_both_paths(torch, monkeypatch, make, [[torch.ones(2000)]] * steps)
    assert torch.equal(by_kernel, by_torch)
    assert float(by_torch.double().mean()) == pytest.approx(mean, abs=2e-4)

"""Compiled functions: exp and log1p, bits and noise, memory on the stack, vectors; stamps and the disk cache."""

import errno
import os
import subprocess
import sys
import warnings

import numba
import numpy as np
import pytest
from llvmlite import binding
from numba.core import caching

from lifecycle import _jit
from lifecycle._jit import _disk_cache

KINDS = [np.float32, np.float64]
EXP_ERROR = {np.float32: 2e-7, np.float64: 4e-16}  # relative
LOG1P_ERROR = {np.float32: 1.2e-7, np.float64: 2.3e-16}  # in units of 1 + x, the rounding of the argument
LOG1P_RELATIVE_ERROR = {np.float32: 3e-7, np.float64: 5e-16}
RANGE = {np.float32: (-87.0, 88.0), np.float64: (-708.0, 709.0)}


def elementwise_kernel(function):
    function = _jit.element(function)

    def loop(x, out):
        for i in range(x.size):
            out[i] = function(x[i])

    return _jit.kernel(loop, contract=True)


EXP, LOG1P = elementwise_kernel(lambda x: _jit.exp(x)), elementwise_kernel(lambda x: _jit.log1p(x))


def run(kernel, x):
    out = np.full_like(x, 123.0)
    kernel(x, out)
    return out


def error(computed, exact, unit):
    return np.abs((computed.astype(np.longdouble) - exact) / unit).max()


def of_any_size(kind, low, high):
    """Numbers between two powers of ten, and 0."""
    return np.append(np.logspace(low, high, 60_001), 0.0).astype(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_exp_is_exact_to_a_unit_in_the_last_place(kind):
    low, high = RANGE[kind]
    small = of_any_size(kind, -30, 0)
    x = np.concatenate([np.linspace(low, high, 200_001).astype(kind), small, -small])
    exact = np.exp(x.astype(np.longdouble))
    assert error(run(EXP, x), exact, exact) <= EXP_ERROR[kind]
    halves = (np.arange(np.ceil(low / np.log(2)), high / np.log(2)) + 0.5) * np.log(2)  # where the power of two changes
    x = np.concatenate([np.nextafter(halves.astype(kind), kind(s * np.inf)) for s in (-1, 1)])
    exact = np.exp(x.astype(np.longdouble))
    assert error(run(EXP, x), exact, exact) <= EXP_ERROR[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_exp_outside_the_range_of_normal_results(kind):
    low, high = RANGE[kind]
    x = np.array([-np.inf, 10 * low, low, high, 10 * high, np.inf, np.nan, 0.0, -0.0], kind)
    computed = run(EXP, x)
    ends = np.exp(np.array([low, high], np.float64))
    np.testing.assert_allclose(computed[:3], ends[0], rtol=EXP_ERROR[kind])
    np.testing.assert_allclose(computed[3:6], ends[1], rtol=EXP_ERROR[kind])
    assert computed[0] >= np.finfo(kind).tiny
    assert np.isnan(computed[6])
    assert computed[7] == computed[8] == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_log1p_is_exact_to_a_unit_in_the_last_place_of_its_argument_plus_one(kind):
    x = np.concatenate([of_any_size(kind, -30, 30), np.linspace(0.0, 4.0, 200_001).astype(kind)])
    exact = np.log1p(x.astype(np.longdouble))
    computed = run(LOG1P, x)
    assert error(computed, exact, 1 + x.astype(np.longdouble)) <= LOG1P_ERROR[kind]
    assert error(computed, exact, np.where(x > 0, exact, 1)) <= LOG1P_RELATIVE_ERROR[kind]
    assert computed[x == 0].tolist() == [0.0] * (x == 0).sum()
    assert np.isnan(run(LOG1P, np.array([np.nan, 1.0], kind))[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("kernel", [EXP, LOG1P], ids=["exp", "log1p"])
def test_any_number_of_elements(kernel, kind):
    # the remainder of a division into vectors is computed one by one
    x = np.linspace(0.0, 3.0, 71).astype(kind)
    x[5] = np.nan
    exact = (np.exp if kernel is EXP else np.log1p)(x.astype(np.longdouble))
    for begin in (0, 1):
        for n in range(1, 71 - begin):
            out = np.full(71, -1.0, kind)
            kernel(x[begin : begin + n], out[begin : begin + n])
            np.testing.assert_allclose(out[begin : begin + n], exact[begin : begin + n], rtol=3 * np.finfo(kind).eps)
            assert (out[:begin] == -1.0).all()
            assert (out[begin + n :] == -1.0).all()


def test_outside_of_kernels_they_are_those_of_numpy():
    x = np.linspace(0.0, 3.0, 7)
    np.testing.assert_array_equal(_jit.exp(x), np.exp(x))
    np.testing.assert_array_equal(_jit.log1p(x), np.log1p(x))


@pytest.mark.parametrize("kind", KINDS)
def test_a_stack_array_is_new_memory_in_every_call(kind):
    allocate, size = _jit.stack_array(5), 5

    def loop(x, out):
        first, second = allocate(x.dtype), allocate(x.dtype)
        for i in range(size):
            first[i] = x[i]
            second[i] = -x[i]
        for i in range(size):
            out[i] = first[size - 1 - i]
            out[size + i] = second[size - 1 - i]

    kernel = _jit.kernel(loop)
    x, out = np.arange(5).astype(kind) / 3, np.empty(10, kind)
    for _ in range(3):
        kernel(x, out)
        np.testing.assert_array_equal(out, np.concatenate([x[::-1], -x[::-1]]))
        x = x + kind(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_added_to_a_section_of_an_array_and_to_no_more(kind):
    add = _jit.add_product(8)

    def call(out, i, x, a, j):
        add(out, i, x, a, j)

    rng = np.random.RandomState(0)
    out, a, x = rng.randn(30).astype(kind), rng.randn(20).astype(kind), kind(0.3)
    expected = out.astype(np.float64)
    expected[5:13] += np.float64(x) * a[3:11]
    _jit.kernel(call)(out, 5, x, a, 3)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2 * np.finfo(kind).eps)


def test_wide_vectors_are_used_where_the_machine_has_them():
    if "+avx512f" not in binding.get_host_cpu_features().flatten():
        pytest.skip("this machine has no vectors of 64 bytes")

    def wide(x, out):
        _jit.wide_vectors()
        for i in range(x.size):
            out[i] += x[i]

    def usual(x, out):
        for i in range(x.size):
            out[i] += x[i]

    def registers(loop):
        kernel = _jit.kernel(loop)
        x, out = np.arange(1000.0), np.ones(1000)
        kernel(x, out)
        np.testing.assert_array_equal(out, 1.0 + x)
        return "".join(kernel.inspect_asm().values()).count("zmm")

    assert registers(wide) > 0
    assert registers(wide) >= registers(usual)  # which LLVM gives them on some processors, too


# -- unsigned integers and the noise, on numpy arrays, torch tensors and in kernels ------------------------------------


@pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")
def test_unsigned_integers_and_the_noise_are_the_same_on_arrays_tensors_and_in_kernels():
    torch = pytest.importorskip("torch")
    uint8, uint16, uint32, noise = _jit.uint8, _jit.uint16, _jit.uint32, _jit.noise
    key = np.uint32(0xDEADBEEF)

    def loop(x, bytes_, halves, words, products, noises):
        for i in range(x.size):
            bytes_[i], halves[i], words[i] = uint8(x[i]), uint16(x[i]), uint32(x[i])
            products[i] = uint32(uint32(halves[i]) * uint32(0xFFFFFFFF))
            noises[i] = noise(7, i, key)

    x = np.random.default_rng(0).integers(2**40, size=500)
    compiled = [np.empty(x.size, dtype) for dtype in (np.uint8, np.uint16, np.uint32, np.uint32, np.uint32)]
    _jit.kernel(loop)(x, *compiled)
    for array in (x, torch.from_numpy(x)):
        indices = np.arange(x.size) if array is x else torch.arange(x.size)
        half = uint16(array)
        product = uint32(uint32(half) * np.uint32(0xFFFFFFFF))
        results = [uint8(array), half, uint32(array), product, noise(7, indices, key)]
        for expected, result in zip(compiled, results, strict=True):
            np.testing.assert_array_equal(np.asarray(result).astype(expected.dtype), expected)
    assert [int(noise(7, i, key)) for i in range(500)] == compiled[-1].tolist()


def test_a_choice_of_two_constants_keeps_their_type_whatever_torch_s_default_is():
    torch = pytest.importorskip("torch")
    before = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        chosen = _jit.where(torch.tensor([True, False]), np.float32(0.1), np.float32(0.2))
    finally:
        torch.set_default_dtype(before)
    assert chosen.dtype is torch.float32
    assert chosen.tolist() == [np.float32(0.1), np.float32(0.2)]


# -- stamps and the disk cache: an edited rule is in test_every_rule.py, other machines are in test_reliability.py -----


def test_a_decorated_function_may_be_decorated_again():
    add_one = _jit.element(lambda x: x + 1.0)
    name = add_one.__qualname__
    assert _jit.element(add_one) is add_one
    assert add_one.__qualname__ == name


def test_functions_of_one_source_and_different_closures_have_different_names():
    def scaled(factor):
        return _jit.element(lambda x: factor * x)

    def kernel(function):
        def loop(x):
            return function(x)

        return _jit.kernel(loop).py_func.__qualname__

    double, triple = scaled(2.0), scaled(3.0)
    assert double.__qualname__ != triple.__qualname__
    assert kernel(double) != kernel(triple)
    assert kernel(double) == kernel(double)


def test_kernels_with_stack_arrays_and_explicit_vectors_are_in_the_disk_cache(tmp_path):
    code = """if True:
        import numpy as np, lifecycle as lc
        from scipy import sparse
        from lifecycle.loops.linear_sgd import sgd_epoch
        from lifecycle.loops.linear_sgd_csr import csr_sgd_epoch
        from lifecycle.losses import list_losses
        from lifecycle.penalties import list_penalties
        X, y = np.random.RandomState(0).randn(50, 3), np.arange(50) % 2
        for rows in (X, sparse.csr_array(X)):
            model = lc.LinearClassifier("hinge", max_iter=2, tol=None, random_state=0)
            models = model.fit_many(rows, y, train=[np.arange(40)] * 2, params=[{}] * 2)
            print(*models[0].coef_[0])
        hinge = list_losses()["hinge"]
        for kernel in (sgd_epoch(hinge, False, list_penalties()["l2"], 32, True), csr_sgd_epoch(hinge, False, 32)):
            print(sum(kernel.stats.cache_hits.values()), sum(kernel.stats.cache_misses.values()))
        """
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    command = [sys.executable, "-c", code]
    answers = [
        subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.splitlines()
        for _ in range(2)
    ]
    assert answers[0][2:] == ["0 1", "0 1"]
    assert answers[1][2:] == ["1 0", "1 0"]
    assert answers[0][:2] == answers[1][:2]


def kernel_of_this_file():
    def loop(x):
        x[0] += 1.0

    kernel, x = _jit.kernel(loop), np.zeros(1)
    kernel(x)
    assert x[0] == 1.0
    return sum(kernel.stats.cache_hits.values())


def native_of_this_file():
    def loop(address, begin, end):
        x = _jit.memory(address, begin, end, np.dtype(np.float64))
        x[0] += 1.0

    compiled, x = _jit.native(loop), np.zeros(1)
    compiled.call(x.ctypes.data, 0, 1)
    assert x[0] == 1.0
    return compiled.cache_hits


@pytest.fixture
def cache_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(numba.config, "CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(_disk_cache, "_warned", set())
    return tmp_path


def messages(function):
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        hits = function()
    return hits, [str(w.message) for w in seen]


@pytest.mark.parametrize("compiled", [kernel_of_this_file, native_of_this_file])
@pytest.mark.parametrize("suffix", [".nbi", ".nbc"])
@pytest.mark.parametrize("kept", [0, 30])
def test_a_truncated_file_of_the_disk_cache_is_replaced(compiled, suffix, kept, cache_folder):
    assert compiled() == 0
    (path,) = cache_folder.rglob(f"*{suffix}")
    path.write_bytes(path.read_bytes()[:kept])
    hits, said = messages(compiled)
    assert hits == 0
    assert len(said) == 1
    assert said[0].startswith(f"a damaged file of compiled kernels is replaced (in {path.parent}; ")
    assert messages(compiled) == (1, [])


@pytest.mark.parametrize("compiled", [kernel_of_this_file, native_of_this_file])
def test_a_file_of_the_disk_cache_that_cannot_be_read_or_replaced(compiled, cache_folder):
    assert compiled() == 0
    (path,) = cache_folder.rglob("*.nbi")
    path.unlink()
    path.mkdir()
    hits, said = messages(compiled)
    assert hits == 0
    assert len(said) == 1
    assert said[0].startswith("compiled kernels cannot be kept, as ")


@pytest.mark.parametrize("compiled", [kernel_of_this_file, native_of_this_file])
def test_without_a_place_for_the_disk_cache_kernels_are_compiled_and_it_is_said_once(
    compiled, cache_folder, monkeypatch
):
    def full(self, path):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(caching.IndexDataCacheFile, "_open_for_write", full)
        hits, said = messages(lambda: [compiled(), compiled(), compiled()])
    assert hits == [0, 0, 0]
    assert len(said) == 1
    assert "cannot be kept, as [Errno 28] No space left on device: every process compiles them again" in said[0]
    assert compiled() == 0
    assert compiled() == 1


def test_without_compilation_kernels_are_the_same_python_functions():
    """NUMBA_DISABLE_JIT, which people set to debug and to measure coverage."""
    code = """if True:
        import numpy as np, lifecycle as lc
        from scipy import sparse
        X = np.random.RandomState(0).randn(40, 3)
        y = np.digitize(X[:, 0] + 0.3 * X[:, 1], [-0.5, 0.5])
        for rows in (X, sparse.csr_array(X)):
            # newton goes on to its minimum: before it, the rounding of its products in float32 shows
            for optimizer, max_iter in (("sgd", 3), ("newton", 40)):
                model = lc.LinearClassifier(optimizer=optimizer, max_iter=max_iter, tol=None, random_state=0)
                print(*model.fit(rows, y).coef_.ravel())
        two = {"train": [np.arange(30), np.arange(10, 40)], "params": [{}] * 2}
        model = lc.LinearRegressor(optimizer="adam", penalty="elasticnet", max_iter=2, tol=None, random_state=0)
        for models in ([model.fit(X, y)], model.fit_many(X, y, **two)):
            print(*models[-1].coef_)
        print(*lc.LinearRegressor(optimizer="exact").fit(X, y).coef_)
        x, rule = np.ones(3), lc.AdamW(lr=0.1)
        rule.step(x, np.arange(3.0), rule.init(x))
        print(*x)
        """

    def numbers(**environment):
        command = [sys.executable, "-W", "error::RuntimeWarning", "-c", code]
        environment = {**os.environ, **environment}
        done = subprocess.run(command, capture_output=True, text=True, env=environment)
        assert done.returncode == 0, done.stderr
        return [np.array(line.split(), float) for line in done.stdout.splitlines()]

    for compiled, plain in zip(numbers(), numbers(NUMBA_DISABLE_JIT="1"), strict=True):
        np.testing.assert_allclose(plain, compiled, rtol=1e-9, atol=1e-12)


def test_functions_for_kernels_work_outside_of_them():
    _jit.wide_vectors()
    assert _jit.to_fixed_tuple(np.arange(5.0), 3) == (0.0, 1.0, 2.0)
    first, second = _jit.stack_array(4)(np.dtype(np.float32)), _jit.stack_array(4)(np.dtype(np.float32))
    assert first.shape == (4,)
    assert first.dtype == np.float32
    assert not np.shares_memory(first, second)
    out = np.arange(6.0)
    _jit.add_product(2)(out, 1, 10.0, np.array([1.0, 2.0, 3.0]), 1)
    assert out.tolist() == [0.0, 21.0, 32.0, 3.0, 4.0, 5.0]

"""The functions that kernels call in place of a library's: exp and log1p, and memory on the stack."""

import os
import subprocess
import sys

import numpy as np
import pytest
from llvmlite import binding

from lifecycle import _jit

KINDS = [np.float32, np.float64]
EXP = {np.float32: 2e-7, np.float64: 4e-16}  # relative
LOG = {np.float32: 1.2e-7, np.float64: 2.3e-16}  # in units of 1 + x, which an argument of one rounding is known to
LOG_ITSELF = {np.float32: 3e-7, np.float64: 5e-16}  # relative
RANGE = {np.float32: (-87.0, 88.0), np.float64: (-708.0, 709.0)}


def _walk(function, mark):
    def walk(x, out):
        mark  # noqa: B018
        for i in range(x.size):
            out[i] = function(x[i])

    return _jit.kernel(walk, mark, contract=True)


EXP_WALK = _walk(_jit.element(lambda x: _jit.exp(x)), _jit.stamp("exp"))
LOG_WALK = _walk(_jit.element(lambda x: _jit.log1p(x)), _jit.stamp("log1p"))


def run(walk, x):
    out = np.full_like(x, 123.0)
    walk(x, out)
    return out


def error(found, exact, unit):
    return np.abs((found.astype(np.longdouble) - exact) / unit).max()


def of_any_size(kind, low, high):
    """Numbers between two powers of ten, and 0."""
    return np.append(np.logspace(low, high, 60_001), 0.0).astype(kind)


@pytest.mark.parametrize("kind", KINDS)
def test_exp_is_exact_to_a_unit_in_the_last_place(kind):
    low, high = RANGE[kind]
    small = of_any_size(kind, -30, 0)
    x = np.concatenate([np.linspace(low, high, 200_001).astype(kind), small, -small])
    exact = np.exp(x.astype(np.longdouble))
    assert error(run(EXP_WALK, x), exact, exact) <= EXP[kind]
    halves = (np.arange(np.ceil(low / np.log(2)), high / np.log(2)) + 0.5) * np.log(2)  # where the power of two changes
    x = np.concatenate([np.nextafter(halves.astype(kind), kind(s * np.inf)) for s in (-1, 1)])
    exact = np.exp(x.astype(np.longdouble))
    assert error(run(EXP_WALK, x), exact, exact) <= EXP[kind]


@pytest.mark.parametrize("kind", KINDS)
def test_exp_outside_of_what_has_a_normal_result(kind):
    low, high = RANGE[kind]
    x = np.array([-np.inf, 10 * low, low, high, 10 * high, np.inf, np.nan, 0.0, -0.0], kind)
    found = run(EXP_WALK, x)
    ends = np.exp(np.array([low, high], np.float64))
    np.testing.assert_allclose(found[:3], ends[0], rtol=EXP[kind])
    np.testing.assert_allclose(found[3:6], ends[1], rtol=EXP[kind])
    assert found[0] >= np.finfo(kind).tiny
    assert np.isnan(found[6])
    assert found[7] == found[8] == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_log1p_is_exact_to_a_unit_in_the_last_place_of_its_argument_plus_one(kind):
    x = np.concatenate([of_any_size(kind, -30, 30), np.linspace(0.0, 4.0, 200_001).astype(kind)])
    exact = np.log1p(x.astype(np.longdouble))
    found = run(LOG_WALK, x)
    assert error(found, exact, 1 + x.astype(np.longdouble)) <= LOG[kind]
    assert error(found, exact, np.where(x > 0, exact, 1)) <= LOG_ITSELF[kind]
    assert found[x == 0].tolist() == [0.0] * (x == 0).sum()
    assert np.isnan(run(LOG_WALK, np.array([np.nan, 1.0], kind))[0])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("walk", [EXP_WALK, LOG_WALK], ids=["exp", "log1p"])
def test_any_number_of_elements(walk, kind):
    # what is left over from whole vectors is done one by one
    x = np.linspace(0.0, 3.0, 71).astype(kind)
    x[5] = np.nan
    exact = (np.exp if walk is EXP_WALK else np.log1p)(x.astype(np.longdouble))
    for begin in (0, 1):
        for n in range(1, 71 - begin):
            out = np.full(71, -1.0, kind)
            walk(x[begin : begin + n], out[begin : begin + n])
            np.testing.assert_allclose(out[begin : begin + n], exact[begin : begin + n], rtol=3 * np.finfo(kind).eps)
            assert (out[:begin] == -1.0).all()
            assert (out[begin + n :] == -1.0).all()


def test_outside_of_kernels_they_are_those_of_numpy():
    x = np.linspace(0.0, 3.0, 7)
    np.testing.assert_array_equal(_jit.exp(x), np.exp(x))
    np.testing.assert_array_equal(_jit.log1p(x), np.log1p(x))


@pytest.mark.parametrize("kind", KINDS)
def test_scratch_is_memory_of_its_own_in_every_call(kind):
    made, size = _jit.scratch(5), 5
    mark = _jit.stamp("reversed", size)

    def turn(x, out):
        mark  # noqa: B018
        one, other = made(x.dtype), made(x.dtype)
        for i in range(size):
            one[i] = x[i]
            other[i] = -x[i]
        for i in range(size):
            out[i] = one[size - 1 - i]
            out[size + i] = other[size - 1 - i]

    walk = _jit.kernel(turn, mark)
    x, out = np.arange(5).astype(kind) / 3, np.empty(10, kind)
    for _ in range(3):
        walk(x, out)
        np.testing.assert_array_equal(out, np.concatenate([x[::-1], -x[::-1]]))
        x = x + kind(1)


@pytest.mark.parametrize("kind", KINDS)
def test_a_product_is_added_to_a_part_of_an_array_and_to_no_more(kind):
    add, mark = _jit.add_product(8), _jit.stamp("add 8")

    def walk(out, i, x, a, j):
        mark  # noqa: B018
        add(out, i, x, a, j)

    rng = np.random.RandomState(0)
    out, a, x = rng.randn(30).astype(kind), rng.randn(20).astype(kind), kind(0.3)
    expected = out.astype(np.float64)
    expected[5:13] += np.float64(x) * a[3:11]
    _jit.kernel(walk, mark)(out, 5, x, a, 3)
    np.testing.assert_allclose(out, expected, rtol=0, atol=2 * np.finfo(kind).eps)


def test_wide_vectors_are_used_where_the_machine_has_them():
    if "+avx512f" not in binding.get_host_cpu_features().flatten():
        pytest.skip("this machine has no vectors of 64 bytes")

    def registers(wide, mark):
        if wide:

            def walk(x, out):
                mark  # noqa: B018
                _jit.wide_vectors()
                for i in range(x.size):
                    out[i] += x[i]
        else:

            def walk(x, out):
                mark  # noqa: B018
                for i in range(x.size):
                    out[i] += x[i]

        made = _jit.kernel(walk, mark)
        x = np.arange(1000.0)
        out = np.ones(1000)
        made(x, out)
        np.testing.assert_array_equal(out, 1.0 + x)
        return "".join(made.inspect_asm().values()).count("zmm")

    assert registers(True, _jit.stamp("wide")) > registers(False, _jit.stamp("not wide"))


def test_kernels_with_memory_and_vectors_of_their_own_are_found_in_the_disk_cache(tmp_path):
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
    answers = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                              env={**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}).stdout.splitlines()
               for _ in range(2)]  # fmt: skip
    assert answers[0][2:] == ["0 1", "0 1"]
    assert answers[1][2:] == ["1 0", "1 0"]
    assert answers[0][:2] == answers[1][:2]

"""Every format: a number is stored near enough, exactly in the mean, and as zero only if it is zero."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle._jit import kernel
from lifecycle.formats import list_formats
from lifecycle.loops import convert

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # bit patterns wrap around
FORMATS = list_formats()
KINDS = ("signed", "non-negative")
# relative distance of neighbours, and the smallest number that is stored with it, where the largest is 1
STEPS = {
    "float64": (0.0, 0.0),
    "float32": (0.0, 0.0),
    "bfloat16": (2.0**-7, 1e-38),
    "float16": (2.0**-10, 7e-5),
    "int8": (2.0**-3, 1e-3),
}
CASES = [(name, kind) for name in FORMATS for kind in KINDS]


def numbers(n=2000, kind="signed", dtype=np.float32, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(size=n) * np.exp(2 * rng.normal(size=n))
    x /= np.abs(x).max()
    return (np.abs(x) if kind == "non-negative" else x).astype(dtype)


def wide(name):
    return np.float64 if name == "float64" else np.float32


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_nearest_neighbour_comes_back(name, kind):
    step, smallest = STEPS[name]
    x = numbers(kind=kind, dtype=wide(name))
    codes, scales = convert.encode(x, FORMATS[name], kind)
    assert codes.dtype == FORMATS[name].DTYPE
    back = convert.decode(codes, scales, FORMATS[name], kind)
    normal = np.abs(x) >= smallest
    assert (np.abs(back - x)[normal] <= 0.51 * step * np.abs(x)[normal]).all()
    assert (np.abs(back - x)[~normal] <= smallest * step).all()
    if FORMATS[name].BLOCK == 1:  # the scale of a block may change, and with it the numbers that codes stand for
        np.testing.assert_array_equal(convert.encode(back, FORMATS[name], kind)[0], codes)


def functions(name, kind):
    """(load, store) of a format."""
    form = FORMATS[name]
    if kind == "signed":
        return form.load, form.store
    return form.load_positive if form.BLOCK > 1 else form.load, form.store_positive


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_the_mean_is_exact(name, kind):
    """The mean over all values of the noise is the number itself: stochastic rounding has no bias."""
    form = FORMATS[name]
    x = numbers(40, kind, wide(name))
    load, store = functions(name, kind)
    levels = np.arange(0, 2**32, 2**32 // 512, dtype=np.uint64).astype(np.uint32)
    inverse, scale = form.scale(np.abs(x).max().view(np.uint32), np.float32(0)) if form.BLOCK > 1 else (None, None)
    for value in x:
        codes, counts = np.unique(
            [store(value, *([inverse] if form.BLOCK > 1 else []), level) for level in levels], return_counts=True
        )
        assert len(codes) <= 2, "a number has two neighbours"
        back = [float(load(code, scale) if form.BLOCK > 1 else load(code)) for code in codes]
        gap = max(max(back) - min(back), STEPS[name][0] * abs(value))
        assert abs(counts @ back / len(levels) - value) <= gap / 256 + 1e-7 * abs(value), (value, back)


@settings(max_examples=200, deadline=None)
@given(
    exponent=st.integers(-126, 60),
    mantissa=st.floats(1, 2, width=32, exclude_max=True),
    level=st.integers(0, 2**32 - 1),
)
def test_a_second_moment_is_never_stored_as_zero(exponent, mantissa, level):
    """The next step would divide by eps: a unit that is dead for a while would explode."""
    x = np.float32(mantissa * 2.0**exponent)
    for name in ("bfloat16", "float16"):
        form = FORMATS[name]
        assert form.load(form.store_positive(x, np.uint32(level))) > 0
    form = FORMATS["int8"]
    for largest in (x, np.float32(min(float(x) * 2.0**60, 3e38))):
        inverse, scale = form.scale(largest.view(np.uint32), np.float32(0))
        back = form.load_positive(form.store_positive(x, inverse, np.uint32(level)), scale)
        assert back > 0, (x, largest)
        assert back <= max(1.13 * x, 2.0**-30 * largest), "and what is too small becomes the smallest, not more"
    assert form.store_positive(np.float32(0), np.float32(1), np.uint32(level)) == 0


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize("name", ["bfloat16", "float16"])
def test_infinity_nan_and_the_sign_of_zero_are_kept(name):
    form = FORMATS[name]
    for level in (0, 2**31, 2**32 - 1):
        for x in (np.inf, -np.inf, 0.0, -0.0):
            back = form.load(form.store(np.float32(x), np.uint32(level)))
            assert np.float32(back).tobytes() == np.float32(x).tobytes(), (x, back)
        for pattern in (0x7FC00000, 0x7FFFFFFF, 0xFFFFFFFF, 0x7F800001):
            assert np.isnan(form.load(form.store(np.uint32(pattern).view(np.float32), np.uint32(level))))


def test_blocks_keep_their_scale_where_something_is_infinite():
    form = FORMATS["int8"]
    inverse, scale = form.scale(np.float32(np.inf).view(np.uint32), np.float32(2.0))
    assert (inverse, scale) == (np.float32(0.5), np.float32(2.0))
    inverse, scale = form.scale(np.float32(0).view(np.uint32), np.float32(0))
    assert np.isfinite(inverse)
    assert np.isfinite(scale)


def test_numpy_and_torch_read_the_same_bits():
    torch = pytest.importorskip("torch")
    x = numbers(1000)
    for name, dtype in (("bfloat16", torch.bfloat16), ("float16", torch.float16)):
        codes, scales = convert.encode(x, FORMATS[name], "signed")
        by_torch = torch.from_numpy(codes.view(np.int16)).view(dtype).float().numpy()
        np.testing.assert_array_equal(by_torch, convert.decode(codes, scales, FORMATS[name], "signed"))


def hard_numbers():
    """Numbers of all exponents and signs, and those at the ends of the ranges of the formats."""
    rng = np.random.default_rng(1)
    x = np.ldexp(1 + rng.random(3000), rng.integers(-149, 128, 3000)).astype(np.float32)
    ends = [0.0, 2.0**-149, 2.0**-133, 2.0**-126, 2.0**-25, 2.0**-24, 2.0**-14, 65504.0, 65519.0, 65520.0, 1e38]
    x = np.concatenate([x, np.array(ends, np.float32), np.full(3, np.finfo(np.float32).max), [np.inf, np.nan]])
    return np.concatenate([x, -x]).astype(np.float32)


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
@pytest.mark.parametrize(("name", "kind"), CASES)
def test_arrays_tensors_and_kernels_store_the_same_codes_and_load_the_same_numbers(name, kind):
    torch = pytest.importorskip("torch")
    form, (load, store) = FORMATS[name], functions(name, kind)
    x = hard_numbers().astype(wide(name))
    if form.BLOCK > 1 and kind == "non-negative":
        x = np.abs(x)
    noise = np.random.default_rng(2).integers(2**32, size=x.size, dtype=np.uint32)
    scales = form.scale(np.float32(3.0).view(np.uint32), np.float32(0)) if form.BLOCK > 1 else ()
    inverse, scale = scales[:1], scales[1:]

    def loop(x, noise, codes, back):
        for i in range(x.size):
            codes[i] = store(x[i], *inverse, noise[i])
            back[i] = load(codes[i], *scale)

    codes, back = np.empty(x.size, form.DTYPE), np.empty(x.size, wide(name))
    kernel(loop)(x, noise, codes, back)
    by_torch = store(torch.from_numpy(x), *inverse, torch.from_numpy(noise.astype(np.int64)))
    loaded_by_torch = load(by_torch, *scale)
    number = ~np.isnan(x)  # a NaN of float16 keeps what fits of its payload, or does not
    for some in (store(x, *inverse, noise), by_torch.numpy().view(form.DTYPE)):
        np.testing.assert_array_equal(some[number], codes[number])
    for some in (load(codes, *scale), loaded_by_torch.numpy()):
        np.testing.assert_array_equal(some, back)


def test_the_scale_of_a_block_is_the_same_of_arrays_and_tensors():
    torch = pytest.importorskip("torch")
    form = FORMATS["int8"]
    x = np.abs(hard_numbers())
    before = np.where(np.arange(x.size) % 2 == 0, np.float32(4.0), np.float32(0.0))
    by_torch = form.scale(form.pattern(torch.from_numpy(x)), torch.from_numpy(before))
    for array, tensor in zip(form.scale(form.pattern(x), before), by_torch, strict=True):
        np.testing.assert_array_equal(array, tensor.numpy())

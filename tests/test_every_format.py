"""Every format: what is stored comes back near enough, right in the mean, and never as a zero that it is not."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.formats import list_formats
from lifecycle.loops import convert

pytestmark = pytest.mark.filterwarnings("ignore:overflow encountered:RuntimeWarning")  # bit patterns wrap around
FORMATS = list_formats()
KINDS = ("signed", "non-negative")
# relative distance of neighbours, and the smallest number that is stored with it, where the largest is 1
STEPS = {"float64": (0.0, 0.0), "float32": (0.0, 0.0), "bfloat16": (2.0**-7, 1e-38), "float16": (2.0**-10, 7e-5),
         "int8": (2.0**-3, 1e-3)}  # fmt: skip
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
    there = np.abs(x) >= smallest
    assert (np.abs(back - x)[there] <= 0.51 * step * np.abs(x)[there]).all()
    assert (np.abs(back - x)[~there] <= smallest * step).all()
    if form_has_no_blocks(name):  # the scale of a block may move, and with it the grid
        np.testing.assert_array_equal(convert.encode(back, FORMATS[name], kind)[0], codes)


def form_has_no_blocks(name):
    return FORMATS[name].BLOCK == 1


@pytest.mark.parametrize(("name", "kind"), CASES)
def test_right_in_the_mean(name, kind):
    """The mean over all values of the noise is the number itself: stochastic rounding has no bias."""
    form = FORMATS[name]
    x = numbers(40, kind, wide(name))
    store = form.store_positive if kind == "non-negative" else form.store
    load = (form.load_positive if kind == "non-negative" else form.load) if form.BLOCK > 1 else form.load
    levels = np.arange(0, 2**32, 2**32 // 512, dtype=np.uint64).astype(np.uint32)
    inverse, scale = form.scale(np.abs(x).max().view(np.uint32), np.float32(0)) if form.BLOCK > 1 else (None, None)
    for value in x:
        scaled = (value, inverse) if form.BLOCK > 1 else (value,)
        codes = {form.DTYPE.type(c): 0 for c in ()}
        for level in levels:
            code = store(*scaled, level)
            codes[code] = codes.get(code, 0) + 1
        assert len(codes) <= 2, "a number has two neighbours"
        found = {code: float(load(code, scale) if form.BLOCK > 1 else load(code)) for code in codes}
        mean = sum(n * found[code] for code, n in codes.items()) / len(levels)
        gap = max(max(found.values()) - min(found.values()), STEPS[name][0] * abs(value))
        assert abs(mean - value) <= gap / 256 + 1e-7 * abs(value), (value, found)


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
def test_what_is_no_number_stays_so(name):
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
        seen = torch.from_numpy(codes.view(np.int16)).view(dtype).float().numpy()
        np.testing.assert_array_equal(seen, convert.decode(codes, scales, FORMATS[name], "signed"))

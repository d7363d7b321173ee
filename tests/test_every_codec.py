"""Every codec of the registry against its law: quantizers stay within half a step, packers give back every bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lifecycle.codecs import list_codecs, pack, unpack

QUANTIZERS = {name: codec for name, codec in list_codecs().items() if not codec.LOSSLESS}
PACKERS = {name: codec for name, codec in list_codecs().items() if codec.LOSSLESS}

shapes = hnp.array_shapes(min_dims=1, max_dims=4, min_side=1, max_side=6)
floats = st.sampled_from([np.float32, np.float64]).flatmap(
    lambda dtype: hnp.arrays(
        dtype,
        shapes,
        elements=st.floats(
            -3.4028234663852886e38, 3.4028234663852886e38, width=32, allow_nan=False, allow_infinity=False
        ),
    )
)
anything = st.sampled_from([np.float16, np.float32, np.float64, np.int8, np.int64, np.uint16, np.bool_]).flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=9))
)


def test_the_registry_holds_both_kinds():
    assert "absmax" in QUANTIZERS
    assert "bitmask" in PACKERS


@pytest.mark.parametrize("name", QUANTIZERS)
@settings(deadline=None, max_examples=150)
@given(array=floats, data=st.data())
def test_a_quantizer_stays_within_half_a_step(name, array, data):
    codec = QUANTIZERS[name]
    axis = data.draw(st.integers(0, array.ndim - 1))
    codes, scales = codec.encode(array, axis)
    channels = 1 if array.ndim < 2 else array.shape[axis]
    assert codes.dtype == np.int8
    assert codes.shape == array.shape
    assert scales.dtype == np.float32
    assert scales.shape == (channels,)
    assert (scales > 0).all()
    back = codec.decode(codes, scales, axis, array.dtype)
    assert back.dtype == array.dtype
    step = scales.reshape([-1 if i == axis and array.ndim > 1 else 1 for i in range(array.ndim)]).astype(np.float64)
    rounding = np.abs(array.astype(np.float64)) * 2.0**-22
    assert (np.abs(back.astype(np.float64) - array) <= step / 2 + rounding).all()


@pytest.mark.parametrize("name", QUANTIZERS)
@settings(deadline=None, max_examples=100)
@given(array=floats, data=st.data())
def test_decoded_arrays_lie_on_their_grid(name, array, data):
    codec, axis = QUANTIZERS[name], data.draw(st.integers(0, array.ndim - 1))
    codes, scales = codec.encode(array, axis)
    back = codec.decode(codes, scales, axis, array.dtype)
    assert np.array_equal(codec.on_grid(back, scales, axis), codes)
    moved = back.copy()
    moved.flat[0] = np.nan
    assert codec.on_grid(moved, scales, axis) is None


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_quantizer_refuses_what_it_cannot_hold(name):
    encode = QUANTIZERS[name].encode
    with pytest.raises(ValueError, match="NaN or infinity"):
        encode(np.array([[1.0, np.inf]]))
    with pytest.raises(ValueError, match="too large"):
        encode(np.array([[1e300]]))
    with pytest.raises(TypeError, match="floating-point"):
        encode(np.array([[1]]))


@pytest.mark.parametrize("name", QUANTIZERS)
def test_codes_and_scales_that_do_not_fit_each_other(name):
    codec = QUANTIZERS[name]
    codes, scales = codec.encode(np.arange(6.0).reshape(2, 3))
    wrong = [(codes, scales[:1]), (codes, scales, 1), (codes, scales, 2), (codes, scales, -2)]
    for arguments in [*wrong, (codes.astype(np.int16), scales), (codes, scales.astype(float))]:
        with pytest.raises(ValueError, match=r"codes of shape .* do not fit"):
            codec.decode(*arguments)
    assert codec.on_grid(np.zeros((3, 3)), scales) is None


@pytest.mark.parametrize("name", PACKERS)
@settings(deadline=None, max_examples=150)
@given(array=anything)
def test_a_packer_gives_back_every_bit(name, array):
    parts = PACKERS[name].encode(array)
    back = PACKERS[name].decode(parts, array.dtype, array.shape)
    assert (back.dtype, back.shape, back.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_negative_zero_survives_the_bit_mask():
    array = np.array([0.0, -0.0, 1.0, 0.0] * 8, dtype=np.float32)
    parts = PACKERS["bitmask"].encode(array)
    assert parts["values"].size == 16
    assert PACKERS["bitmask"].decode(parts, array.dtype, array.shape).tobytes() == array.tobytes()


@pytest.mark.parametrize(
    "parts",
    [
        {"bits": np.zeros(1, np.uint8)},
        {"bits": np.zeros(2, np.uint8), "values": np.zeros(0, np.float32)},
        {"bits": np.array([128], np.uint8), "values": np.zeros(0, np.float32)},
        {"bits": np.array([128], np.uint8), "values": np.zeros(1, np.float64)},
        {"bits": np.array([1], np.uint8), "values": np.zeros(1, np.float32)},
    ],
)
def test_a_bit_mask_that_does_not_fit_is_refused(parts):
    with pytest.raises(ValueError, match="bit mask"):
        PACKERS["bitmask"].decode(parts, np.dtype(np.float32), (5,))


@settings(deadline=None, max_examples=60)
@given(array=anything)
def test_pack_never_grows_and_unpacks(array):
    name, parts = pack(array)
    assert sum(p.nbytes for p in parts.values()) <= array.nbytes
    back = parts[""] if name is None else unpack(name, parts, array.dtype, array.shape)
    assert back.tobytes() == array.tobytes()


def test_unpack_knows_only_lossless_codecs():
    with pytest.raises(ValueError, match="no lossless codec"):
        unpack("absmax", {}, np.dtype(np.float32), (1,))


def test_absmax_puts_the_largest_of_a_channel_at_127():
    codes, scales = QUANTIZERS["absmax"].encode(np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]]))
    assert codes.tolist() == [[64, -127, 32], [0, 0, 0]]
    assert scales.tolist() == [np.float32(2 / 127), 1.0]

"""Every codec of the registry against its law: quantizers stay within half a step, packers give back every bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from lifecycle.codecs import (
    decode,
    encode,
    encode_like,
    even_group_size,
    list_codecs,
    max_code,
    on_grid,
    pack,
    unpack,
)

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


def steps(scales, array, axis):
    """The scale of each element."""
    return decode(np.ones(array.shape, np.int8), scales, axis, np.float64)


@pytest.mark.parametrize("name", QUANTIZERS)
@settings(deadline=None, max_examples=150)
@given(array=floats, bits=st.sampled_from([4, 8]), group_size=st.sampled_from([None, 1, 2, 5]), data=st.data())
def test_codes_are_the_nearest_on_the_grid_of_the_scales(name, array, bits, group_size, data):
    axis = data.draw(st.integers(0, array.ndim - 1))
    codes, scales = encode(array, QUANTIZERS[name].scales, axis, bits, group_size)
    channels, largest = 1 if array.ndim < 2 else array.shape[axis], max_code(bits)
    inputs = array.size // channels
    assert codes.dtype == np.int8
    assert codes.shape == array.shape
    assert np.abs(codes).max() <= largest
    assert scales.dtype == np.float32
    n_groups = -(-inputs // even_group_size(inputs, group_size))
    assert scales.shape == ((channels,) if group_size is None else (channels, n_groups))
    assert (scales > 0).all()
    back = decode(codes, scales, axis, array.dtype)
    assert back.dtype == array.dtype
    step = steps(scales, array, axis)
    rounding = np.abs(array.astype(np.float64)) * 2.0**-22
    error = np.abs(back.astype(np.float64) - array)
    assert (error[np.abs(codes) < largest] <= (step / 2 + rounding)[np.abs(codes) < largest]).all()
    if name == "absmax":  # clips nothing
        assert (error <= step / 2 + rounding).all()


@pytest.mark.parametrize("name", QUANTIZERS)
@settings(deadline=None, max_examples=100)
@given(array=floats, bits=st.sampled_from([4, 8]), group_size=st.sampled_from([None, 2, 5]), data=st.data())
def test_decoded_arrays_lie_on_their_grid(name, array, bits, group_size, data):
    axis = data.draw(st.integers(0, array.ndim - 1))
    codes, scales = encode(array, QUANTIZERS[name].scales, axis, bits, group_size)
    back = decode(codes, scales, axis, array.dtype)
    assert np.array_equal(on_grid(back, scales, axis), codes)
    moved = back.copy()
    moved.flat[0] = np.nan
    assert on_grid(moved, scales, axis) is None
    again, as_many = encode_like(array, codes, scales, axis)
    assert again.shape == codes.shape
    assert as_many.shape == scales.shape
    assert np.abs(again).max() <= (7 if np.abs(codes).max() <= 7 else 127)


@pytest.mark.parametrize("name", QUANTIZERS)
def test_a_quantizer_refuses_what_it_cannot_hold(name):
    rule = QUANTIZERS[name].scales
    with pytest.raises(ValueError, match="NaN or infinity"):
        encode(np.array([[1.0, np.inf]]), rule)
    with pytest.raises(ValueError, match="too large"):
        encode(np.array([[1e300]]), rule)
    with pytest.raises(TypeError, match="floating-point"):
        encode(np.array([[1]]), rule)


@pytest.mark.parametrize("group_size", [None, 2])
def test_codes_and_scales_that_do_not_fit_each_other(group_size):
    codes, scales = encode(np.arange(12.0).reshape(2, 6), QUANTIZERS["absmax"].scales, 0, 8, group_size)
    wrong = [
        (codes, scales[:1]),
        (codes, scales, 1),
        (codes, scales, 2),
        (codes, scales, -2),
        (codes, scales[None, None]),
    ]
    if group_size is not None:
        wrong += [(codes, np.ones((2, 7), np.float32)), (codes, np.ones((2, 4), np.float32)), (codes, scales[:, :0])]
    for arguments in [*wrong, (codes.astype(np.int16), scales), (codes, scales.astype(float))]:
        with pytest.raises(ValueError, match=r"codes of shape .* do not fit"):
            decode(*arguments)
    assert on_grid(np.zeros((3, 3)), scales) is None


@pytest.mark.parametrize("scale", [0.0, -1.0, np.nan, np.inf])
def test_scales_are_positive_and_finite(scale):
    codes, scales = encode(np.arange(12.0).reshape(2, 6), QUANTIZERS["absmax"].scales)
    scales[1] = scale
    with pytest.raises(ValueError, match="a scale of codes is not positive, or not finite"):
        decode(codes, scales)


def test_mse_clips_where_that_helps():
    """One weight far from all others: absmax spends its codes on the empty range."""
    rows = np.append(np.random.default_rng(0).standard_normal(999), 6.0)[None]
    errors = {}
    for name, codec in QUANTIZERS.items():
        codes, scales = encode(rows, codec.scales, bits=4)
        errors[name] = np.square(decode(codes, scales, 0, rows.dtype) - rows).sum()
    assert errors["mse"] < 0.8 * errors["absmax"]
    best = min(np.square(rows - s * np.clip(np.rint(rows / s), -7, 7)).sum() for s in np.linspace(0.4, 1, 31) * 6.0 / 7)
    assert errors["mse"] == pytest.approx(best, rel=1e-6)


@pytest.mark.parametrize("name", PACKERS)
@settings(deadline=None, max_examples=150)
@given(array=anything)
def test_a_packer_gives_back_every_bit(name, array):
    parts = PACKERS[name].encode(array)
    if parts is None:  # not for such an array
        return
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
    codes, scales = encode(np.array([[1.0, -2.0, 0.5], [0.0, 0.0, 0.0]]), QUANTIZERS["absmax"].scales)
    assert codes.tolist() == [[64, -127, 32], [0, 0, 0]]
    assert scales.tolist() == [np.float32(2 / 127), 1.0]


def test_groups_are_runs_of_inputs_of_one_size():
    rule = QUANTIZERS["absmax"].scales
    _, scales = encode(np.array([[7.0, 1.0, 2.0, 14.0, 3.0]]), rule, 0, 4, 3)
    assert scales.tolist() == [[1.0, 2.0]]  # 7 1 2 | 14 3
    # of a transposed convolution the channels are the second axis
    _, scales = encode(np.array([[7.0, 1.0], [14.0, 21.0]]), rule, 1, 4, 1)
    assert scales.tolist() == [[1.0, 2.0], [np.float32(1 / 7), 3.0]]


small_codes = hnp.arrays(np.int8, hnp.array_shapes(min_dims=0, max_dims=3, max_side=9), elements=st.integers(-8, 7))


@pytest.mark.parametrize("name", ["int4", "bitmask_int4"])
@settings(deadline=None, max_examples=150)
@given(array=small_codes)
def test_codes_of_four_bits_take_half_a_byte(name, array):
    parts = PACKERS[name].encode(array)
    values = array.size if name == "int4" else np.count_nonzero(array)
    if parts is None:
        assert values == 0
        return
    assert parts["nibbles"].nbytes == -(-values // 2)
    assert PACKERS[name].decode(parts, array.dtype, array.shape).tobytes() == array.tobytes()


def test_four_bits_hold_no_larger_codes():
    for array in (np.int8([8]), np.int8([-9]), np.float32([1]), np.zeros(0, np.int8)):
        assert PACKERS["int4"].encode(array) is None
        assert PACKERS["bitmask_int4"].encode(array) is None


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("int4", {"codes": np.zeros(3, np.uint8)}),
        ("int4", {"nibbles": np.zeros(2, np.uint8)}),
        ("int4", {"nibbles": np.zeros(3, np.int8)}),
        ("int4", {"nibbles": np.uint8([0, 0, 16])}),
        ("bitmask_int4", {"nibbles": np.zeros(3, np.uint8)}),
        ("bitmask_int4", {"bits": np.uint8([255]), "nibbles": np.zeros(3, np.uint8)}),
        ("bitmask_int4", {"bits": np.uint8([128]), "nibbles": np.zeros(2, np.uint8)}),
        ("bitmask_int4", {"bits": np.zeros(1, np.int8), "nibbles": np.zeros(0, np.uint8)}),
    ],
)
def test_four_bit_codes_that_do_not_fit_are_refused(name, parts):
    with pytest.raises(ValueError, match=r"bit mask|4-bit"):
        PACKERS[name].decode(parts, np.dtype(np.int8), (5,))


def test_frequent_codes_take_few_bits():
    rng = np.random.default_rng(0)
    weight = rng.standard_normal((64, 500))
    codes, _ = encode(weight, QUANTIZERS["mse"].scales, bits=4)
    pruned = np.where(np.abs(codes) > 3, codes, np.int8(0))
    for array, excess in ((codes, 1.1), (pruned, 1.35)):  # a zero takes a bit at least
        share = np.bincount(array.ravel() + 8) / array.size
        entropy = -(share[share > 0] * np.log2(share[share > 0])).sum() * array.size / 8
        assert entropy <= PACKERS["huffman"].encode(array)["deflated"].size < excess * entropy
    assert PACKERS["huffman"].encode(np.zeros(10_000, np.int8)) is None  # a small file for a huge array


@pytest.mark.parametrize(
    "change",
    [
        lambda stream: stream[:-1],
        lambda stream: np.append(stream, stream),
        lambda stream: stream[::-1],
        lambda stream: stream.astype(np.int8),
        lambda stream: stream[None],
        lambda stream: stream[:0],
    ],
)
def test_huffman_codes_that_do_not_fit_are_refused(change):
    codes = np.random.default_rng(0).integers(-3, 4, 500, dtype=np.int8)
    stream = PACKERS["huffman"].encode(codes)["deflated"]
    with pytest.raises(ValueError, match="Huffman"):
        PACKERS["huffman"].decode({"deflated": change(stream)}, np.dtype(np.int8), (500,))
    for parts, dtype, shape in [
        ({"bits": stream}, np.int8, (500,)),
        ({"deflated": stream}, np.int16, (500,)),
        ({"deflated": stream}, np.int8, (499,)),
        ({"deflated": stream}, np.int8, (501,)),
        ({"deflated": stream}, np.int8, (10**12,)),
    ]:
        with pytest.raises(ValueError, match="Huffman"):
            PACKERS["huffman"].decode(parts, np.dtype(dtype), shape)


def test_the_smallest_form_of_codes_is_stored():
    codes = np.int8([0] * 90 + [3, -2, 7, 1, -7, 5, 2, 1, 4, -1])
    assert pack(codes[80:])[0] == "bitmask_int4"
    assert pack(codes[90:])[0] == "int4"
    assert pack(np.int8(codes[80:] * 16))[0] == "bitmask"
    many = np.random.default_rng(0).binomial(14, 0.5, 10_000).astype(np.int8) - np.int8(7)
    assert pack(many)[0] == pack(np.int8(many * 16))[0] == "huffman"

"""Integer codes of labels against numpy's unique."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from lifecycle.splits._labels import combined, factorize, first_rows


@settings(max_examples=150, deadline=None)
@given(data=st.data(), kind=st.sampled_from(["b", "i1", "u8", "i8", "f8", "U1", "U3", "U30", "S5", "M8[D]", "O"]))
def test_factorize_is_numpys_unique(data, kind):
    rng = np.random.default_rng(data.draw(st.integers(0, 999)))
    pool = rng.integers(-(2**62), 2**62, size=data.draw(st.sampled_from([1, 3, 40, 250, 3000])))
    pool = np.array([str(v) for v in pool]) if kind[0] in "USO" else pool.astype(kind)
    pool = pool.astype(kind) if kind[0] in "USO" else pool
    labels = pool[rng.integers(len(pool), size=data.draw(st.sampled_from([1, 50, 40_000])))]
    names, codes = factorize("y", labels)
    expected, inverse = np.unique(labels, return_inverse=True)
    np.testing.assert_array_equal(names, expected)
    np.testing.assert_array_equal(codes, inverse)
    assert names.dtype == labels.dtype
    np.testing.assert_array_equal(first_rows(codes, len(names)), np.unique(labels, return_index=True)[1])


def test_labels_that_only_a_set_can_tell_apart():
    names, codes = factorize("groups", np.array(["a", 1, "a", (2, 3)], dtype=object))
    assert list(names[codes]) == ["a", 1, "a", (2, 3)]
    names, codes = combined("strata", [["a", "b"], ["b", "a"], ["a", "b"]])
    assert codes.tolist() == [0, 1, 0]

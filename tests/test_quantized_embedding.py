"""int8 embeddings, and linear layers of 4 bits through torch's kernel."""

import pytest
import torch
from torch import nn

import lifecycle as lc
from lifecycle.codecs import even_group_size
from lifecycle.torch.quantized import Int4Linear, Int8Embedding, layer_timing


def embedded(**options):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return nn.Sequential(nn.Embedding(30, 12, **options), nn.Linear(12, 4))


@torch.no_grad()
def test_rows_that_are_looked_up_are_those_of_the_decoded_weight():
    net = embedded(padding_idx=3)
    small = lc.quantize(net, activations="dynamic")[0]
    assert type(small) is Int8Embedding
    assert (small.codes.dtype, small.codes.shape, small.codes.element_size()) == (torch.int8, (30, 12), 1)
    weight = lc.quantize(net, activations=None)[0].weight
    assert torch.equal(small.weight, weight)
    for x in (torch.tensor(4), torch.arange(30), torch.arange(6).view(1, 2, 3), torch.empty(0, dtype=torch.long)):
        assert torch.equal(small(x), nn.functional.embedding(x, weight))
    assert torch.equal(small(torch.arange(3, dtype=torch.int32)), weight[:3])
    assert torch.equal(small(torch.tensor(3)), torch.zeros(12))
    assert (small.padding_idx, small.num_embeddings, small.embedding_dim) == (3, 30, 12)
    assert repr(small) == "Int8Embedding(30, 12, padding_idx=3)"
    for wrong in (torch.tensor([30]), torch.tensor([-1])):
        with pytest.raises(IndexError):
            small(wrong)
    assert torch.equal(torch.func.vmap(small)(torch.arange(6).view(2, 3)), small(torch.arange(6).view(2, 3)))


def test_an_embedding_that_changes_its_weight_or_shares_it_stays_floating():
    assert type(lc.quantize(embedded(max_norm=1.0), activations="dynamic")[0]) is nn.Embedding
    net = nn.Sequential(nn.Embedding(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    net[1].weight = net[0].weight
    small = lc.quantize(net, activations="dynamic")
    assert type(small[0]) is nn.Embedding
    assert small[1].weight is small[0].weight


def test_an_int8_embedding_has_no_activations_and_says_so():
    small = lc.quantize(embedded(), activations="dynamic")
    with pytest.raises(ValueError, match=r"^0\.weight has integer weights already"):
        lc.quantize(small, activations=None)
    with pytest.raises(lc.UnsupportedModel, match=r"0\.weight has integer weights, and no gradient"):
        lc.prune(small, 0.5, method="taylor", calibration=(torch.arange(6).view(2, 3), torch.zeros(2, 3, 4)))


@pytest.fixture
def four_bits_are_faster(monkeypatch):
    monkeypatch.setattr(layer_timing, "timing_of", lambda *_: layer_timing.Timing(2.0, 1.0))


@pytest.mark.parametrize("group_size", [32, 64, 128, 256])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.usefixtures("four_bits_are_faster")
@torch.no_grad()
def test_four_bits_give_what_the_decoded_weights_give_within_bfloat16(group_size, bias):
    layer = nn.Linear(512, 48, bias=bias)
    small = lc.quantize(layer, bits=4, group_size=group_size)
    assert type(small) is Int4Linear
    assert small.group_size == group_size
    decoded = lc.quantize(layer, bits=4, group_size=group_size, activations=None)
    assert torch.equal(small.weight, decoded.weight)
    for shape in ((512,), (1, 512), (7, 512), (2, 3, 512)):
        x = torch.randn(shape, generator=torch.Generator().manual_seed(0))
        got, want = small(x), decoded(x)
        assert got.shape == want.shape
        assert (got - want).norm() < 0.006 * want.norm()
    assert torch.equal(small(x)[0], small(x[0]))
    assert lc.size_of(small) == lc.size_of(decoded)
    assert f"bias={bias}, group_size={group_size}" in repr(small)


@pytest.mark.parametrize(
    ("n_in", "n_out", "group_size", "why"),
    [
        (512, 47, 64, "outputs are no multiple of 16"),
        (500, 48, 64, "groups are of 63 inputs"),
        (96, 48, 64, "groups are of 48 inputs"),
        (64, 16, 16, "groups are of 16 inputs"),
    ],
)
@pytest.mark.usefixtures("four_bits_are_faster")
def test_sizes_that_the_kernel_refuses_stay_floating(n_in, n_out, group_size, why):
    small = lc.quantize(nn.Linear(n_in, n_out), bits=4, group_size=group_size)
    assert type(small) is nn.Linear, why
    if "groups" in why:
        assert f"of {even_group_size(n_in, group_size)} inputs" in why


@pytest.mark.usefixtures("four_bits_are_faster")
def test_groups_of_eight_bits_stay_floating():
    assert type(lc.quantize(nn.Linear(512, 48), bits=8, group_size=64)) is nn.Linear


@pytest.mark.usefixtures("four_bits_are_faster")
@torch.no_grad()
def test_codes_of_more_bits_that_replace_those_of_four_are_computed_in_float32():
    small, x = lc.quantize(nn.Linear(64, 16), bits=4, group_size=32), torch.randn(3, 64)
    small.codes.fill_(100)
    assert torch.equal(small(x), small._forward_float(x))


@pytest.mark.usefixtures("four_bits_are_faster")
@torch.no_grad()
def test_inputs_that_overflow_in_bfloat16_are_computed_in_float32():
    layer = nn.Linear(64, 16)
    layer.weight *= 1e-10
    small, x = lc.quantize(layer, bits=4, group_size=32), torch.ones(3, 64)
    x[1, 5] = torch.finfo(torch.float32).max
    assert torch.isfinite(small(x)).all()
    assert torch.equal(small(x), small._forward_float(x))

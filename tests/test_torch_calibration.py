"""Second moments of the inputs of layers, where the calls of the layers differ from batch to batch."""

import numpy as np
import pytest
import torch
from torch import nn

from lifecycle.torch import calibration

N_ROWS = 5 * calibration._BATCH_SIZE


class Experts(nn.Module):
    """Calls one layer after another, those that the first value of a batch names."""

    def __init__(self, sequences):
        super().__init__()
        self.experts = nn.ModuleList([nn.Linear(3, 2), nn.Linear(3, 2)])
        self.sequences, self.ended = sequences, 0

    def forward(self, x):
        for step, number in enumerate(self.sequences[int(x[0, 0])]):
            self.experts[number](x + step)
        self.ended += 1
        return x


def rows():
    x = torch.randn(N_ROWS, 3, generator=torch.Generator().manual_seed(0))
    x[:, 0] = torch.arange(N_ROWS) // calibration._BATCH_SIZE
    return x


def moments_of_all_calls(net, x):
    seen = [[], []]
    for batch in x.split(calibration._BATCH_SIZE):
        for step, number in enumerate(net.sequences[int(batch[0, 0])]):
            seen[number].append((batch + step).double())
    return [torch.cat(inputs).T @ torch.cat(inputs) / len(torch.cat(inputs)) for inputs in seen]


@pytest.mark.parametrize(
    "sequences",
    [
        [(0, 1, 0, 1), (0, 1, 0), (0, 1, 0, 1), (1, 0, 0, 1), (0, 1, 0, 1)],
        [(0, 0), (0, 1), (1, 0, 1), (0, 0, 1), (1,)],
        [(0, 1), (0, 0), (0, 1), (1, 0), (1,)],
        [(0,), (0, 1), (0, 1), (1, 0), (0, 1)],
    ],
)
def test_no_input_is_lost_where_the_calls_differ_between_batches(sequences):
    net, x = Experts(sequences), rows()
    found = calibration.second_moments(net, None, list(net.experts), x)
    for moments, want in zip(found, moments_of_all_calls(net, x), strict=True):
        np.testing.assert_allclose(moments[0], want, rtol=1e-5)


def test_passes_end_with_the_last_layer_where_each_is_called_once():
    net, x = Experts([(0, 1)] * 5), rows()
    found = calibration.second_moments(net, None, list(net.experts), x)
    assert net.ended == 2  # that of the rows whose activations are measured, and that of the first batch
    for moments, want in zip(found, moments_of_all_calls(net, x), strict=True):
        np.testing.assert_allclose(moments[0], want, rtol=1e-5)


def test_a_batch_has_as_many_rows_as_keep_every_activation_within_4_mebibytes():
    """The first layer gives 1 MiB for each row."""
    net, x = nn.Sequential(nn.Linear(3, 1 << 18), nn.AdaptiveMaxPool1d(5), nn.Linear(5, 2)), rows()[:20]
    sizes = []
    net[0].register_forward_pre_hook(lambda _, arguments: sizes.append(len(arguments[0])))
    (moments,) = calibration.second_moments(net, None, [net[2]], x)
    assert sizes == [calibration._MEASURED_ROWS, 4, 4, 4, 4, 4]
    assert moments.dtype == np.float32
    with torch.no_grad():
        inputs = net[1](net[0](x)).double()
    np.testing.assert_allclose(moments[0], inputs.T @ inputs / len(x), rtol=1e-5)

"""The number of threads of torch in the estimators: chosen by the work of a layer, the caller's again behind it."""

import threading

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402
from lifecycle import _threads  # noqa: E402
from lifecycle.torch import _openmp, intra_op_threads  # noqa: E402
from lifecycle.torch.batches import TensorRows  # noqa: E402
from lifecycle.torch.intra_op_threads import multiplications  # noqa: E402

from .torch_estimators import classifier, same  # noqa: E402

X, Y = np.random.RandomState(0).normal(size=(96, 1, 8, 8)).astype(np.float32), np.arange(96) % 3


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Network(nn.Module):
    """A small convolutional network that records the number of threads, and calls a function with each batch."""

    def __init__(self, call=lambda: None):
        super().__init__()
        self.net, self.call, self.seen = lt.CNN(1, 3, 8, channels=(4, 8)), call, []

    def forward(self, x):
        self.seen.append(torch.get_num_threads())
        self.call()
        return self.net(x)


def fitted(call=lambda: None, **kw):
    return classifier(lambda: Network(call), early_stopping=True, **kw).fit(X, Y)


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (lt.MLP(64, 10, (512, 256)), (64,)),
        (lt.CNN(3, 10, 32), (3, 32, 32)),
        (lt.CNN(1, 10, 8, channels=(16, 32)), (1, 8, 8)),
        (nn.Sequential(nn.Conv2d(4, 8, 3, padding=1, groups=2, stride=2), nn.Flatten(), nn.Linear(128, 3)), (4, 8, 8)),
        (nn.Sequential(nn.Conv1d(8, 16, 3, padding=1), nn.AvgPool1d(2), nn.Flatten(), nn.Linear(160, 3)), (8, 20)),
        (nn.Sequential(nn.ConvTranspose2d(2, 4, 2, stride=2), nn.Flatten(), nn.Linear(256, 3)), (2, 4, 4)),
        (nn.Sequential(nn.Linear(8, 64), nn.ReLU(), nn.Linear(64, 4)), (20, 8)),
    ],
)
def test_the_estimate_is_that_of_torch(net, shape):
    x = torch.zeros(16, *shape)
    with FlopCounterMode(display=False) as counter:
        net(x)
    leaves = [name for name, module in net.named_modules() if not list(module.children())]
    counts = counter.get_flop_counts()
    largest = max(sum(flops.values()) for name, flops in counts.items() if name.rpartition(".")[2] in
                  {leaf.rpartition(".")[2] for leaf in leaves})  # fmt: skip
    assert multiplications(net, TensorRows(x), 16, training=False) * 2 == largest


@pytest.mark.parametrize("cell", ["lstm", "gru", "rnn"])
def test_recurrent_layers_are_counted_by_the_step(cell):
    net = lt.RNN(8, 2, cell, hidden_size=64)
    largest = max(p.numel() for p in net.cells.parameters())
    assert multiplications(net, TensorRows(torch.zeros(3, 1, 8)), 16, training=False) == 16 * largest
    many = multiplications(nn.Sequential(net.cells), TensorRows(torch.zeros(3, 50, 8)), 16, training=False)
    assert many == 16 * largest


def test_a_step_counts_the_parameters_and_a_lazy_one_is_unknown():
    net = nn.Sequential(nn.Embedding(1000, 64), nn.Flatten(), nn.Linear(64, 2))
    data = TensorRows(torch.zeros(5, 1, dtype=torch.long))
    assert multiplications(net, data, 4, training=False) == 4 * 128
    assert multiplications(net, data, 4, training=True) == 32 * (64_000 + 130)
    assert multiplications(nn.Sequential(nn.LazyLinear(3)), data, 4, training=False) == float("inf")


def test_small_batches_run_on_one_thread_and_large_ones_on_all(monkeypatch):
    def seen():
        model = fitted()
        model.predict(X)
        assert torch.get_num_threads() == 2
        return set(model.module_.seen)

    assert seen() == {1}
    monkeypatch.setattr(intra_op_threads, "MIN_MULTIPLICATIONS", 1)
    assert seen() == {2}
    torch.set_num_threads(1)
    model = fitted()
    assert set(model.module_.seen) == {1}
    assert torch.get_num_threads() == 1


def test_the_number_grows_with_the_work(monkeypatch):
    torch.set_num_threads(4)
    net, data = nn.Linear(8, 8), TensorRows(torch.zeros(5, 8))
    monkeypatch.setattr(intra_op_threads, "MIN_MULTIPLICATIONS", 64)
    numbers = []
    for n_rows in (1, 2, 3, 100):
        with intra_op_threads.intra_op_threads(net, data, n_rows):
            numbers.append(torch.get_num_threads())
    assert numbers == [1, 2, 3, 4]
    assert torch.get_num_threads() == 4


@pytest.mark.parametrize("error", [RuntimeError, KeyboardInterrupt])
@pytest.mark.parametrize("reachable", [True, False])
def test_the_number_is_restored_after_an_error(error, reachable, monkeypatch):
    if not reachable:
        monkeypatch.setattr(_openmp, "_function", lambda name: None)
    model = fitted()

    def fail():
        assert torch.get_num_threads() == 1
        raise error("in forward")

    model.module_.call = fail
    with pytest.raises(error):
        model.predict(X)
    assert torch.get_num_threads() == 2
    with pytest.raises(error):
        fitted(fail)
    assert torch.get_num_threads() == 2


def test_a_number_that_the_module_sets_stays():
    fitted(lambda: torch.set_num_threads(3))
    assert torch.get_num_threads() == 3


def test_callbacks_and_threads_that_start_meanwhile_have_the_number_of_the_caller():
    numbers = []

    def start():
        thread = threading.Thread(target=lambda: numbers.append(torch.get_num_threads()))
        thread.start()
        thread.join()

    fitted(start, callbacks=[lambda model, record: numbers.append(torch.get_num_threads())])
    assert set(numbers) == {2}


def test_kernels_use_the_threads_of_torch_unless_a_number_is_set():
    numbers = []
    fitted(lambda: numbers.append(_threads.num_threads()))
    assert set(numbers) == {1}
    numbers.clear()
    with lc.threads(3):
        fitted(lambda: numbers.append(_threads.num_threads()))
    assert set(numbers) == {3}


def test_fits_of_small_networks_have_the_same_bits_with_any_number_of_threads():
    fits = []
    for n in (1, 2, 2):
        torch.set_num_threads(n)
        fits.append(classifier(lambda: lt.CNN(1, 3, 8, channels=(16, 32)), batch_size=64).fit(X, Y))
    assert same(fits[0], fits[1])
    assert same(fits[0], fits[2])


@pytest.mark.parametrize(
    ("net", "shape"),
    [
        (lambda: lt.RNN(6, 3, cell="gru", hidden_size=64, bidirectional=True), (20, 6)),
        (lambda: nn.Sequential(nn.Conv1d(8, 16, 3, padding=1), nn.Flatten(), nn.Linear(320, 3)), (8, 20)),
        (lambda: nn.Sequential(nn.Conv2d(4, 8, 3, stride=2), nn.Flatten(), nn.Linear(72, 3)), (4, 8, 8)),
        (lambda: nn.Sequential(nn.LSTMCell(6, 64)), (6,)),
    ],
)
def test_layers_with_integer_weights_have_the_work_of_floating_point_ones(net, shape):
    net, data = net(), TensorRows(torch.zeros(4, *shape))
    small = lc.quantize(net, activations="dynamic")
    assert not list(small.parameters())
    assert multiplications(small, data, 10, False) == multiplications(net, data, 10, False)

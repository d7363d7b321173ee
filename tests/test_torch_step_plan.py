"""Kinds of tensors that a step serves or refuses, and tensors that change between two steps."""

import os
import signal
import subprocess
import sys
import warnings

import pytest

torch = pytest.importorskip("torch")

import lifecycle.torch as lt  # noqa: E402
from lifecycle.rules import list_rules  # noqa: E402

from .optimizer_steps import distance, ours, step  # noqa: E402


def test_tensors_that_are_replaced_between_steps_are_seen():
    """The second step begins with the tensors of the first; whatever a user puts in their place must count."""

    def run(meddle):
        p, q = torch.nn.Parameter(torch.ones(3)), torch.nn.Parameter(torch.ones(2))
        optimizer = lt.SGD([p, q], lr=0.1, momentum=0.9)
        for k in range(3):
            p.grad, q.grad = torch.ones(3), torch.ones(2)
            if k == 2:
                meddle(p, q, optimizer)
            optimizer.step()
        return p.detach().tolist(), q.detach().tolist()

    same = run(lambda p, q, o: None)

    def new_memory(p, q, optimizer):
        p.data = p.data.clone()
        optimizer.state[p]["momentum_buffer"] = optimizer.state[p]["momentum_buffer"].clone()

    assert run(new_memory) == same
    assert run(lambda p, q, o: o.load_state_dict(o.state_dict())) == same

    def forget(p, q, optimizer):
        optimizer.state[p] = {}

    forgot = run(forget)
    assert forgot[0] == pytest.approx([1 - 0.1 - 0.19 - 0.1] * 3)
    assert forgot[1] == same[1]

    def no_gradient(p, q, optimizer):
        q.grad = None

    assert run(no_gradient)[0] == same[0]
    assert run(no_gradient)[1] == pytest.approx([1 - 0.1 - 0.19] * 2)

    def zeroed(p, q, optimizer):
        optimizer.state[p]["momentum_buffer"].zero_()

    assert run(zeroed)[0] == forgot[0]

    def moved(p, q, optimizer):  # as a snippet that moves optimizers between devices does
        for own in optimizer.state.values():
            own["momentum_buffer"].data = own["momentum_buffer"].data.clone()

    assert run(moved) == same

    def larger_rate(p, q, optimizer):
        optimizer.param_groups[0]["lr"] = 1.0

    assert run(larger_rate)[0] == pytest.approx([1 - 0.1 - 0.19 - 2.71] * 3)

    def first_two(p, q, optimizer):
        p.data, p.grad = p.data[:2], None
        p.grad = torch.ones(2)
        optimizer.state[p]["momentum_buffer"] = optimizer.state[p]["momentum_buffer"][:2]

    assert run(first_two) == (same[0][:2], same[1])

    def strided(p, q, optimizer):
        p.grad = torch.ones(6)[::2]

    assert run(strided) == same

    def missing_slot(p, q, optimizer):
        del optimizer.state[p]["momentum_buffer"]

    assert run(missing_slot)[0] == forgot[0]

    def transposed(p, q, optimizer):
        q.data, q.grad = torch.tensor([[1.0, 2.0], [3.0, 4.0]]), torch.tensor([[1.0, 2.0], [3.0, 4.0]])
        optimizer.state[q].clear()
        optimizer.step()
        q.data = q.data.t()
        optimizer.state[q]["momentum_buffer"] = torch.zeros(2, 2)

    assert run(transposed)[1] == [pytest.approx([0.8, 2.5]), pytest.approx([1.5, 3.2])]


@pytest.mark.parametrize(
    ("parameter", "gradient", "says"),
    [
        (torch.ones(3), torch.sparse_coo_tensor([[0]], [1.0], (3,), check_invariants=False), "sparse"),
        (torch.ones(3, device="meta"), torch.ones(3, device="meta"), "meta"),
    ],
)
def test_what_is_not_served_is_refused_and_nothing_moves(parameter, gradient, says):
    good, bad = torch.nn.Parameter(torch.ones(2)), torch.nn.Parameter(parameter)
    optimizer = lt.Adam([good, bad])
    good.grad, bad.grad = torch.ones(2), gradient
    with pytest.raises(TypeError, match=says):
        optimizer.step()
    assert good.tolist() == [1, 1]


def test_tensors_without_memory_are_refused():
    two = pytest.importorskip("torch.testing._internal.two_tensor").TwoTensor
    p = torch.nn.Parameter(two(torch.ones(3), torch.ones(3)))
    p.grad = two(torch.ones(3), torch.ones(3))
    with pytest.raises(TypeError, match="TwoTensor without memory of its own"):
        lt.SGD([p]).step()


def test_a_gradient_of_another_shape_is_refused():
    p = torch.nn.Parameter(torch.ones(4))
    p.grad = torch.ones(4)
    p.data = torch.ones(6)
    with pytest.raises(TypeError, match="must match"):
        lt.SGD([p]).step()


@pytest.mark.parametrize("name", list_rules())
def test_complex_parameters_are_pairs_of_real_ones(name):
    z = torch.nn.Parameter(torch.randn(7, 3, dtype=torch.complex64))
    x = torch.nn.Parameter(torch.view_as_real(z.detach()).clone())
    a, b = ours(name)([z]), ours(name)([x])
    for _ in range(5):
        g = torch.randn(7, 3, dtype=torch.complex64)
        step(a, [z], [g])
        step(b, [x], [torch.view_as_real(g)])
    assert torch.equal(torch.view_as_real(z.detach()), x.detach())


def test_conjugate_and_negative_views():
    x = torch.tensor([1 + 2j, 3 + 4j])
    found = []
    for cls in (lt.SGD, torch.optim.SGD):
        p = torch.nn.Parameter(torch.zeros(2, dtype=torch.complex64))
        q = torch.nn.Parameter(torch.tensor([1 + 2j]).conj())
        r = torch.nn.Parameter(torch.ones(2))
        optimizer = cls([p, q, r], lr=1.0)
        for _ in range(3):
            optimizer.zero_grad()
            (p.conj() * x).real.sum().backward()
            q.grad, r.grad = torch.tensor([1j]), torch._neg_view(torch.ones(2))
            assert p.grad.is_conj()
            optimizer.step()
        found.append([p.detach().resolve_conj(), q.detach().resolve_conj(), r.detach()])
    assert all(torch.equal(a, b) for a, b in zip(*found, strict=True))


def test_zero_dimensional_empty_and_channels_last():
    scalar, empty = torch.nn.Parameter(torch.tensor(1.0)), torch.nn.Parameter(torch.zeros(0, 3))
    conv = torch.nn.Conv2d(3, 4, 3).to(memory_format=torch.channels_last)
    twin = torch.nn.Conv2d(3, 4, 3)
    twin.load_state_dict(conv.state_dict())
    for state in (None, "int8"):
        optimizer = lt.AdamW([scalar, empty, *conv.parameters()], lr=0.1, state_dtype=state)
        scalar.grad, empty.grad = torch.tensor(2.0), torch.zeros(0, 3)
        conv(torch.randn(1, 3, 5, 5).to(memory_format=torch.channels_last)).sum().backward()
        optimizer.step()
        if state is None:
            other = torch.optim.AdamW(twin.parameters(), lr=0.1)
            for p, q in zip(conv.parameters(), twin.parameters(), strict=True):
                q.grad = p.grad.clone()
            other.step()
            assert distance(conv.parameters(), twin.parameters()) < 1e-6
    assert scalar.item() < 0.9


@pytest.mark.parametrize("options", [{}, {"state_dtype": "int8", "max_grad_norm": 1.0, "ema_decay": 0.9}])
@pytest.mark.parametrize("backend", ["eager", "aot_eager"])
def test_a_compiled_training_step(backend, options):
    """The graph ends at the step, as the compiler cannot trace kernels; the weights are those without it."""
    weights = []
    for compiled in (False, True):
        torch.manual_seed(0)
        net = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.ReLU(), torch.nn.Linear(8, 1))
        optimizer = lt.AdamW(net.parameters(), **options)

        def train(x, y, net=net, optimizer=optimizer):
            optimizer.zero_grad()
            loss = ((net(x) - y) ** 2).mean()
            loss.backward()
            optimizer.step()
            return loss

        torch._dynamo.reset()
        step = torch.compile(train, backend=backend) if compiled else train
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the compiler's own
            for _ in range(3):
                step(torch.ones(16, 4), torch.ones(16, 1))
        weights.append(torch.nn.utils.parameters_to_vector(net.parameters()).detach())
    torch.testing.assert_close(*weights)


INTERRUPTED = """
import itertools, signal, sys, torch, lifecycle.torch as lt
signal.signal(signal.SIGINT, signal.default_int_handler)  # a process in the background may start without it
grad, start = torch.linspace(-1, 1, 5000), torch.linspace(1, 2, 5000)
def make():
    p = torch.nn.Parameter(start.clone())
    p.grad = grad.clone()
    return p, lt.AdamW([p], state_dtype="bfloat16", ema_decay=0.9)
p, optimizer = make()
after = [p.detach().clone()]
for _ in range(8):
    optimizer.step()
    after.append(p.detach().clone())
steps = set()
for moment in range(1, 2000, 9):
    p, optimizer = make()
    lines = itertools.count(1)
    def trace(frame, event, argument):
        if "lifecycle" not in frame.f_code.co_filename:
            return None
        if event == "line" and next(lines) == moment:
            signal.raise_signal(signal.SIGINT)
        return trace
    sys.settrace(trace)
    try:
        for _ in range(8):
            optimizer.step()
    except KeyboardInterrupt:
        pass
    finally:
        sys.settrace(None)
    t = optimizer.state[p].get("step", 0)
    assert torch.equal(p, after[t]), (moment, t)
    steps.add(t)
assert len(steps) > 2, steps
"""


def test_a_step_that_is_interrupted_is_counted_or_not_taken():
    subprocess.run([sys.executable, "-W", "ignore", "-c", INTERRUPTED], check=True, timeout=300)


FORKED = """
import os, torch, lifecycle.torch as lt, lifecycle.torch.optimizers
from lifecycle.torch import estimators
import numpy as np
torch.set_num_threads(2)
(torch.randn(4_000_000) * 2).sum()  # starts torch's threads
child = os.fork()
if child == 0:
    def work():
        p = torch.nn.Parameter(torch.empty(500_000))
        p.grad = torch.empty(500_000)
        for options in ({{}}, {{"state_dtype": "int8"}}, {{"ema_decay": 0.9, "max_grad_norm": 1.0}}):
            optimizer = lt.AdamW([p], **options)
            optimizer.step()
            optimizer.load_state_dict(optimizer.state_dict())
            optimizer.step()
        with optimizer.averaged_weights():
            pass
        X = np.random.default_rng(0).normal(size=(3000, 200)).astype("f4")
        model = lt.TorchClassifier(module__hidden=(512,), max_epochs=1, progress=False, ema_decay=0.5)
        model.fit(X, X[:, 0] > 0).predict(X)
        assert torch.get_num_threads() == 2
    try:
        work()
    except BaseException:
        os._exit(1)
    os._exit(0)
print(child, flush=True)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
""".replace("{{", "{").replace("}}", "}")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
def test_large_first_steps_in_a_forked_child():
    """An operation of torch on many elements would wait there for threads that only the parent has."""
    parent = subprocess.Popen([sys.executable, "-W", "ignore", "-c", FORKED], stdout=subprocess.PIPE, text=True)
    child = int(parent.stdout.readline())
    try:
        assert parent.wait(timeout=120) == 0
    except subprocess.TimeoutExpired:
        os.kill(child, signal.SIGKILL)
        parent.kill()
        raise
    finally:
        parent.stdout.close()
        parent.wait()

"""Clipping by the norm of the gradients, and gradients that are not finite."""

import functools

import pytest

torch = pytest.importorskip("torch")

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402

from .optimizer_steps import distance, small_net, train  # noqa: E402
from .torch_estimators import classifier, weights_of  # noqa: E402


def test_clipping_is_clip_grad_norm_then_a_step():
    mine, theirs = small_net(), small_net()
    a = lt.AdamW(mine.parameters(), lr=1e-2, max_grad_norm=0.1)
    b = torch.optim.AdamW(theirs.parameters(), lr=1e-2)
    norms = []

    def clip():
        norms.append(float(torch.nn.utils.clip_grad_norm_(theirs.parameters(), 0.1)))

    for k in range(5):
        train(mine, a, 1, seed=k)
        train(theirs, b, 1, before=clip, seed=k)
        assert a.last_grad_norm == pytest.approx(norms[-1], rel=1e-6)
    assert max(norms) > 0.1
    assert distance(mine.parameters(), theirs.parameters()) < 1e-6
    p = torch.nn.Parameter(torch.ones(3))
    p.grad = torch.full((3,), 7.0)
    lt.SGD([p], lr=0.1, max_grad_norm=1.0).step()
    assert p.grad.tolist() == [7, 7, 7], "the gradient itself is left alone"


def test_what_is_not_finite_is_left_out_or_raised():
    for bad in (float("nan"), float("inf")):
        p, q = (torch.nn.Parameter(torch.ones(4)) for _ in range(2))
        optimizer = lt.Adam([p, q], nonfinite="skip")
        p.grad, q.grad = torch.ones(4), torch.tensor([1.0, bad, 1.0, 1.0])
        optimizer.step()
        assert optimizer.skipped_steps == 1
        assert p.tolist() == q.tolist() == [1, 1, 1, 1]
        assert optimizer.state[p].get("step", 0) == 0
        q.grad = torch.ones(4)
        optimizer.step()
        assert optimizer.skipped_steps == 1
        assert (p < 1).all()
        q.grad[2] = bad
        raising = lt.Adam([p, q], nonfinite="raise")
        raising.load_state_dict(optimizer.state_dict())
        with pytest.raises(lc.NonFiniteGradient, match=r"step 2: that of parameter 1, \(4,\)"):
            raising.step()
        spreading = lt.Adam([q])
        spreading.step()
        assert torch.isnan(q).tolist() == [False, False, True, False]


def test_an_estimator_clips_in_the_step_of_our_optimizers_and_by_torch_for_others(digits, monkeypatch):
    def never(*args, **kw):
        raise AssertionError("clipped by torch")

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", never)
    for optimizer in ("adamw", lc.SGD(lr=0.1), lt.Lion):
        classifier(optimizer=optimizer, max_grad_norm=0.1, max_epochs=1).fit(*digits)
    with pytest.raises(AssertionError, match="clipped by torch"):
        classifier(optimizer=torch.optim.AdamW, max_grad_norm=0.1, max_epochs=1).fit(*digits)


@pytest.mark.parametrize(("of_optimizer", "of_estimator"), [(0.2, None), (0.2, 0.5), (0.5, 0.2)])
def test_the_smaller_max_grad_norm_of_optimizer_and_estimator_holds(of_optimizer, of_estimator, digits):
    optimizer = functools.partial(lt.SGD, lr=0.1, max_grad_norm=of_optimizer)
    model = classifier(optimizer=optimizer, max_grad_norm=of_estimator).fit(*digits)
    wanted = classifier(optimizer=functools.partial(lt.SGD, lr=0.1), max_grad_norm=0.2).fit(*digits)
    assert torch.equal(weights_of(model), weights_of(wanted))

"""Torch modules as graphs: what a module or an example may be, one sentence for the rest, and nothing else changes."""

import logging
import os
import threading

import numpy as np
import pytest
import torch
from torch import nn

import lifecycle as lc

X = torch.linspace(-1, 1, 12).reshape(4, 3)


class Calls(nn.Module):
    """A layer whose output goes through a function."""

    def __init__(self, function):
        super().__init__()
        self.layer, self.function = nn.Linear(3, 2), function

    def forward(self, a, b=None):
        return self.function(self.layer(a if b is None else a + b))


def raising(error):
    def function(y):
        raise error

    return Calls(function)


def by_sign(y):
    return y if y.sum() > 0 else -y


def of_three_rows(y):
    if len(y) % 4:
        raise RuntimeError(f"{len(y)} rows\nand more")
    return y


def with_hook():
    layer = nn.Linear(3, 2)
    layer.register_forward_hook(lambda module, inputs, output: 2 * output)
    return layer


def with_frozen_parts():
    net = nn.Sequential(nn.ReLU(inplace=True), nn.Linear(3, 2), nn.Dropout(0.5), nn.BatchNorm1d(2)).train()
    net[1].weight.requires_grad_(False)
    net[3].eval()
    return net


def with_norms():
    norms = nn.utils.parametrizations
    return nn.Sequential(norms.weight_norm(nn.Linear(3, 4)), nn.ReLU(), norms.spectral_norm(nn.Linear(4, 2)))


def with_old_norm():
    return nn.Sequential(nn.utils.weight_norm(nn.Linear(3, 2)))


def state_of(module):
    parameters = {k: (p.requires_grad, p.device, p.dtype, p._version) for k, p in module.named_parameters()}
    values = {k: v.numpy(force=True).tobytes() for k, v in module.state_dict().items() if v.dtype != torch.bfloat16}
    return parameters, values, [m.training for m in module.modules()]


@pytest.mark.parametrize(
    ("make", "example"),
    [
        (with_norms, X),
        (with_hook, X),
        (with_frozen_parts, X),
        (lambda: nn.Linear(3, 2).half(), X.half()),
        (lambda: Calls(lambda y: (y, y + 1)), X),
        (lambda: Calls(lambda y: {"a": y, "b": 2 * y}), X),
        (lambda: Calls(torch.tanh), (X, X)),
        (lambda: Calls(torch.tanh), {"a": X, "b": X}),
        (lambda: nn.Linear(3, 2), X.numpy()),
        (lambda: nn.Linear(3, 2), X.clone().requires_grad_()),
    ],
)
def test_modules_are_stored_with_their_graph_and_stay_as_they_were(make, example, tmp_path):
    module = make()
    before, generator = state_of(module), torch.get_rng_state()
    values = example.values() if isinstance(example, dict) else example if isinstance(example, tuple) else [example]
    copies = [torch.as_tensor(value).detach().numpy().copy() for value in values]
    lc.save(module, tmp_path / "f", example=example)
    assert state_of(module) == before
    assert torch.equal(torch.get_rng_state(), generator)
    for value, copied in zip(values, copies, strict=True):
        np.testing.assert_array_equal(torch.as_tensor(value).detach().numpy(), copied)
    module.eval()
    with torch.no_grad():
        clones = {k: torch.as_tensor(v).clone() for k, v in example.items()} if isinstance(example, dict) else None
        wanted = module(**clones) if clones else module(*[torch.as_tensor(v).detach().clone() for v in values])
    wanted = list(wanted.values()) if isinstance(wanted, dict) else wanted if isinstance(wanted, tuple) else [wanted]
    found = lc.load_predictor(tmp_path / "f").predict(example)
    for a, b in zip(found if isinstance(found, tuple) else [found], wanted, strict=True):
        np.testing.assert_allclose(a, b.numpy(), rtol=1e-3, atol=1e-4)


def test_a_module_that_draws_random_numbers_leaves_the_generator_as_it_was(tmp_path):
    module = Calls(lambda y: y + torch.rand_like(y))
    generator = torch.get_rng_state()
    with pytest.raises(lc.ParityError):
        lc.export_onnx(module, tmp_path / "f", X)
    assert torch.equal(torch.get_rng_state(), generator)


FAULTS = [
    (with_old_norm, X, lc.UnsupportedModel, "this Sequential cannot be copied for the export: Only Tensors", True),
    (lambda: nn.Linear(3, 2, device="meta"), X, ValueError, "weight of the model has no values yet", False),
    (lambda: nn.Linear(3, 2).bfloat16(), X.bfloat16(), lc.UnsupportedModel, "float16, float32 or float64", False),
    (lambda: nn.Linear(3, 2).bfloat16(), X, ValueError, "example does not fit the module: mat1 and mat2 must", True),
    (lambda: Calls(by_sign), X, lc.UnsupportedModel, "this Calls: its forward decides by the values", True),
    (lambda: Calls(of_three_rows), X, lc.UnsupportedModel, r"fails for . rows, .*: . rows$|decides by|Calls: ", True),
    (lambda: Calls(lambda y: None), X, lc.UnsupportedModel, "returns a NoneType that is not made of tensors", False),
    (lambda: Calls(lambda y: (y, (y,))), X, lc.UnsupportedModel, "returns a tuple that is not made of tenso", False),
    (lambda: Calls(lambda y: ()), X, lc.UnsupportedModel, "the module returns nothing", False),
    (lambda: Calls(torch.sum), X, lc.UnsupportedModel, "its inputs and outputs have rows", False),
    (lambda: raising(RuntimeError("\x1b[2J\nmore")), X, ValueError, r"fit the module: \\x1b\[2J$", True),
    (lambda: raising(KeyError("a")), X, ValueError, "example does not fit the module: 'a'", True),
    (lambda: raising(NotImplementedError()), X, ValueError, "fit the module: NotImplementedError", True),
    (lambda: nn.Linear(3, 2), X[:1], ValueError, "two rows or more", False),
    (lambda: nn.Linear(3, 2), (), ValueError, "two rows or more", False),
    (lambda: nn.Linear(3, 2), X.tolist(), ValueError, "example must be an array or a tensor, .* a list", False),
    (lambda: Calls(torch.tanh), [X, X], ValueError, "a tuple or dict of these .* a list", False),
    (lambda: Calls(torch.tanh), (X, None), ValueError, "it is or holds a NoneType", False),
    (lambda: Calls(torch.tanh), np.array([["a"]] * 2), ValueError, "example holds what is no tensor", True),
    (lambda: nn.Linear(3, 2), X.to_sparse(), ValueError, "sparse, or without values", False),
    (lambda: nn.Linear(3, 2), X.to("meta"), ValueError, "sparse, or without values", False),
]


@pytest.mark.parametrize("k", range(len(FAULTS)))
@pytest.mark.parametrize("write", [lambda m, path, X: lc.save(m, path, example=X), lc.export_onnx])
@pytest.mark.filterwarnings("ignore:.*weight_norm.*deprecated")
def test_what_is_no_graph_is_one_sentence_and_nothing_is_written(write, k, tmp_path):
    make, example, error, sentence, has_cause = FAULTS[k]
    module = make()
    before, generator = state_of(module) if k != 1 else None, torch.get_rng_state()
    with pytest.raises(error, match=sentence) as raised:
        write(module, tmp_path / "f", example)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600
    assert (raised.value.__cause__ is not None) == has_cause
    assert not list(tmp_path.iterdir())
    assert k == 1 or state_of(module) == before
    assert torch.equal(torch.get_rng_state(), generator)


def test_prints_and_logs_of_other_threads_while_torch_exports(tmp_path, capsys, caplog, monkeypatch):
    export = torch.onnx.export

    def exporting(*arguments, **options):
        def other():
            print("from another thread")  # noqa: T201
            for name in ("another", "torch.onnx"):
                logging.getLogger(name).warning(f"{name}, in another thread")

        thread = threading.Thread(target=other)
        thread.start()
        thread.join()
        logging.getLogger("torch.fx.experimental.symbolic_shapes").warning("in this thread")
        return export(*arguments, **options)

    monkeypatch.setattr(torch.onnx, "export", exporting)
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    before = dict(os.environ)
    lc.export_onnx(nn.Linear(3, 2), tmp_path / "f", X)
    assert capsys.readouterr().out == "from another thread\n"
    assert caplog.messages == ["another, in another thread", "torch.onnx, in another thread"]
    assert dict(os.environ) == before

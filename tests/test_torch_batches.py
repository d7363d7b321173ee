"""Data that the torch estimators take: rows of every kind, images, sequences, token ids."""

import functools

import numpy as np
import pandas as pd
import pytest

torch = pytest.importorskip("torch")

from sklearn.base import clone  # noqa: E402
from sklearn.model_selection import cross_val_score  # noqa: E402
from torch import nn  # noqa: E402

import lifecycle as lc  # noqa: E402
import lifecycle.torch as lt  # noqa: E402
from lifecycle.torch.batches import to_batches  # noqa: E402

from .networks import ReferenceLSTM  # noqa: E402
from .torch_estimators import classifier, losses, regressor, same, sequences  # noqa: E402


def test_kinds_of_rows_give_the_same_model(digits):
    X, y = digits
    whole = np.round(X * 16)
    model = classifier().fit(whole, y)
    frame = pd.DataFrame(whole, columns=[f"pixel {k}" for k in range(64)])
    kinds = {
        "float64": whole.astype(np.float64),
        "int64": whole.astype(np.int64),
        "uint8": whole.astype(np.uint8),
        "float16": whole.astype(np.float16),
        "columns": np.asfortranarray(whole),
        "list": whole.tolist(),
        "frame": frame,
        "tensor": torch.from_numpy(whole).requires_grad_(),
        "half tensor": torch.from_numpy(whole).to(torch.bfloat16),
        "list of tensors": list(torch.from_numpy(whole)),
    }
    for name, kind in kinds.items():
        other = classifier().fit(kind, torch.from_numpy(y) if "tensor" in name else y)
        assert same(other, model), name
        assert other.predict(kind).tolist() == model.predict(whole).tolist()
        assert hasattr(other, "feature_names_in_") == (name == "frame")
    other = classifier().fit(frame, y)
    assert other.feature_names_in_.tolist() == frame.columns.tolist()
    with pytest.raises(ValueError, match="feature names should match"):
        other.predict(frame.rename(columns={"pixel 0": "pixel"}))
    other.fit(whole.reshape(-1, 8, 8), y)
    assert not hasattr(other, "feature_names_in_")


def test_a_double_module_trains_in_double(diabetes):
    X, y = diabetes
    model = regressor(lt.MLP(10, 1).double()).fit(X.astype(np.float64), y)
    assert model.module_.layers[0].weight.dtype == torch.float64
    with torch.no_grad():
        wanted = model.module_(torch.from_numpy(X.astype(np.float64)))[:, 0].numpy()
    np.testing.assert_allclose(model.predict(X.astype(np.float64)), wanted, rtol=1e-13)


def test_the_users_arrays_are_left_alone(digits):
    X, y = digits[0].copy(), digits[1].copy()

    class Writes(lt.MLP):
        def forward(self, x):
            return super().forward(x.mul_(0.5))

    before = X.copy()
    model = classifier(Writes, early_stopping=True).fit(X, y)
    model.predict(X[:96])  # whole groups of rows: a view would do
    X.flags.writeable = False
    model.fit(X, y).predict(X)
    assert np.array_equal(X, before)


def test_images(digits):
    X, y = digits
    images = X.reshape(-1, 8, 8)
    model = classifier(lt.CNN, module__channels=(8, 16), lr=0.01, max_epochs=5).fit(images, y)
    assert model.score(images, y) > 0.8
    four = classifier(lt.CNN, module__channels=(8, 16), lr=0.01, max_epochs=5).fit(images[:, None], y)
    assert same(four, model)
    assert four.n_features_in_ == 1
    assert to_batches(images[:, None], four.module_).values.stride() == (64, 64, 8, 1)  # of numpy the second is 0
    with pytest.raises(ValueError, match="X has 3 features, but TorchClassifier is expecting 1 features"):
        four.predict(np.zeros((2, 3, 8, 8)))


def test_sequences_are_padded_batch_by_batch():
    X, y = sequences()
    calls = []

    class Spy(lt.RNN):
        def forward(self, x, lengths):
            calls.append((x.clone(), lengths))
            return super().forward(x, lengths)

    model = classifier(Spy, module__hidden_size=8, batch_size=16, lr=0.03, max_epochs=8).fit(X, y)
    assert model.n_features_in_ == 3
    of_epoch = calls[:4]
    assert [len(x) for x, _ in of_epoch] == [16, 16, 16, 12]
    assert sorted(int(n) for _, lengths in of_epoch for n in lengths) == sorted(map(len, X))
    for x, lengths in of_epoch:
        assert x.shape == (len(lengths), int(lengths.max()), 3)
        assert not x[torch.arange(x.shape[1]) >= lengths[:, None]].any()
    assert model.score(X, y) > 0.9
    alone = np.concatenate([model.predict_proba([x]) for x in X])
    np.testing.assert_allclose(model.predict_proba(X), alone, atol=1e-6)


@pytest.mark.parametrize("kind", ["arrays", "tuple", "tensors", "lists", "objects", "float32"])
def test_kinds_of_sequences(kind):
    X, y = sequences()
    X = [x.astype(np.float32) for x in X]
    objects = np.empty(len(X), dtype=object)
    objects[:] = X
    made = {"arrays": [x.astype(np.float64) for x in X], "tuple": tuple(X), "tensors": [torch.from_numpy(x) for x in X],
            "lists": [x.tolist() for x in X], "objects": objects, "float32": X}[kind]  # fmt: skip
    make = functools.partial(classifier, lt.RNN, module__hidden_size=4, early_stopping=True)
    model = make().fit(made, y)
    assert same(model, make().fit(X, y))
    assert model.predict(made[:5]).tolist() == model.predict(X[:5]).tolist()


def test_sequences_of_one_length_and_of_one_feature():
    X, y = sequences()
    model = classifier(lt.RNN, module__hidden_size=4).fit(X, y)
    equal = [x[:3] for x in X]
    found = model.predict_proba(equal)  # a fold may hold one length only
    model.module_.eval()
    with torch.no_grad():
        out = model.module_(torch.tensor(np.array(equal), dtype=torch.float32))
    np.testing.assert_allclose(found, torch.softmax(out.double(), dim=1).numpy(), atol=1e-6)
    flat = classifier(lt.RNN, module__hidden_size=4).fit([x[:, 0] for x in X], y)
    assert flat.module_.config["n_in"] == flat.n_features_in_ == 1
    array = classifier(lt.RNN, module__hidden_size=4).fit(np.array(equal), y)
    assert array.predict(X).shape == y.shape  # trained on one length, asked for others
    pair = classifier(lt.RNN, module__hidden_size=4, early_stopping=(equal[:9], y[:9])).fit(X, y)
    assert len(pair.history_) == 3


def test_sequences_are_cross_validated():
    X, y = sequences()
    model = classifier(lt.RNN, module__hidden_size=4, lr=0.03, max_epochs=6, batch_size=8)
    result = lc.cross_validate(model, X, y, cv=3, error_score="raise")
    assert result["test_score"].mean() > 0.8
    np.testing.assert_allclose(cross_val_score(model, X, y, cv=3, error_score="raise"), result["test_score"])


def test_token_ids_stay_integers():
    rng = np.random.RandomState(0)
    y = rng.randint(2, size=80)
    X = [rng.randint(5 * k, 5 * k + 5, size=rng.randint(2, 9)) for k in y]
    model = classifier(lt.RNN, module__n_tokens=10, module__n_in=4, module__hidden_size=8, lr=0.05, max_epochs=10)
    assert model.fit(X, y).score(X, y) > 0.95
    table = np.array([x[:2] for x in X])
    assert model.predict(list(table)).shape == y.shape
    assert clone(model).fit(table, y).score(table, y) > 0.95

    class Bag(nn.Module):
        def __init__(self, n_out):
            super().__init__()
            self.table, self.head = nn.Embedding(10, 4), nn.Linear(4, n_out)

        def forward(self, ids):
            assert ids.dtype == torch.int64
            return self.head(self.table(ids).mean(dim=1))

    assert classifier(Bag, lr=0.05, max_epochs=10).fit(table.astype(np.int32), y).score(table, y) > 0.95


def test_the_reference_lstm_trains_in_an_estimator():
    """Two layers of 64 over (100 steps, 100 features); here the scores of the last step are those of the sequence."""

    class Last(ReferenceLSTM):
        def forward(self, x):
            return super().forward(x)[:, :, -1]

    rng = np.random.RandomState(0)
    y = np.arange(20) % 10
    X = rng.normal(size=(20, 100, 100)) + np.eye(10)[y].repeat(10, axis=1)[:, None, :]
    model = classifier(Last, optimizer=lc.SGD(lr=0.1), max_epochs=1).set_params(optimizer="adam", lr=0.01, max_epochs=5)
    curve = losses(model.fit(X, y))
    assert curve[-1] < 0.8 * curve[0]

"""The two networks that the tests and benchmarks share, the images and sequences that feed them, and how to run any."""

import numpy as np
import torch
from torch import nn


def reference_cnn(n_classes: int = 10) -> nn.Sequential:
    """Three 3×3 convolutions (32, 64, 128), each with ReLU and 2×2 max pooling; hidden layer of 1000; 32×32×3 in."""
    layers: list[nn.Module] = []
    for n_in, n_out in ((3, 32), (32, 64), (64, 128)):
        layers += [nn.Conv2d(n_in, n_out, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    return nn.Sequential(*layers, nn.Flatten(), nn.Linear(128 * 4 * 4, 1000), nn.ReLU(), nn.Linear(1000, n_classes))


class ReferenceLSTM(nn.Module):
    """Two layers of 64 units over (100 steps, 100 features); class scores at every step, (batch, 10, steps)."""

    def __init__(self, n_classes: int = 10):
        super().__init__()
        self.lstm = nn.LSTM(100, 64, num_layers=2, batch_first=True)
        self.head = nn.Linear(64, n_classes)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.lstm(x)[0]).transpose(1, 2)


def digits_as_images(n: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """scikit-learn's digits, each pixel enlarged to 4×4 and repeated over three channels: (n, 3, 32, 32)."""
    from sklearn.datasets import load_digits

    data = load_digits()
    images = np.kron(data.images[:n] / 16.0, np.ones((1, 4, 4)))
    x = torch.tensor(images, dtype=torch.float32)[:, None].repeat(1, 3, 1, 1)
    return x, torch.tensor(data.target[:n])


class Untraceable(nn.Module):
    """A linear layer of 64 inputs, behind a branch that torch.fx does not follow."""

    def __init__(self):
        super().__init__()
        self.out = nn.Linear(64, 10)

    def forward(self, x):
        if x.sum() > 0:
            x = x.flatten(1)
        return self.out(x)


def recorded_gradients(steps: int, *, batch_size: int = 8, seed: int = 0) -> tuple[list, list]:
    """First parameters of the reference CNN and its gradients along an SGD run on digits, as float64 arrays."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        net = reference_cnn()
    x, y = digits_as_images()
    start = [p.detach().double().numpy().copy() for p in net.parameters()]
    order = np.random.RandomState(seed)
    grads = []
    for _ in range(steps):
        rows = torch.as_tensor(order.randint(len(x), size=batch_size))
        net.zero_grad()
        nn.functional.cross_entropy(net(x[rows]), y[rows]).backward()
        grads.append([p.grad.clone() for p in net.parameters()])
        with torch.no_grad():
            for p in net.parameters():
                p -= 0.05 * p.grad
    return start, grads


def run(model, x: np.ndarray) -> np.ndarray:
    """Output of a module, or the finest answer of an estimator."""
    if isinstance(model, nn.Module):
        with torch.no_grad():
            return model(torch.from_numpy(x)).numpy()
    return next(getattr(model, k) for k in ("predict_proba", "decision_function", "predict") if hasattr(model, k))(x)

"""The range of a layer's inputs, from calibration rows, for activations with a static scale."""

import math

import numpy as np
import torch

_BINS = 4096  # of a histogram from -limit to limit
_PERCENTILE = 99.99  # of |x|
_SHRUNKEN = np.linspace(1.0, 0.02, 99)  # shares of the largest range that are tried


class InputRange:
    """Smallest and largest value of batches that are seen one after another, or a narrower range of them.

    * "minmax": all values.
    * "percentile": 99.99 % of the absolute values; the others are clipped.
    * "mse": the share of the largest range whose codes, with those that are clipped, have the least squared error.

    The last two are of a histogram of 4096 bins, whose limit is a power of two: where a batch exceeds it, pairs of bins
    are joined. NaN and infinity are passed over.
    """

    def __init__(self, method: str, n_codes: int):
        self.method, self.n_codes = method, n_codes
        self.low = self.high = 0.0
        self.n_seen = 0
        self.limit = 0.0
        self.counts = np.zeros(_BINS)

    def see(self, x: torch.Tensor) -> None:
        """Values of a batch, of any shape."""
        values = x.detach().flatten().float()
        values = values[torch.isfinite(values)]
        if not values.numel():
            return
        self.n_seen += values.numel()
        low, high = (v.item() for v in torch.aminmax(values))
        self.low, self.high = min(self.low, low), max(self.high, high)
        if self.method != "minmax":
            self._extend(max(-low, high))
            # while all values are zero there is no limit, and all are in the bin of zero
            scaled = values.double() * (_BINS / 2 / (self.limit or 1.0)) + _BINS / 2
            bins = scaled.long().clamp_(0, _BINS - 1)
            self.counts += torch.bincount(bins, minlength=_BINS).numpy()

    def _extend(self, largest: float) -> None:
        """Let the histogram reach a value."""
        needed = 2.0 ** math.ceil(math.log2(largest)) if largest else 0.0
        self.limit = self.limit or needed
        while self.limit < needed:
            joined = self.counts.reshape(-1, 2).sum(1)
            self.counts = np.pad(joined, _BINS // 4)
            self.limit *= 2

    def range(self) -> tuple[float, float]:
        """The range, with zero in it; ValueError where no finite value was seen."""
        if not self.n_seen:
            raise ValueError("the layer has no finite input on the calibration rows")
        if self.method == "minmax" or not self.limit:
            return self.low, self.high
        width = 2 * self.limit / _BINS
        if self.method == "percentile":
            half = _BINS // 2
            of_abs = self.counts[half:] + self.counts[:half][::-1]
            n_inside = np.searchsorted(np.cumsum(of_abs), of_abs.sum() * _PERCENTILE / 100) + 1
            largest = float(n_inside * width)
            return max(self.low, -largest), min(self.high, largest)
        centers = (np.arange(_BINS) + 0.5) * width - self.limit
        errors = [self._squared_error(centers, share) for share in _SHRUNKEN]
        best = float(_SHRUNKEN[int(np.argmin(errors))])
        return best * self.low, best * self.high

    def _squared_error(self, centers: np.ndarray, share: float) -> float:
        low, high = share * self.low, share * self.high
        scale = (high - low) / self.n_codes
        zero = np.rint(-low / scale)
        rounded = (np.clip(np.rint(centers / scale) + zero, 0, self.n_codes) - zero) * scale
        return float(self.counts @ np.square(rounded - centers))

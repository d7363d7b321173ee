"""The result of `compress`: the model, its certificate, and what was tried."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from lifecycle._display import axes_or_new, html_table, import_optional, text_table
from lifecycle.compression.certificate import Certificate

__all__ = ["Candidate", "Compression"]


@dataclass(frozen=True)
class Candidate:
    """A compressed model of the search: the option of each layer, or of the model, its size, and how it does.

    `search_drop` is the rise of the mean loss on the search rows. `seconds` of a call, and how many times faster that
    is, are known where latency is the objective. The certificate is None where the sequence of tests ended before it.
    `channels_removed` is the share of each layer's channels that were removed before the options were chosen.
    """

    options: dict[str, str]
    size: int
    search_drop: float
    seconds: float | None = None
    times_faster: float | None = None
    certificate: Certificate | None = None
    channels_removed: float = 0.0

    @property
    def description(self) -> str:
        """The options, by layer, or with the number of layers that have each."""
        share = self.channels_removed
        return "; ".join([f"{100 * share:g} % of the channels removed"] * (share > 0) + self._options())

    def _options(self) -> list[str]:
        if len(self.options) == 1:
            return list(self.options.values())
        if len(self.options) <= _FEW_LAYERS:
            return [f"{name.removesuffix('.weight')} {option}" for name, option in self.options.items()]
        counts: dict[str, int] = {}
        for option in self.options.values():
            counts[option] = counts.get(option, 0) + 1
        return [f"{n} {'layer' if n == 1 else 'layers'} {option}" for option, n in counts.items()]


_FEW_LAYERS = 4  # whose options are told one by one
_TESTED = ("drop (search)", "drop (certify)", "bound", "certified")
_SIZES, _TIMES = ("candidate", "bytes", "times smaller"), ("candidate", "bytes", "milliseconds", "times faster")


@dataclass(repr=False)
class Compression:
    """Result of `compress`.

    Attributes
    ----------
    model : object
        The smallest or fastest model with a certificate, of the type that was given; the original one if there is none.
    certificate : Certificate
        Of `model`; if it is the original one, of the first candidate that failed.
    candidates : list of Candidate
        From the mildest to the strongest, those that the search rows left.
    size_before, size_after : int
        Bytes of the original and of `model`, as `size_of` counts them.
    methods : dict
        Where bytes are the objective, for each layer how it is pruned and quantized: with its inputs ("obs", "gptq"),
        or where these are not known by its weights alone ("magnitude", "mse").
    batch_size : int or None
        Where latency is the objective, rows of the calls that were timed.
    notes : list of str
        What the search could not try, and why.
    """

    model: Any
    certificate: Certificate
    candidates: list[Candidate]
    size_before: int
    size_after: int
    methods: dict[str, tuple[str, str]] = field(default_factory=dict)
    batch_size: int | None = None
    notes: list[str] = field(default_factory=list)

    @property
    def best(self) -> Candidate | None:
        """The candidate whose model is returned; None if it is the original."""
        held = [one for one in self.candidates if one.certificate is not None and one.certificate.holds]
        return held[-1] if held else None

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each candidate."""
        return [dict(zip(self._columns, row, strict=True)) for row in self._rows()]

    @property
    def _columns(self) -> tuple[str, ...]:
        return (*(_SIZES if self.batch_size is None else _TIMES), *_TESTED)

    def _rows(self) -> list[tuple]:
        rows = []
        for one in self.candidates:
            proof = one.certificate
            proved = (
                (None, None, "not tested")
                if proof is None
                else (proof.drop, proof.bound, "yes" if proof.holds else "no")
            )
            if one.seconds is None:
                gain: tuple = (self.size_before / one.size,)
            else:
                gain = (1e3 * one.seconds, one.times_faster)
            rows.append((one.description, one.size, *gain, one.search_drop, *proved))
        return rows

    def _text_rows(self) -> list[tuple[str, ...]]:
        formats = ("{}", "{:,}", *["{:.3g}"] * (len(self._columns) - 6), *["{:.4f}"] * 3, "{}")
        return [
            tuple("" if v is None else form.format(v) for form, v in zip(formats, row, strict=True))
            for row in self._rows()
        ]

    def summary(self) -> str:
        """In a line what was gained."""
        if self.best is None:
            return f"no candidate passed: this is the original model, of {self.size_before:,} bytes"
        gained = (
            f"{self.size_before:,} bytes → {self.size_after:,}, {self.size_before / self.size_after:.1f} times smaller"
        )
        if self.batch_size is None:
            return gained
        return f"{self.best.times_faster:.2f} times faster for {self.batch_size} rows a call; {gained}"

    def __repr__(self) -> str:
        rows = text_table([self._columns, *self._text_rows()], "<" + ">" * (len(self._columns) - 2))
        lines = [*(f"  {line}" for line in rows), *self.notes]
        return "\n".join([self.summary(), f"certificate {self.certificate}", *lines])

    def _repr_html_(self) -> str:
        text_columns = [0, len(self._columns) - 1]
        return html_table(self._columns, self._text_rows(), caption=str(self.certificate), text_columns=text_columns)

    def to_frame(self) -> Any:
        """`table` as a pandas DataFrame."""
        return import_optional("pandas", "to_frame()").DataFrame(self.table)

    def plot(self, ax: Any = None) -> Any:
        """Bytes, or milliseconds, against the drop, with the bounds of the candidates that were tested.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        costs = [one.size if one.seconds is None else 1e3 * one.seconds for one in self.candidates]
        ax.plot(costs, [one.search_drop for one in self.candidates], "o-", color="0.7", label="search rows")
        for holds, color, label in ((True, "tab:green", "certified"), (False, "tab:red", "refused")):
            tested = [
                (cost, one.certificate)
                for cost, one in zip(costs, self.candidates, strict=True)
                if one.certificate is not None and one.certificate.holds == holds
            ]
            if tested:
                drops = [proof.drop for _, proof in tested]
                up = [max(proof.bound - proof.drop, 0.0) for _, proof in tested]
                ax.errorbar([cost for cost, _ in tested], drops, yerr=[np.zeros(len(up)), up], fmt="s", color=color,
                            capsize=3, label=f"{label}, up to the bound")  # fmt: skip
        ax.axhline(self.certificate.max_drop, color="black", lw=1, ls="--", label="max_drop")
        if self.batch_size is None:
            ax.axvline(self.size_before, color="0.7", lw=1)
        xlabel = "bytes" if self.batch_size is None else f"milliseconds for {self.batch_size} rows"
        ax.set(xscale="log", xlabel=xlabel, ylabel="rise of the loss")
        ax.legend(fontsize=8)
        return ax

"""The result of `compress`: the model, its certificate, and what was tried."""

from dataclasses import dataclass
from typing import Any

import numpy as np

from lifecycle._display import axes_or_new, html_table, import_optional, text_table
from lifecycle.compression.certificate import Certificate

__all__ = ["Candidate", "Compression"]


@dataclass(frozen=True)
class Candidate:
    """A compressed model of the search: the option of each layer, its size, and how it does.

    `search_drop` is the rise of the mean loss on the search rows; the certificate is None where the sequence of
    tests ended before it.
    """

    options: dict[str, str]
    size: int
    search_drop: float
    certificate: Certificate | None = None

    @property
    def description(self) -> str:
        """The options, with the number of layers that have each."""
        counts: dict[str, int] = {}
        for option in self.options.values():
            counts[option] = counts.get(option, 0) + 1
        if len(counts) == 1:
            return next(iter(counts))
        return "; ".join(f"{option} ({n})" for option, n in counts.items())


_COLUMNS = ("candidate", "bytes", "times smaller", "drop (search)", "drop (certify)", "bound", "certified")


@dataclass(repr=False)
class Compression:
    """Result of `compress`.

    Attributes
    ----------
    model : object
        The smallest model with a certificate, of the type that was given; the original one if there is none.
    certificate : Certificate
        Of `model`; if it is the original one, of the first candidate that failed.
    candidates : list of Candidate
        From the largest to the smallest, those that the search rows left.
    size_before, size_after : int
        Bytes of the original and of `model`, as `size_of` counts them.
    methods : dict
        For each layer how it is pruned and quantized: with its inputs ("obs", "gptq"), or where these are not known by
        its weights alone ("magnitude", "mse").
    """

    model: Any
    certificate: Certificate
    candidates: list[Candidate]
    size_before: int
    size_after: int
    methods: dict[str, tuple[str, str]]

    @property
    def table(self) -> list[dict[str, Any]]:
        """A row for each candidate."""
        return [dict(zip(_COLUMNS, row, strict=True)) for row in self._rows()]

    def _rows(self) -> list[tuple]:
        rows = []
        for one in self.candidates:
            proof = one.certificate
            proved = (
                (None, None, "not tested")
                if proof is None
                else (proof.drop, proof.bound, "yes" if proof.holds else "no")
            )
            rows.append((one.description, one.size, self.size_before / one.size, one.search_drop, *proved))
        return rows

    def _text_rows(self) -> list[tuple[str, ...]]:
        return [
            (name, f"{size:,}", f"{ratio:.1f}", *("" if v is None else f"{v:.4f}" for v in values), verdict)
            for name, size, ratio, *values, verdict in self._rows()
        ]

    def __repr__(self) -> str:
        title = (
            f"{self.size_before:,} bytes → {self.size_after:,}, {self.size_before / self.size_after:.1f} times smaller"
        )
        lines = [f"  {line}" for line in text_table([_COLUMNS, *self._text_rows()], "<>>>>>")]
        return "\n".join([title, f"certificate {self.certificate}", *lines])

    def _repr_html_(self) -> str:
        return html_table(_COLUMNS, self._text_rows(), caption=str(self.certificate), text_columns=[0, 6])

    def to_frame(self) -> Any:
        """`table` as a pandas DataFrame."""
        return import_optional("pandas", "to_frame()").DataFrame(self.table)

    def plot(self, ax: Any = None) -> Any:
        """Bytes against the drop, with the bounds of the candidates that were tested.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, default=None
            Where to draw; None makes a new figure.

        Returns
        -------
        matplotlib.axes.Axes
        """
        ax = axes_or_new(ax)
        sizes = [one.size for one in self.candidates]
        ax.plot(sizes, [one.search_drop for one in self.candidates], "o-", color="0.7", label="search rows")
        for holds, color, label in ((True, "tab:green", "certified"), (False, "tab:red", "refused")):
            tested = [one for one in self.candidates if one.certificate is not None and one.certificate.holds == holds]
            proofs = [one.certificate for one in tested if one.certificate is not None]
            if tested:
                drops = [proof.drop for proof in proofs]
                up = [max(proof.bound - proof.drop, 0.0) for proof in proofs]
                ax.errorbar([one.size for one in tested], drops, yerr=[np.zeros(len(up)), up], fmt="s", color=color,
                            capsize=3, label=f"{label}, up to the bound")  # fmt: skip
        ax.axhline(self.certificate.max_drop, color="black", lw=1, ls="--", label="max_drop")
        ax.axvline(self.size_before, color="0.7", lw=1)
        ax.set(xscale="log", xlabel="bytes", ylabel="rise of the loss")
        ax.legend(fontsize=8)
        return ax

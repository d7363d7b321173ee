"""Charts as inline SVG, with the colours of the page's CSS and the width of the column that contains them."""

import math
import sys
from collections.abc import Sequence
from html import escape
from typing import Any, NamedTuple

WIDTH = 560
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 18, 14, 52  # margins: narrow screens get larger letters


def ticks(low: float, high: float, n: int = 5) -> list[float]:
    """Round numbers inside [low, high], about n of them."""
    raw = high / max(n, 1) - low / max(n, 1)  # the difference itself may be beyond the range of float
    unit = 10.0 ** math.floor(math.log10(raw))
    step = next(unit * m for m in (1, 2, 2.5, 5, 10) if unit * m >= raw * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(i * step, 12) for i in range(first, last + 1)]


def _limits(values: Sequence[float], pad: float = 0.06) -> tuple[float, float]:
    low, high = min(values), max(values)
    if high - low <= 1e-9 * max(abs(low), abs(high), 1e-300):
        low, high = low - (abs(low) * 0.1 or 1), high + (abs(high) * 0.1 or 1)
    largest = sys.float_info.max
    return max(low - (pad * high - pad * low), -largest), min(high + (pad * high - pad * low), largest)


def _clipped(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[: length - 1]}…"


def svg(body: str, height: float, label: str, width: float = WIDTH) -> str:
    """An SVG image; `label` is for screen readers."""
    return (
        f'<svg viewBox="0 0 {width:g} {height:g}" style="max-width:{min(1.3 * width, 720):.0f}px" '
        f'role="img" aria-label="{escape(_clipped(label, 200))}" '
        f'preserveAspectRatio="xMidYMid meet">{body}</svg>'
    )


class _Axes:
    """Horizontal grid lines with their labels, and the two scales."""

    def __init__(self, x: tuple[float, float], y: tuple[float, float], height: float, y_label: str, x_label: str):
        self.x, self.y, self.height = x, y, height
        mid = (_TOP + height - _BOTTOM) / 2
        self.parts = [
            f'<text class="axis" x="16" y="{mid:.1f}" text-anchor="middle" '
            f'transform="rotate(-90 16 {mid:.1f})">{escape(_clipped(y_label, 30))}</text>',
            f'<text class="axis" x="{(WIDTH + _LEFT - _RIGHT) / 2:.1f}" y="{height - 6:g}" '
            f'text-anchor="middle">{escape(x_label)}</text>',
        ]
        for tick in ticks(*y):
            y_tick = self.to_y(tick)
            self.parts.append(
                f'<line class="grid" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{y_tick:.1f}" y2="{y_tick:.1f}"/>'
                f'<text class="tick" x="{_LEFT - 7}" y="{y_tick + 4:.1f}" text-anchor="end">{tick:.6g}</text>'
            )

    def to_x(self, value: float) -> float:
        low, high = self.x
        return _LEFT + (value / 2 - low / 2) / (high / 2 - low / 2) * (WIDTH - _LEFT - _RIGHT)

    def to_y(self, value: float) -> float:
        low, high = self.y
        return self.height - _BOTTOM - (value / 2 - low / 2) / (high / 2 - low / 2) * (self.height - _TOP - _BOTTOM)

    def x_tick(self, value: float, label: str) -> None:
        self.parts.append(
            f'<text class="tick" x="{self.to_x(value):.1f}" y="{self.height - _BOTTOM + 20:g}" '
            f'text-anchor="middle">{escape(label)}</text>'
        )


def line_chart(series: dict[str, list[float]], *, y_label: str, x_label: str = "epoch") -> str:
    """Curves over 1, 2, 3, …; values that are not finite leave gaps."""
    finite = [v for values in series.values() for v in values if math.isfinite(v)]
    if not finite:
        return '<p class="note">No finite values to draw.</p>'
    n = max(len(values) for values in series.values())
    axes = _Axes((1, max(n, 2)), _limits(finite), 280, y_label, x_label)
    for tick in sorted({round(t) for t in ticks(1, max(n, 2), 8)} | {1}):
        if 1 <= tick <= max(n, 1) and (tick == 1 or tick - 1 > n / 16):
            axes.x_tick(tick, str(tick))
    for i, values in enumerate(series.values()):
        path, pen = [], "M"
        for x, value in enumerate(values, 1):
            if math.isfinite(value):
                path.append(f"{pen}{axes.to_x(x):.1f} {axes.to_y(value):.1f}")
                pen = "L"
            else:
                pen = "M"
        if len(values) == 1 and path:
            axes.parts.append(
                f'<circle class="dot s{i % 4}" cx="{axes.to_x(1):.1f}" cy="{axes.to_y(values[0]):.1f}" r="4"/>'
            )
        axes.parts.append(f'<path class="line s{i % 4}" d="{" ".join(path)}"/>')
    chart = svg("".join(axes.parts), 280, f"{y_label} by {x_label}: {', '.join(series)}")
    return chart + legend(list(series))


def legend(names: list[str]) -> str:
    """Names of the series with their colours."""
    keys = "".join(f'<li><i class="key s{i % 4}"></i>{escape(name)}</li>' for i, name in enumerate(names))
    return f'<ul class="legend">{keys}</ul>'


def fold_chart(scores: list[float], mean: float, interval: tuple[float, float], *, label: str) -> str:
    """A dot for each fold, the mean as a line and its interval as a band."""
    finite = [v for v in (*scores, mean, *interval) if math.isfinite(v)]
    if not finite:
        return '<p class="note">No fold has a finite score.</p>'
    axes = _Axes((0.5, len(scores) + 0.5), _limits(finite), 240, label, "fold")
    left, right = _LEFT, WIDTH - _RIGHT
    if all(math.isfinite(v) for v in interval):
        top, bottom = axes.to_y(interval[1]), axes.to_y(interval[0])
        size = f'width="{right - left}" height="{bottom - top:.1f}"'
        axes.parts.append(f'<rect class="band" x="{left}" y="{top:.1f}" {size}/>')
    if math.isfinite(mean):
        y_mean = axes.to_y(mean)
        axes.parts.append(f'<line class="line s0" x1="{left}" x2="{right}" y1="{y_mean:.1f}" y2="{y_mean:.1f}"/>')
    every = max(1, math.ceil(len(scores) / 20))
    for fold, score in enumerate(scores, 1):
        if fold % every == 0:
            axes.x_tick(fold, str(fold))
        if math.isfinite(score):
            axes.parts.append(
                f'<circle class="dot s1" cx="{axes.to_x(fold):.1f}" cy="{axes.to_y(score):.1f}" r="5">'
                f"<title>fold {fold}: {score:.4g}</title></circle>"
            )
    return svg("".join(axes.parts), 240, f"{label} of {len(scores)} folds, mean {mean:.4g}")


class FrontierPoint(NamedTuple):
    """A candidate: bytes or milliseconds, its drop on the search rows, and what the rows to certify on gave."""

    cost: float
    search_drop: float
    drop: float | None = None
    bound: float | None = None
    holds: bool = False


def frontier(points: Sequence[FrontierPoint], max_drop: float, *, x_label: str) -> str:
    """The drop of candidates by their cost, on a logarithmic axis; whiskers end at the bounds."""
    costs = [math.log10(point.cost) for point in points]
    drops = [v for p in points for v in (p.search_drop, p.drop, p.bound, max_drop) if v is not None]
    axes = _Axes(_limits(costs), _limits(drops), 280, "rise of the loss", x_label)
    low, high = (10.0**value for value in axes.x)
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)))
    values = [m * 10.0**power for power in powers for m in (1, 2, 5)]
    if sum(low <= value <= high for value in values) < 2:
        values = ticks(low, high)
    for value in values:
        if low <= value <= high:
            axes.x_tick(math.log10(value), _cost(value))
    limit = axes.to_y(max_drop)
    axes.parts.append(f'<line class="diagonal" x1="{_LEFT}" x2="{WIDTH - _RIGHT}" y1="{limit:.1f}" y2="{limit:.1f}"/>')
    places = [(axes.to_x(cost), point) for cost, point in zip(costs, points, strict=True)]
    path = " L".join(f"{x:.1f} {axes.to_y(point.search_drop):.1f}" for x, point in places)
    axes.parts.append(f'<path class="line s2 faint" d="M{path}"/>')
    for x, point in places:
        if point.drop is None or point.bound is None:
            continue
        color, y = "s1" if point.holds else "s3", axes.to_y(point.drop)
        axes.parts.append(
            f'<line class="whisker {color}" x1="{x:.1f}" x2="{x:.1f}" y1="{y:.1f}" y2="{axes.to_y(point.bound):.1f}"/>'
            f'<circle class="dot {color}" cx="{x:.1f}" cy="{y:.1f}" r="5">'
            f"<title>{_cost(point.cost)} {x_label}: {point.drop:.4f}, below {point.bound:.4f}</title></circle>"
        )
    chart = svg("".join(axes.parts), 280, f"rise of the loss by {x_label} of {len(points)} candidates")
    names = [("s2", "on the search rows"), ("s1", "certified, up to the bound"), ("s3", "refused")]
    keys = "".join(f'<li><i class="key {color}"></i>{name}</li>' for color, name in names)
    return f'{chart}<ul class="legend">{keys}</ul>'


def _cost(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.4g}"


def heat_map(matrix: Any, labels: Sequence[Any]) -> str:
    """Confusion matrix: the darker, the larger the share of its true class; the numbers are rows."""
    k = len(labels)
    cell = max(16.0, min(64.0, 480 / k))
    names = [_clipped(str(label), 200) for label in labels]
    shown = [_clipped(name, 12) for name in names]
    left = 36 + 10.5 * max(len(name) for name in shown)
    slanted = max(len(name) for name in shown) * 10.5 > cell
    top = 32 + (7 * max(len(name) for name in shown) if slanted else 14)
    size = min(17.0, cell * 0.42)
    parts = [
        f'<text class="axis" x="{left + cell * k / 2:.1f}" y="14" text-anchor="middle">predicted</text>',
        f'<text class="axis" x="14" y="{top + cell * k / 2:.1f}" text-anchor="middle" '
        f'transform="rotate(-90 14 {top + cell * k / 2:.1f})">true</text>',
    ]
    for i, name in enumerate(shown):
        middle = (i + 0.5) * cell
        x, y = left + middle, top - 8.0
        anchor = f' transform="rotate(-40 {x:.1f} {y:.1f})" text-anchor="start"' if slanted else ' text-anchor="middle"'
        parts.append(f'<text class="tick" x="{x:.1f}" y="{y:.1f}"{anchor}>{escape(name)}</text>')
        parts.append(
            f'<text class="tick" x="{left - 8:.1f}" y="{top + middle + 4:.1f}" text-anchor="end">{escape(name)}</text>'
        )
    for i in range(k):
        total = int(sum(matrix[i])) or 1
        for j in range(k):
            count = int(matrix[i][j])
            share = count / total
            x, y = left + j * cell, top + i * cell
            parts.append(
                f'<rect class="cell" x="{x:.1f}" y="{y:.1f}" width="{cell - 1.5:.1f}" '
                f'height="{cell - 1.5:.1f}" rx="2"/>'
            )
            if count:
                kind, strong = ("hit" if i == j else "miss"), (" strong" if share > 0.68 else "")
                parts.append(
                    f'<rect class="{kind}" fill-opacity="{0.12 + 0.88 * share:.3f}" x="{x:.1f}" y="{y:.1f}" '
                    f'width="{cell - 1.5:.1f}" height="{cell - 1.5:.1f}" rx="2">'
                    f"<title>{escape(names[i])} predicted as {escape(names[j])}: {count}</title></rect>"
                    f'<text class="count{strong}" font-size="{size:.1f}" x="{x + cell / 2 - 0.75:.1f}" '
                    f'y="{y + cell / 2 + size * 0.35:.1f}" text-anchor="middle">{count}</text>'
                )
    width, height = left + cell * k + 12 + (8 * len(shown[-1]) if slanted else 0), top + cell * k + 6
    return svg("".join(parts), height, f"confusion matrix of {k} classes", width)


def scatter(true: Any, predicted: Any) -> str:
    """Predicted against true values with the diagonal; at most 1,000 evenly chosen points."""
    every = max(1, math.ceil(len(true) / 1000))
    points = [(float(a), float(b)) for a, b in zip(true[::every], predicted[::every], strict=True)]
    limits = _limits([v for point in points for v in point])
    axes = _Axes(limits, limits, 360, "predicted", "true")
    for tick in ticks(*limits, 6):
        axes.x_tick(tick, f"{tick:.6g}")
    a, b = limits
    axes.parts.append(
        f'<line class="diagonal" x1="{axes.to_x(a):.1f}" y1="{axes.to_y(a):.1f}" '
        f'x2="{axes.to_x(b):.1f}" y2="{axes.to_y(b):.1f}"/>'
    )
    axes.parts += [
        f'<circle class="dot s0 faint" cx="{axes.to_x(x):.1f}" cy="{axes.to_y(y):.1f}" r="3"/>' for x, y in points
    ]
    return svg("".join(axes.parts), 360, f"predicted against true values of {len(true)} rows")


def reliability(bins: Sequence[Any]) -> str:
    """Accuracy against probability with the diagonal of a calibrated model; bars are the intervals."""
    axes = _Axes((0, 1), (-0.02, 1.04), 300, "accuracy", "probability of the predicted class")
    for tick in (0, 0.2, 0.4, 0.6, 0.8, 1):
        axes.x_tick(tick, f"{tick:g}")
    a, b = axes.to_x(0), axes.to_x(1)
    axes.parts.append(f'<line class="diagonal" x1="{a}" x2="{b}" y1="{axes.to_y(0):.1f}" y2="{axes.to_y(1):.1f}"/>')
    for calibration_bin in bins:
        accuracy, probability = calibration_bin.accuracy, calibration_bin.mean_probability
        x, low, high = axes.to_x(probability), axes.to_y(accuracy.low), axes.to_y(accuracy.high)
        if math.isfinite(low) and math.isfinite(high):
            axes.parts.append(f'<line class="whisker s0" x1="{x:.1f}" x2="{x:.1f}" y1="{low:.1f}" y2="{high:.1f}"/>')
        axes.parts.append(
            f'<circle class="dot s0" cx="{x:.1f}" cy="{axes.to_y(accuracy.value):.1f}" r="5">'
            f"<title>{calibration_bin.count} rows: probability {probability:.3g}, accuracy {accuracy.value:.3g}</title>"
            f"</circle>"
        )
    return svg("".join(axes.parts), 300, "calibration: accuracy by probability")

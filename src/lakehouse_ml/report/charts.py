"""The pictures of a report, drawn by matplotlib as SVG that follows the reader's light or dark setting."""

from __future__ import annotations

import io
import itertools
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Moments = NDArray[np.datetime64]

# Colours are drawn as these marks and become variables: name, mark, on light paper, on dark paper.
_INK, _SOFT, _GRID, _FIRST, _SECOND, _ALARM = "#010203", "#040506", "#070809", "#0a0b0c", "#0d0e0f", "#101112"
_COLOURS = {
    _INK: ("ink", "#1b2430", "#e7ebf0"),
    _SOFT: ("soft", "#5a6675", "#a3afbd"),
    _GRID: ("grid", "#d9dde3", "#343c47"),
    _FIRST: ("first", "#1f5fbf", "#7fb0ff"),
    _SECOND: ("second", "#c2570c", "#ffb06b"),
    _ALARM: ("alarm", "#b3261e", "#ff8f87"),
}
_STYLE: Any = {
    "svg.fonttype": "none", "svg.hashsalt": "lakehouse-ml", "text.parse_math": False, "font.size": 10,
    "text.color": _INK, "axes.labelcolor": _INK, "axes.edgecolor": _SOFT, "xtick.color": _SOFT, "ytick.color": _SOFT,
    "xtick.labelcolor": _INK, "ytick.labelcolor": _INK, "grid.color": _GRID, "axes.grid": True, "axes.axisbelow": True,
    "axes.spines.top": False, "axes.spines.right": False, "figure.facecolor": "none", "axes.facecolor": "none",
    "savefig.facecolor": "none", "legend.frameon": False, "axes.titlesize": 11, "axes.titleweight": "bold",
    "axes.titlelocation": "left", "date.converter": "concise",
}  # fmt: skip
_POINTS = 200


def render_svg(draw: Callable[[Axes], None], width: float = 6.0, height: float = 4.0) -> str:
    """A picture of `width` by `height` inches, as SVG text: the same drawing gives the same text.

    Args:
        draw: Draws into the axes that it is given.
        width: Of the picture.
        height: Of the picture.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        draw(figure.subplots())
        text = io.StringIO()
        figure.savefig(text, format="svg", metadata={"Date": None, "Creator": None})
    return _add_theme(text.getvalue())


def ranked_bars(names: Sequence[str], values: Sequence[float], label: str) -> str:
    """Horizontal bars, the first on top."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(names))[::-1]
        axes.barh(places, values, color=_FIRST, height=0.7)
        axes.set_yticks(places, names)
        axes.grid(visible=False, axis="y")
        axes.set_xlabel(label)

    return render_svg(draw, height=1.0 + 0.28 * max(len(names), 2))


def levels(
    names: Sequence[str], values: Sequence[float], marks: Mapping[str, float], label: str, calm: Sequence[bool] = ()
) -> str:
    """Horizontal bars beside named levels; those that reach the highest level stand out, unless they are `calm`."""

    def draw(axes: Axes) -> None:
        places = np.arange(len(names))[::-1]
        highest = max(marks.values())
        colours = [_ALARM if value >= highest else _FIRST for value in values]
        colours = [
            _SOFT if quiet else colour for colour, quiet in zip(colours, calm or [False] * len(names), strict=True)
        ]
        axes.barh(places, values, color=colours, height=0.7)
        axes.set_yticks(places, names)
        axes.grid(visible=False, axis="y")
        # Side by side they would cover each other, where a bar is several times as long: each has a row of its own.
        crowded = max(values) > 3 * highest
        top = len(names) - 0.45
        for row, (name, level) in enumerate(sorted(marks.items(), key=lambda mark: -mark[1])):
            end = top + 0.75 * (row if crowded else 0)
            axes.vlines(level, -0.9, end + (0.65 if crowded else 0), color=_SOFT, linestyle="--", linewidth=1)
            axes.annotate(
                f"{name} {level:g}",
                (level, end),
                (3 if crowded else 0, 0),
                textcoords="offset points",
                color=_SOFT,
                fontsize=9,
                va="bottom",
                ha="left" if crowded else "center",
            )
        axes.set_ylim(-0.9, top + (1.6 if crowded else 0.7))
        axes.set_xlim(0, max(*values, highest) * 1.15)
        axes.set_xlabel(label)

    return render_svg(draw, height=1.3 + 0.28 * max(len(names), 2))


def curves(
    lines: Mapping[str, tuple[Floats, Floats]],
    x: str,
    y: str,
    *,
    diagonal: bool = False,
    mark: float | None = None,
    unit_y: bool = True,
    x_to: float = 1.0,
) -> str:
    """Lines by name over a common x from 0 to 1.

    Args:
        lines: x and y of each line; the first stands out.
        x: Label of the axis.
        y: Label of the axis.
        diagonal: Whether to draw what a guess would reach.
        mark: An x that a vertical line marks as the threshold.
        unit_y: Whether y runs from 0 to 1.
        x_to: Where x ends; what lies beyond isn't drawn.
    """

    def draw(axes: Axes) -> None:
        for (name, (xs, ys)), (colour, stroke) in zip(lines.items(), _strokes(), strict=False):
            near = xs <= x_to
            axes.plot(*_thin(xs[near], ys[near]), color=colour, linestyle=stroke, linewidth=2, label=name)
        if diagonal:
            axes.plot([0, 1], [0, 1], color=_SOFT, linestyle=":", linewidth=1, label="guessing")
        if mark is not None:
            axes.axvline(mark, color=_SOFT, linestyle="--", linewidth=1, label=f"threshold {mark:.2f}")
        axes.set_xlim(0, x_to)
        if unit_y:
            axes.set_ylim(0, 1.02)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.legend(fontsize=9)

    return render_svg(draw)


def calibration(lines: Mapping[str, tuple[Floats, Floats, Floats, Floats]], x: str, y: str) -> str:
    """Observed against predicted shares by bin, with intervals (lower and upper bound of y)."""

    def draw(axes: Axes) -> None:
        axes.plot([0, 1], [0, 1], color=_SOFT, linestyle=":", linewidth=1, label="as promised")
        for (name, (xs, ys, low, high)), (colour, stroke) in zip(lines.items(), _strokes(), strict=False):
            axes.errorbar(
                xs,
                ys,
                yerr=np.maximum(0, np.vstack([ys - low, high - ys])),
                color=colour,
                linestyle=stroke,
                marker="o",
                markersize=5,
                capsize=3,
                label=name,
            )
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.02)
        axes.set_xlabel(x)
        axes.set_ylabel(y)
        axes.legend(fontsize=9)

    return render_svg(draw)


def two_histograms(groups: Mapping[str, Floats], mark: float, x: str) -> str:
    """How two groups' probabilities are spread, as shares of each group."""

    def draw(axes: Axes) -> None:
        edges = np.linspace(0, 1, 21)
        for (name, values), (colour, _) in zip(groups.items(), _strokes(), strict=False):
            weights = np.full(len(values), 1 / max(1, len(values)))
            axes.hist(values, edges.tolist(), weights=weights, color=colour, alpha=0.55, label=name)
        axes.axvline(mark, color=_SOFT, linestyle="--", linewidth=1, label=f"threshold {mark:.2f}")
        axes.set_xlim(0, 1)
        axes.set_xlabel(x)
        axes.set_ylabel("share of the group")
        # On the side of the threshold where its line doesn't run through the words, and off the bar at 0.
        if mark <= 0.5:
            axes.legend(fontsize=9, loc="upper right")
        else:
            axes.legend(fontsize=9, loc="upper left", bbox_to_anchor=(0.06, 1.0))

    return render_svg(draw)


def over_time(parts: Mapping[str, tuple[Sequence[date], Mapping[str, Floats]]], x: str) -> str:
    """Lines by name over days, from 0 to 1, each part (a model version) with lines and marks of its own.

    A line is broken where a value is NaN, and where days lie further apart than they usually do.
    """

    def draw(axes: Axes) -> None:
        usual = _usual_step([day for days, _ in parts.values() for day in days])
        for (version, (days, lines)), mark in zip(parts.items(), itertools.cycle("osD^v"), strict=False):
            for (name, values), (colour, stroke) in zip(lines.items(), _strokes(), strict=False):
                label = name if len(parts) == 1 else f"{name}, version {version}"
                axes.plot(
                    *_break_gaps(days, values, usual),
                    color=colour,
                    linestyle=stroke,
                    linewidth=2,
                    marker=mark,
                    markersize=5,
                    label=label,
                )
        axes.set_ylim(-0.02, 1.04)
        axes.set_xlabel(x)
        axes.set_ylabel("precision, recall, F1")
        axes.xaxis_date()
        axes.legend(fontsize=9, ncols=len(parts))

    return render_svg(draw, width=8.0)


def course(
    lines: Mapping[str, tuple[Moments, Floats]], events: Sequence[tuple[np.datetime64, str]], mark: float, y: str
) -> str:
    """Lines by name over time, from 0 to 1, and what happened meanwhile.

    Args:
        lines: Moments (UTC) and values of each; of more than four lines the others aren't drawn.
        events: Moments and what happened then.
        mark: A value that a horizontal line marks as the threshold.
        y: Label of the axis.
    """

    def draw(axes: Axes) -> None:
        strokes = [*_strokes(), (_SOFT, ":")]
        for (name, (at, values)), (colour, stroke) in zip(lines.items(), strokes, strict=False):
            axes.plot(_days(at), values, color=colour, linestyle=stroke, linewidth=2, label=name)
        axes.axhline(mark, color=_SOFT, linestyle="--", linewidth=1, label=f"threshold {mark:.2f}")
        for moment in sorted({event_at for event_at, _ in events}):
            (event_at,) = _days(np.array([moment]))
            axes.axvline(event_at, color=_ALARM, linewidth=1)
            names = ", ".join(what for at, what in events if at == moment)
            axes.text(event_at, 1.03, names, color=_ALARM, fontsize=9, va="bottom", ha="center")
        axes.set_ylim(-0.02, 1.02)
        axes.set_ylabel(y)
        axes.xaxis_date()
        axes.legend(fontsize=9, loc="upper center", bbox_to_anchor=(0.5, -0.12), ncols=5)

    return render_svg(draw, width=9.0, height=3.5)


def _days(at: Moments) -> Floats:
    """Days since 1970."""
    return at.astype("datetime64[s]").astype(np.float64) / 86_400


def _usual_step(days: Sequence[date]) -> float:
    """Days from one to the next, as half of them lie."""
    steps = np.diff(np.array(sorted(set(days)), dtype="datetime64[D]")).astype(float)
    return float(np.median(steps)) if len(steps) else 1.0


def _break_gaps(days: Sequence[date], values: Floats, usual: float) -> tuple[Floats, Floats]:
    """Days since 1970 and values, with a NaN between two that lie more than one and a half usual steps apart."""
    at = np.array(days, dtype="datetime64[D]").astype(float)
    gaps = np.flatnonzero(np.diff(at) > 1.5 * usual) + 1
    return np.insert(at, gaps, at[gaps] - 0.5), np.insert(values, gaps, np.nan)


def _strokes() -> Iterator[tuple[str, str]]:
    """Colours that differ in stroke as well, for those who can't tell them apart."""
    yield _FIRST, "-"
    yield _SECOND, "--"
    yield _INK, "-."


def _thin(xs: Floats, ys: Floats) -> tuple[Floats, Floats]:
    """At most so many points that a person could see, the first and the last among them."""
    if len(xs) <= _POINTS:
        return xs, ys
    # Evenly along the line: where outcomes are rare, evenly by number would leave a single point of its bend.
    way = np.concatenate([[0.0], np.cumsum(np.abs(np.diff(xs)) + np.abs(np.diff(ys)))])
    kept = np.unique(np.append(np.searchsorted(way, np.linspace(0, way[-1], _POINTS - 1)), len(xs) - 1))
    return xs[kept], ys[kept]


def _add_theme(svg: str) -> str:
    """The marks as variables with a value for light and for dark, and the reader's own font."""
    for mark, (name, _, _) in _COLOURS.items():
        svg = svg.replace(mark, f"var(--{name})")
    svg = re.sub(r"font: ([^;'\"]*?[\d.]+px) [^;\"]+", r"font: \1 system-ui, sans-serif", svg)
    light, dark = (" ".join(f"--{name}: {shades[n]};" for name, *shades in _COLOURS.values()) for n in (0, 1))
    style = f"<style>:root {{ {light} }} @media (prefers-color-scheme: dark) {{ :root {{ {dark} }} }}</style>"
    return re.sub(r"(<svg [^>]*>)", lambda match: match.group(1) + style, svg, count=1)

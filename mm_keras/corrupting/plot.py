"""Robustness as a figure."""

import numpy as np
from matplotlib.figure import Figure

from mm_keras.explanation.plot import readable

# Okabe and Ito's colours, which are told apart without red and green; each line has a mark of its own too.
LINES = (
    ("#0072B2", "o", "\N{BLACK CIRCLE}"),
    ("#D55E00", "D", "\N{BLACK DIAMOND}"),
    ("#009E73", "s", "\N{BLACK SQUARE}"),
)
MOST_COLUMNS = 3


def plot_robustness(found):
    """Draws a panel for each input: a line a corruption with its interval, and the score without the input, dashed.

    The steps of severity are on the axis, and under it what they are of each corruption, in its own unit.

    Args:
        found: A `Robustness`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    names = list(found.curves)
    columns = min(len(names), MOST_COLUMNS)
    rows = -(-len(names) // columns)
    figure = Figure(figsize=(max(4.6 * columns, 5.2), 3.9 * rows + 0.4), layout="constrained")
    figure.suptitle(readable(f"{found.task}: {found.measure} as one input gets worse"), parse_math=False, fontsize=11)
    panels = figure.subplots(rows, columns, sharey=True, squeeze=False)
    for axes, name in zip(panels.flat, names, strict=False):
        _plot_input(axes, found, name)
    for axes in panels.flat[len(names) :]:
        axes.set_axis_off()
    less = ", less is better" if found.measure == "mae" else ""
    for axes in panels[:, 0]:
        axes.set_ylabel(f"{found.measure}{less}", fontsize=9)
    return figure


def _plot_input(axes, found, name):
    gone, curves = found.missing[name], found.curves[name]
    steps = max([len(c["points"]) for c in curves.values()], default=0)
    axes.axhline(gone["value"], color="0.25", linewidth=1.2, linestyle="--", label=f"no {readable(name)}")
    axes.axhspan(gone["low"], gone["high"], color="0.5", alpha=0.12, linewidth=0)
    for line, (corruption, curve) in enumerate(curves.items()):
        colour, mark, sign = LINES[line % len(LINES)]
        at = np.arange(steps + 1) + 0.08 * (line - (len(curves) - 1) / 2)  # side by side, so that intervals are seen
        _plot_line(axes, at, [found.clean, *curve["points"]], colour, mark)
        _write_units(axes, line, f"{sign} {corruption}, {curve['unit']}", curve["written"], colour)
    if not curves:
        _plot_line(axes, [0], [found.clean], *LINES[0][:2])
    axes.set_xticks(range(steps + 1), ["clean", *map(str, range(1, steps + 1))], fontsize=9)
    axes.set_xlim(-0.4, steps + 0.4)
    axes.set_title(readable(name), parse_math=False, fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="best")
    axes.spines[["top", "right"]].set_visible(False)
    axes.grid(axis="y", color="0.9")
    axes.set_axisbelow(True)


def _plot_line(axes, at, points, colour, mark):
    values = np.array([[p[k] for k in ("value", "low", "high")] for p in points])
    reach = np.abs(values[:, 1:].T - values[:, 0])
    style = {"markersize": 5, "linewidth": 1.4, "elinewidth": 0.9, "capsize": 2}
    axes.errorbar(at, values[:, 0], yerr=reach, color=colour, marker=mark, **style)


def _write_units(axes, line, label, written, colour):
    """Writes one corruption's severities under the ticks, and above them what they are."""
    under = {"xycoords": axes.get_xaxis_transform(), "textcoords": "offset points", "va": "top", "fontsize": 8}
    top = -22 - 24 * line  # points, whatever the height of the panel
    axes.annotate(label, (-0.4, 0), (0, top), ha="left", color=colour, parse_math=False, **under)
    for step, text in enumerate(written, 1):
        axes.annotate(text, (step, 0), (0, top - 11), ha="center", color=colour, parse_math=False, **under)

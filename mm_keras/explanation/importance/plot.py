"""Importance as a figure."""

import numpy as np
from matplotlib.figure import Figure

from mm_keras.explanation.plot import COLOURS, readable

NEUTRAL = "#5b5e68"


def plot_importance(found):
    """Draws the inputs' shares, what each adds to the measure, their shares by class, and what pairs add.

    Args:
        found: An `Importance`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    names = list(found.inputs)
    parts = [_plot_shares]
    parts += [_plot_performance] if found.measured else []
    parts += [_plot_classes] if found.by_class else []
    parts += [_plot_pairs] if found.interactions else []
    tall = max(len(names), len(found.by_class)) * 0.4 + 1.4
    figure = Figure(figsize=(3.8 * len(parts), max(tall, 2.8)), layout="constrained")
    figure.suptitle(readable(f"{found.task}: what {found.n} rows rely on"), parse_math=False)
    for i, part in enumerate(parts):
        part(figure.add_subplot(1, len(parts), i + 1), found, names)
    return figure


def _bars(axes, names, intervals, colours):
    values = np.array([v["value"] for v in intervals])
    reach = np.abs(np.array([[v["low"], v["high"]] for v in intervals]).T - values)
    axes.barh(range(len(names)), values, color=colours, xerr=reach, ecolor="0.25", capsize=3)
    axes.set_yticks(range(len(names)), [readable(n) for n in names], parse_math=False, fontsize=9)
    axes.invert_yaxis()
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _plot_shares(axes, found, names):
    _bars(axes, names, [found.inputs[n]["share"] for n in names], NEUTRAL)
    axes.set_xlim(0, None)
    axes.set_title("share of the answer", fontsize=10)


def _plot_performance(axes, found, names):
    intervals = [found.inputs[n]["performance"] for n in names]
    helps = [(v["value"] >= 0) == (found.measure == "accuracy") for v in intervals]
    _bars(axes, names, intervals, [COLOURS[h] for h in helps])
    axes.set_title(f"{found.measure}: {found.measured['none']:.3g} to {found.measured['all']:.3g}", fontsize=10)


def _plot_classes(axes, found, names):
    values = np.array([[e["inputs"][n]["share"]["value"] for n in names] for e in found.by_class.values()])
    _matrix(axes, values, names, list(found.by_class), cmap="cividis", vmin=0, vmax=1)
    axes.set_title("share, by predicted class", fontsize=10)


def _plot_pairs(axes, found, names):
    values = np.full((len(names), len(names)), np.nan)
    for (a, b), entry in found.interactions.items():
        i, j = names.index(a), names.index(b)
        values[i, j] = values[j, i] = entry["value"]["value"]
    top = np.nanmax(np.abs(values)) or 1.0
    _matrix(axes, values, names, names, cmap="coolwarm", vmin=-top, vmax=top)
    axes.set_title("what pairs add together", fontsize=10)


def _matrix(axes, values, columns, rows, **style):
    picture = axes.imshow(values, aspect="auto", **style)
    axes.set_xticks(range(len(columns)), [readable(n) for n in columns], parse_math=False, fontsize=9, rotation=30)
    axes.set_yticks(range(len(rows)), [readable(n) for n in rows], parse_math=False, fontsize=9)
    if values.size > 100:
        return
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            red, green, blue, _ = picture.to_rgba(value)
            dark = 0.3 * red + 0.59 * green + 0.11 * blue < 0.5
            axes.text(j, i, f"{value:.2g}", ha="center", va="center", fontsize=8, color="white" if dark else "black")

"""The quality of explanations as a figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mm_keras.explanation.plot import readable

# Okabe and Ito 2008, Color universal design: told apart with any colour vision. The random map is grey and dashed.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#b8a800")
RANDOM = {"color": "0.55", "linestyle": "--"}
WORDS = {"deletion": "parts taken away", "insertion": "parts put back"}


def plot_quality(quality):
    """Draws, for each input, the output as its parts are taken away and put back, and the measures as bars.

    Args:
        quality: A `Quality`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    methods, names = list(quality.scores), list(next(iter(quality.scores.values())))
    styles = {m: {"color": COLOURS[i % len(COLOURS)]} for i, m in enumerate(methods)}
    styles["random"] = RANDOM
    measured = {k for by_input in quality.scores.values() for entry in by_input.values() for k in entry}
    bars = [k for k in ("sensitivity", "pointing", "mass") if k in measured]
    figure = Figure(figsize=(max(3.0 * len(names), 5), 2.4 * (2 + bool(bars)) + 0.8), layout="constrained")
    figure.suptitle(readable(f"{quality.task}: {quality.n} rows explained"), parse_math=False)
    grid = figure.subplots(2 + bool(bars), len(names), squeeze=False)
    for at, name in enumerate(names):
        for row, kind in enumerate(WORDS):
            _plot_curves(grid[row, at], quality, name, kind, styles)
        if bars:
            _plot_bars(grid[2, at], quality, name, bars, styles)
        grid[0, at].set_title(readable(name), parse_math=False, fontsize=10)
        for row in range(grid.shape[0]):
            grid[row, at].spines[["top", "right"]].set_visible(False)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=min(len(methods), 5), frameon=False, fontsize=9)
    return figure


def _plot_curves(axes, quality, name, kind, styles):
    for method, style in styles.items():
        curve = quality.curves[method][name][kind]
        axes.plot(np.linspace(0, 1, len(curve)), curve, label=method, linewidth=1.4, **style)
    axes.axhline(0, color="0.4", linewidth=0.6)
    axes.xaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xlabel(WORDS[kind], fontsize=8)
    axes.tick_params(labelsize=8)


def _plot_bars(axes, quality, name, bars, styles):
    width = 0.8 / len(styles)
    for i, (method, style) in enumerate(styles.items()):
        values = [quality.scores[method][name].get(k, {}).get("value", 0.0) for k in bars]
        at = np.arange(len(bars)) - 0.4 + (i + 0.5) * width
        axes.bar(at, values, width, color=style["color"], hatch="///" if method == "random" else None)
    axes.axhline(0, color="0.4", linewidth=0.6)
    axes.set_xticks(range(len(bars)), bars, fontsize=8)
    axes.set_ylim(min(0, axes.get_ylim()[0]), 1.05)
    axes.tick_params(labelsize=8)

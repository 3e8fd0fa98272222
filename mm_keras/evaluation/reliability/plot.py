"""Reliability as a figure."""

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from mm_keras.errors import DataError

# Okabe and Ito 2008, Color universal design: told apart with any colour vision.
BLUE, ORANGE, GREY = "#0072b2", "#d55e00", "0.45"
WORDS = {"before": "temperature 1", "after": "calibrated"}


def plot_reliability(found):
    """Draws, for each classification, accuracy by confidence before and after, and accuracy by coverage.

    Args:
        found: A `Reliability`.

    Returns:
        A `matplotlib.figure.Figure`.

    Raises:
        DataError: When there is no classification.
    """
    if not found.classes:
        raise DataError("there is no classification whose reliability could be drawn.")
    figure = Figure(figsize=(11.5, 4.4 * len(found.classes)), layout="constrained")
    parts = np.atleast_1d(figure.subfigures(len(found.classes), 1))
    for part, (task, own) in zip(parts, found.classes.items(), strict=True):
        part.suptitle(f"{task}: {own['n']} rows, temperature {own['temperature']:.2f}", parse_math=False)
        places = [[*WORDS, "coverage"], [f"{when}, rows" for when in WORDS] + ["coverage"]]
        grid = part.subplot_mosaic(places, height_ratios=(4, 1))
        for when in WORDS:
            _plot_bins(grid[when], grid[f"{when}, rows"], own, when)
        _plot_coverage(grid["coverage"], own)
    return figure


def _plot_bins(top, bottom, own, when):
    bins, ece = own["bins"][when], own[when]["ece"]
    middle = np.array([(b["low"] + b["high"]) / 2 for b in bins])
    width = bins[0]["high"] - bins[0]["low"]
    values = np.array([b["accuracy"]["value"] for b in bins])
    ends = np.array([[b["accuracy"][k] for b in bins] for k in ("low", "high")])
    reach = np.abs(ends - values)
    top.bar(middle, values, 0.92 * width, color=BLUE, alpha=0.75, label="right")
    top.errorbar(middle, values, yerr=reach, fmt="none", ecolor="0.15", capsize=2, linewidth=1)
    top.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1, label="right as often as it says")
    top.plot([b["confidence"] for b in bins], [b["confidence"] for b in bins], "D", color=ORANGE, markersize=4,
             markeredgecolor="white", markeredgewidth=0.5, label="what it says")  # fmt: skip
    top.set(xlim=(0, 1), ylim=(0, 1.03), ylabel="accuracy")
    top.set_title(f"{WORDS[when]}: ECE {ece['value']:.3f} [{ece['low']:.3f}, {ece['high']:.3f}]", fontsize=10)
    if when == "before":
        top.legend(fontsize=8, frameon=False, loc="upper left")
    bottom.bar(middle, [b["n"] / own["n"] for b in bins], 0.92 * width, color="0.6")
    bottom.set(xlim=(0, 1), xlabel="confidence", ylabel="rows")
    bottom.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    for axes in (top, bottom):
        axes.spines[["top", "right"]].set_visible(False)


def _plot_coverage(axes, own):
    curve = own["risk"]
    axes.plot(curve["coverage"], curve["accuracy"], color=BLUE, linewidth=1.6)
    if chosen := own.get("abstention"):
        axes.axhline(chosen["wished"], linestyle="--", color=GREY, linewidth=1)
        if chosen["accuracy"] is not None:
            label = f"from {chosen['threshold']:.3f} on: {chosen['accuracy']:.1%} of {chosen['coverage']:.0%}"
            axes.plot(chosen["coverage"], chosen["accuracy"], "o", color=ORANGE, label=label)
            axes.legend(fontsize=8, frameon=False, loc="lower left")
    axes.set(xlim=(0, 1.02), xlabel="rows answered, the surest first", ylabel="accuracy of the answers")
    low = min([*curve["accuracy"], chosen["wished"] if chosen else 1.0])
    axes.set_ylim(max(low - 0.25 * (1 - low) - 0.01, 0), 1.005)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1))
    axes.set_title(f"abstaining: AURC {own['aurc']:.3f}", fontsize=10)
    axes.spines[["top", "right"]].set_visible(False)

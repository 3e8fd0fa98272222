"""A comparison as a figure."""

import numpy as np
from matplotlib.figure import Figure

from mm_keras.explanation.plot import readable

# Okabe and Ito's colours, which are told apart without red and green; each role has a mark of its own too.
ROLES = {
    "alone": ("#0072B2", "o", "one input alone"),
    "fusion": ("#D55E00", "D", "all inputs, fused"),
    "ensemble": ("#009E73", "s", "ensemble of the inputs alone"),
    "without": ("#7f7f7f", "^", "without an input"),
}


def plot_comparison(found):
    """Draws every candidate's score with its interval, the best first, and what each input adds.

    Args:
        found: A `Comparison`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    lines = found.lines.sort_values("value", ascending=found.measure == "mae", kind="stable")
    parts = [_plot_scores] + ([_plot_adds] if found.adds else [])
    tall = 0.34 * max(len(lines), len(found.adds)) + 1.9
    ratios = [2.2, 1][: len(parts)]
    figure = Figure(figsize=(5.2 * sum(ratios) / 1.6, max(tall, 3.0)), layout="constrained")
    figure.suptitle(readable(found.sentences[0]), parse_math=False, fontsize=10, x=0.01, ha="left")
    for axes, part in zip(np.atleast_1d(figure.subplots(1, len(parts), width_ratios=ratios)), parts, strict=True):
        part(axes, found, lines)
        axes.invert_yaxis()
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.grid(axis="x", color="0.9")
        axes.set_axisbelow(True)
    return figure


def _plot_scores(axes, found, lines):
    for role, (colour, mark, label) in ROLES.items():
        at = np.flatnonzero(lines["role"] == role)
        if len(at):
            own = lines.iloc[at]
            reach = np.abs(own[["low", "high"]].to_numpy().T - own["value"].to_numpy())
            axes.errorbar(own["value"], at, xerr=reach, color=colour, fmt=mark, capsize=3, markersize=6, label=label)
    axes.set_yticks(range(len(lines)), [readable(n) for n in lines.index], parse_math=False, fontsize=9)
    if found.single:
        axes.axvline(lines.loc[found.single, "value"], color=ROLES["alone"][0], linewidth=0.8, linestyle="--")
    less = ", less is better" if found.measure == "mae" else ""
    axes.set_xlabel(f"{found.measure} on {found.n} rows{less}", fontsize=9)
    axes.legend(fontsize=8, frameon=False, loc="best")


def _plot_adds(axes, found, lines):
    names = list(found.adds)
    scale = 100 if found.measure == "accuracy" else 1
    gains = scale * np.array([[found.adds[n][k] for k in ("value", "low", "high")] for n in names])
    reach = np.abs(gains[:, 1:].T - gains[:, 0])
    axes.barh(range(len(names)), gains[:, 0], 0.5, color="#9aa0ad", xerr=reach, ecolor="0.25", capsize=3)
    axes.set_ylim(-0.5 - 0.25 * len(names), len(names) - 0.5 + 0.25 * len(names))
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.set_yticks(range(len(names)), [readable(n) for n in names], parse_math=False, fontsize=9)
    axes.set_title("what it adds to the others", fontsize=9)
    axes.set_xlabel("points" if found.measure == "accuracy" else f"{found.measure} less", fontsize=9)

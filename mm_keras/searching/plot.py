"""A search as a figure."""

import numpy as np
from matplotlib.figure import Figure

from mm_keras.explanation.plot import readable

# Okabe and Ito's colours, which are told apart without red and green; each has a mark of its own too.
STATES = {
    "finished": ("#0072B2", "o", "finished"),
    "behind": ("#7f7f7f", "v", "stopped early, score of its last epoch"),
    "failed": ("#000000", "x", "failed"),
}
BEST, GIVEN = "#D55E00", "#009E73"
FEW = "It takes eight finished trials\nto tell which fields matter."


def plot_search(found):
    """Draws the score by trial with the best so far, and the importance of the fields.

    Args:
        found: A `Search`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    tall = max(4.2, 0.3 * len(found.importance) + 1.6)
    figure = Figure(figsize=(9.6, tall), layout="constrained")
    figure.suptitle(readable(found.sentences[0]), parse_math=False, fontsize=10, x=0.01, ha="left")
    trials, fields = figure.subplots(1, 2, width_ratios=[1.7, 1])
    _plot_trials(trials, found)
    _plot_fields(fields, found)
    for axes in (trials, fields):
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_axisbelow(True)
    return figure


def _plot_trials(axes, found):
    lines = found.trials
    known = lines["score"][lines["state"] != "failed"].to_numpy(float)
    floor = known.min() - 0.08 * max(np.ptp(known), 0.01)
    for state, (colour, mark, label) in STATES.items():
        own = lines[lines["state"] == state]
        if len(own):
            heights = np.full(len(own), floor) if state == "failed" else own["score"]
            axes.plot(own.index, heights, mark, color=colour, markersize=6, label=label)
    best = lines["score"].where(lines["state"] == "finished").cummax().ffill()
    axes.step(best.index, best, where="post", color=BEST, linewidth=1.4, label="best so far")
    axes.plot([found.number], [lines["score"][found.number]], "*", color=BEST, markersize=15, zorder=3)
    if "given" in found.scores:
        label = "the recipe as given (trial 0)"
        given = found.scores["given"]["score"]["value"]
        axes.axhline(given, color=GIVEN, linestyle="--", linewidth=1, label=label, zorder=0)
    axes.set_xlabel("trial", fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_ylabel("accuracy" if found.is_accuracy else "score, mean over tasks", fontsize=9)
    axes.grid(axis="y", color="0.9")
    axes.figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=3)


def _plot_fields(axes, found):
    if not found.importance:
        axes.text(0.5, 0.5, FEW, ha="center", va="center", fontsize=9, color="0.35", transform=axes.transAxes)
        axes.set_axis_off()
        return
    names = list(found.importance)
    axes.barh(range(len(names)), [found.importance[n] for n in names], 0.55, color="#56B4E9")
    axes.set_yticks(range(len(names)), [readable(n) for n in names], parse_math=False, fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("share of the score's variance", fontsize=9)
    axes.set_title("which fields the score depended on", fontsize=9)
    axes.grid(axis="x", color="0.9")

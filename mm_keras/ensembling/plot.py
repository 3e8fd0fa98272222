"""An ensemble as a figure."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

# Okabe and Ito's colours, which are told apart without red and green; each has a mark of its own too.
SPLITS = {"": ("#0072B2", "o", "validation rows"), "test_": ("#D55E00", "D", "test rows")}
MEMBERS = ("#4d4d4d", "x", "each member, validation rows")


def plot_ensemble(found):
    """Draws the score of every kind with its interval, on validation and on test rows, and each member's.

    Args:
        found: An `Ensemble`.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    lines = found.lines.sort_values("score", ascending=False, kind="stable")
    figure = Figure(figsize=(7.6, 0.5 * len(lines) + 2.0), layout="constrained")
    title = textwrap.fill(found.sentences[0], 100)
    figure.suptitle(title, fontsize=10, x=0.01, ha="left", parse_math=False)
    axes, places = figure.subplots(), np.arange(len(lines))
    for shift, (before, (colour, mark, label)) in zip((-0.13, 0.13), SPLITS.items(), strict=True):
        if f"{before}score" in lines:
            own = lines[[f"{before}score{end}" for end in ("", "_low", "_high")]].to_numpy().T
            reach = np.abs(own[1:] - own[0])
            axes.errorbar(own[0], places + shift, xerr=reach, color=colour, fmt=mark, capsize=3, label=label)
    colour, mark, label = MEMBERS
    scores = found.members["validation"]
    axes.plot(scores, np.full(len(scores), lines.index.get_loc("member")) - 0.35, mark, color=colour, label=label)
    models = [f"{kind} ({n} network{'s' if n > 1 else ''})" for kind, n in lines["models"].items()]
    axes.set_yticks(places, models, fontsize=9)
    axes.invert_yaxis()
    one_class = list(found.measures.values()) == ["accuracy"]
    axes.set_xlabel("accuracy" if one_class else "score: mean over tasks, more is better", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="0.9")
    axes.set_axisbelow(True)
    figure.legend(fontsize=8, frameon=False, loc="outside lower center", ncols=3)
    return figure

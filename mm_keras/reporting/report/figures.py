"""The pictures of a report that belong to no other result."""

import numpy as np
from matplotlib.figure import Figure

from mm_keras.explanation.plot import readable

# Okabe and Ito's, which are told apart without red and green.
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#7f7f7f"
MOST_CLASSES = 40


def plot_curves(history, best_epoch):
    """Draws the loss of training and validation by epoch, and each headline metric that is there.

    Args:
        history: The run's `history.csv`, a DataFrame.
        best_epoch: Whose weights were kept, from 0.
    """
    metrics = [c for c in history.columns if f"val_{c}" in history.columns and c != "loss"]
    # Losses of single tasks and heads crowd the page; their sum is drawn.
    metrics = ["loss", *(m for m in metrics if not m.endswith("_loss"))][:4]
    figure = Figure(figsize=(4.2 * len(metrics), 3.0), layout="constrained")
    for axes, metric in zip(np.atleast_1d(figure.subplots(1, len(metrics))), metrics, strict=True):
        axes.plot(history["epoch"], history[metric], color=BLUE, label="training")
        if f"val_{metric}" in history:
            axes.plot(history["epoch"], history[f"val_{metric}"], color=ORANGE, label="validation", linestyle="--")
        axes.axvline(best_epoch + 1, color=GREY, linewidth=0.8, linestyle=":", label="kept")
        axes.set_title(readable(metric.replace("_", " ")), fontsize=10, parse_math=False)
        axes.set_xlabel("epoch", fontsize=9)
        axes.spines[["top", "right"]].set_visible(False)
    figure.axes[0].legend(fontsize=8, frameon=False)
    return figure


def plot_confusion(counts, classes):
    """Draws which class was taken for which, rows in shares of the true class, with the counts where there is room.

    Args:
        counts: Int array `(classes, classes)`: true classes down, predicted ones across.
        classes: Their names. Of more than `MOST_CLASSES` those that were mistaken most often are drawn.
    """
    counts, classes = np.asarray(counts), np.asarray(classes, object)
    if len(classes) > MOST_CLASSES:
        wrong = counts.sum(axis=1) + counts.sum(axis=0) - 2 * np.diag(counts)
        at = np.sort(np.argsort(-wrong, kind="stable")[:MOST_CLASSES])
        counts, classes = counts[np.ix_(at, at)], classes[at]
    total = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, total, out=np.zeros(counts.shape), where=total > 0)
    side = max(3.2, 0.34 * len(classes) + 1.6)
    figure = Figure(figsize=(side + 0.8, side), layout="constrained")
    axes = figure.subplots()
    picture = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    figure.colorbar(picture, ax=axes, label="share of the true class", shrink=0.8)
    names = [readable(str(c)) for c in classes]
    axes.set_xticks(range(len(names)), names, rotation=90, fontsize=8, parse_math=False)
    axes.set_yticks(range(len(names)), names, fontsize=8, parse_math=False)
    axes.set_xlabel("predicted", fontsize=9)
    axes.set_ylabel("true", fontsize=9)
    if len(classes) <= 16:
        for i, j in np.argwhere(counts):
            ink = "black" if shares[i, j] > 0.5 else "white"
            axes.text(j, i, str(counts[i, j]), ha="center", va="center", fontsize=7, color=ink)
    return figure


def plot_values(targets, values, name):
    """Draws predicted numbers over true ones."""
    figure = Figure(figsize=(4.2, 3.8), layout="constrained")
    axes = figure.subplots()
    low, high = min(np.min(targets), np.min(values)), max(np.max(targets), np.max(values))
    axes.plot([low, high], [low, high], color=GREY, linewidth=0.8, linestyle="--")
    axes.scatter(targets, values, s=8, color=BLUE, alpha=0.5, linewidths=0)
    axes.set_xlabel("true", fontsize=9)
    axes.set_ylabel("predicted", fontsize=9)
    axes.set_title(readable(name), fontsize=10, parse_math=False)
    axes.spines[["top", "right"]].set_visible(False)
    return figure


def plot_subsets(subsets, task, metric):
    """Draws a task's headline metric with every subset of the inputs given, with its interval, the best first.

    Args:
        subsets: `Evaluation.subsets`.
        task: Name of the task.
        metric: Which metric.
    """
    found = {n: s[task][metric] for n, s in subsets.items()}
    names = sorted(found, key=lambda n: found[n]["value"], reverse=metric != "mae")
    values = np.array([[found[n][k] for k in ("value", "low", "high")] for n in names])
    figure = Figure(figsize=(6.4, max(1.6, 0.3 * len(names) + 0.9)), layout="constrained")
    axes = figure.subplots()
    reach = np.abs(values[:, 1:].T - values[:, 0])
    axes.errorbar(values[:, 0], range(len(names)), xerr=reach, fmt="o", color=BLUE, capsize=3, markersize=4)
    axes.set_yticks(range(len(names)), [readable(n.replace("+", " + ")) for n in names], fontsize=8, parse_math=False)
    axes.invert_yaxis()
    axes.set_xlabel(f"{metric} with these inputs given, the others missing", fontsize=9)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.grid(axis="x", color="0.9")
    return figure

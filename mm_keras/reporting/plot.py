"""Rows as a grid of pictures: a line for each input, a column for the original and for each draw."""

import textwrap

import numpy as np
from matplotlib.figure import Figure

from mm_keras.explanation.plot import CHARACTER_INCHES, fonts, lay_out, readable
from mm_keras.explanation.shading import strip

# Inches.
COLUMN, MARGIN, GAP, TITLE, HEAD, LINE = 2.5, 1.0, 0.12, 0.34, 0.24, 0.17
HEIGHTS = {"image": 1.6, "views": 1.2, "video": 1.2, "audio": 1.25, "vector": 0.8, "series": 0.8}
AXIS, WITH_AXIS = 0.36, ("audio", "vector", "series")  # under a plot that has numbers below
MOST_LINES = 10


def plot_samples(samples, note=""):
    """Draws rows below each other.

    Args:
        samples: `Sample`s of the same inputs.
        note: A line above all.

    Returns:
        A `matplotlib.figure.Figure`.
    """
    columns = len(samples[0].views)
    heights = [[_height(sample, name) for name in sample.views[0].panels] for sample in samples]
    blocks = [TITLE + HEAD + sum(lines) + GAP * len(lines) for lines in heights]
    width = MARGIN + columns * COLUMN
    notes = textwrap.wrap(note, int(13 * width))
    top = 0.1 + 0.18 * len(notes)
    height = sum(blocks) + top + GAP
    figure = Figure(figsize=(width, height))
    if notes:
        text = readable("\n".join(notes))
        figure.text(0.1 / width, 1 - 0.1 / height, text, parse_math=False, fontsize=9, va="top")
    at = top
    for sample, lines, block in zip(samples, heights, blocks, strict=True):
        _plot_sample(figure, sample, lines, at)
        at += block
    return figure


def _plot_sample(figure, sample, heights, top):
    width, height = figure.get_size_inches()

    def say(x, y, text, **style):
        figure.text(x / width, 1 - y / height, readable(text), parse_math=False, va="center", **style)

    say(0.1, top + TITLE / 2, sample.title, fontsize=10, fontweight="bold")
    for column, view in enumerate(sample.views):
        say(MARGIN + COLUMN * (column + 0.47), top + TITLE + HEAD / 2, view.title, fontsize=8, ha="center")
    down = top + TITLE + HEAD
    for name, tall in zip(sample.views[0].panels, heights, strict=True):
        say(0.1, down + tall / 2, _cut(name, 14), fontsize=9)
        for column, view in enumerate(sample.views):
            panel, original = view.panels[name], sample.views[0].panels[name]
            under = AXIS if panel.kind in WITH_AXIS and not panel.missing else 0.0
            left, wide = MARGIN + COLUMN * column + 0.12, COLUMN - 0.35
            box = (left / width, 1 - (down + tall - under) / height, wide / width, (tall - under) / height)
            axes = figure.add_axes(box)
            if panel.missing:
                _write(axes, [[(0, "(missing)")]], colour="0.5")
            else:
                PLOTS.get(panel.kind, _plot_any)(axes, panel, original, first=column == 0)
        down += tall + GAP


def _height(sample, name):
    panels = [view.panels[name] for view in sample.views if not view.panels[name].missing]
    if not panels:
        return LINE + 0.1
    kind = panels[0].kind
    if kind == "text":
        return LINE * min(max(len(lay_out(p.names, _characters())) for p in panels), MOST_LINES) + 0.1
    if kind == "tabular":
        return LINE * min(len(panels[0].names), MOST_LINES) + 0.1
    return HEIGHTS.get(kind, 1.0) + (AXIS if kind in WITH_AXIS else 0.0)


def _characters():
    return int((COLUMN - 0.35) / (CHARACTER_INCHES * 0.75))


def _plot_image(axes, panel, original, first):
    axes.imshow(panel.drawn, interpolation="nearest")
    axes.set_xticks([])
    axes.set_yticks([])


def _plot_strip(axes, panel, original, first):
    axes.imshow(strip(np.asarray(panel.drawn), most=4), interpolation="nearest")
    axes.set_anchor("W")
    axes.set_axis_off()


def _plot_audio(axes, panel, original, first):
    bands = len(panel.hertz)
    where = {"origin": "lower", "aspect": "auto", "extent": (0, panel.seconds, -0.5, bands - 0.5)}
    top = max(np.max(original.drawn), 1e-6)
    axes.imshow(panel.drawn, cmap="magma", vmin=0, vmax=top, interpolation="nearest", **where)
    ticks = np.linspace(0, bands - 1, min(bands, 4)).round().astype(int)
    axes.set_yticks(ticks, [f"{panel.hertz[t]:.0f}" for t in ticks] if first else [])
    axes.tick_params(labelsize=7, pad=1)
    axes.set_xlabel("seconds", fontsize=7, labelpad=0)
    if first:
        axes.set_ylabel("hertz", fontsize=7, labelpad=1)


def _plot_vector(axes, panel, original, first):
    # Many features as one line; the original stays behind, to see what changed.
    axes.plot(np.ravel(original.drawn), color="0.75", linewidth=1.5)
    axes.plot(np.ravel(panel.drawn), color="C0", linewidth=0.8)
    axes.margins(x=0.01)
    axes.tick_params(labelsize=7, pad=1, labelleft=first)
    axes.set_xlabel("feature", fontsize=7, labelpad=0)
    axes.spines[["top", "right"]].set_visible(False)


def _plot_series(axes, panel, original, first):
    # A line for each feature; those of the original stay behind.
    steps = np.arange(1, 1 + max(len(original.drawn), len(panel.drawn)))
    axes.plot(steps[: len(original.drawn)], original.drawn, color="0.75", linewidth=1.5)
    axes.plot(steps[: len(panel.drawn)], panel.drawn, linewidth=0.8)
    axes.margins(x=0.01)
    axes.tick_params(labelsize=7, pad=1, labelleft=first)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("step", fontsize=7, labelpad=0)
    axes.spines[["top", "right"]].set_visible(False)


def _plot_text(axes, panel, original, first):
    lines = lay_out(panel.names, _characters())
    if len(lines) > MOST_LINES:
        lines = [*lines[: MOST_LINES - 1], [(0, 0, f".. {sum(map(len, lines[MOST_LINES - 1 :]))} more tokens")]]
    _write(axes, [[(at, piece) for _, at, piece in line] for line in lines], boxed=True)


def _plot_table(axes, panel, original, first):
    cells = list(zip(panel.names, panel.shown, original.shown, strict=True))
    lines = [[(0, f"{_cut(n, 12)} = {_cut(v, 14)}")] for n, v, _ in cells[:MOST_LINES]]
    if len(cells) > MOST_LINES:
        lines[-1] = [(0, f".. {len(cells) - MOST_LINES + 1} more columns")]
    _write(axes, lines, colours=["C3" if value != before else "black" for _, value, before in cells])


def _plot_any(axes, panel, original, first):
    """A modality without a picture of its own here: what `draw` gives, as text."""
    _write(axes, [[(0, _cut(str(panel.drawn), _characters()))]])


PLOTS = {
    "image": _plot_image,
    "views": _plot_strip,
    "video": _plot_strip,
    "audio": _plot_audio,
    "vector": _plot_vector,
    "series": _plot_series,
    "text": _plot_text,
    "tabular": _plot_table,
}


def _write(axes, lines, colour="black", colours=(), boxed=False):
    """Writes lines of `(column, text)` in a face of fixed width, from the top."""
    axes.set_axis_off()
    axes.set_xlim(0, _characters())
    tall = axes.get_position().height * axes.figure.get_size_inches()[1]
    axes.set_ylim(tall / LINE, 0)
    box = {"facecolor": "0.92", "edgecolor": "none", "pad": 0.8} if boxed else None
    for number, line in enumerate(lines):
        own = colours[number] if number < len(colours) else colour
        for at, text in line:
            axes.text(
                at, number + 0.7, readable(text), fontsize=7.5, color=own, va="center", parse_math=False,
                fontfamily=fonts(), bbox=box,
            )  # fmt: skip


def _cut(text, most):
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"

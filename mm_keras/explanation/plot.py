"""An explanation as a figure. The one place of this room that imports matplotlib."""

import unicodedata

import numpy as np
from matplotlib import font_manager
from matplotlib.figure import Figure

from mm_keras.explanation.shading import (
    AGAINST,
    FOR,
    grey_of,
    largest,
    marked,
    opacity,
    overlay,
    overlay_picture,
    plain,
    signed,
    strip,
    weights,
)

COLOURS = {True: tuple(c / 255 for c in FOR), False: tuple(c / 255 for c in AGAINST)}
# The first has a fixed width of 0.6 em, wide characters twice that; the others stand in for characters it lacks.
FONTS = ("DejaVu Sans Mono", "Noto Sans Mono CJK JP", "Noto Sans CJK JP", "Noto Sans CJK SC", "WenQuanYi Zen Hei")
MOST_BARS = 12
CHARACTER_INCHES = 0.6 * 10 / 72  # of the first font at 10 points


def plot_explanation(explanation):
    """Draws what each input contributed, then a panel for each input.

    Args:
        explanation: An `Explanation`.

    Returns:
        A `matplotlib.figure.Figure`; characters that no installed font has are drawn as squares.
    """
    panels = explanation.panels
    wide = [n for n, p in panels.items() if p.kind in WIDE and not p.missing]
    square = [n for n, p in panels.items() if p.kind not in WIDE and not p.missing]
    columns = 1 + len(square)
    width = 3.4 * max(columns, 3)
    characters = int(0.94 * width / CHARACTER_INCHES)
    lines = {n: lay_out(_pieces(panels[n]), characters) for n in wide if panels[n].kind == "text"}
    heights = [3.4, *(0.5 + 0.3 * len(lines[n]) if n in lines else _strip_inches(panels[n], width) for n in wide)]
    figure = Figure(figsize=(width, sum(heights) + 0.6), layout="constrained")
    figure.suptitle(_title(explanation), parse_math=False)
    figure.supxlabel(f"inside an input: {explanation.method_words}", fontsize=8, color="0.4", parse_math=False)
    grid = figure.add_gridspec(len(heights), columns, height_ratios=heights)
    _plot_scores(figure.add_subplot(grid[0, 0]), explanation)
    share, top = weights(explanation.scores), max(map(abs, explanation.scores.values()))
    for i, n in enumerate(square):
        axes = figure.add_subplot(grid[0, 1 + i])
        axes.set_title(f"{n}  ({signed(explanation.scores[n], top)})", parse_math=False)
        PLOTS[panels[n].kind](axes, panels[n], explanation.maps[n], share[n])
    for i, n in enumerate(wide):
        axes = figure.add_subplot(grid[1 + i, :])
        axes.set_title(f"{n}  ({signed(explanation.scores[n], top)})", loc="left", parse_math=False)
        if n in lines:
            _plot_text(axes, lines[n], explanation.maps[n], share[n], characters)
        else:
            _plot_strip(axes, panels[n], explanation.maps[n], share[n])
    return figure


def _title(explanation):
    parts = f"{plain(explanation.base_value)} without inputs, {plain(explanation.value)} with them"
    if explanation.target is None:
        return f"{explanation.task}   ({parts}; red raises, blue lowers)"
    return readable(f"{explanation.task}: {explanation.target}   ({parts}; red for, blue against)")


def _plot_bars(axes, labels, values, weight=1.0):
    # Pale, not gone, where the whole input hardly counts: each panel has its own scale.
    colours = [(*COLOURS[bool(v >= 0)], max(weight**0.5, 0.3)) for v in values]
    axes.barh(range(len(values)), values, color=colours)
    axes.set_yticks(range(len(values)), [readable(label) for label in labels], parse_math=False, fontsize=9)
    axes.invert_yaxis()
    axes.axvline(0, color="0.4", linewidth=0.8)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _plot_scores(axes, explanation):
    # The number stands in the label: beside a negative bar it would hit the names.
    top = max(map(abs, explanation.scores.values()))
    labels = [
        f"{n}\n{'missing' if explanation.panels[n].missing else signed(s, top)}" for n, s in explanation.scores.items()
    ]
    _plot_bars(axes, labels, list(explanation.scores.values()))
    axes.set_title("contribution")


def _plot_image(axes, panel, values, weight):
    axes.imshow(overlay_picture(panel, values, weight), interpolation="nearest")
    axes.set_axis_off()


def _plot_audio(axes, panel, values, weight):
    bands = values.shape[0]
    where = {"origin": "lower", "aspect": "auto", "extent": (0, panel.seconds, -0.5, bands - 0.5)}
    axes.imshow(overlay(grey_of(panel), values, weight), interpolation="nearest", **where)
    ticks = np.linspace(0, bands - 1, min(bands, 5)).round().astype(int)
    axes.set_yticks(ticks, [f"{panel.hertz[t]:.0f}" for t in ticks])
    axes.set_xlabel("seconds")
    axes.set_ylabel("hertz")


def _plot_table(axes, panel, values, weight):
    top = largest(values, MOST_BARS)
    _plot_bars(axes, [f"{_short(panel.names[i])} = {_short(panel.shown[i])}" for i in top], values[top], weight)
    if len(top) < len(values):
        axes.set_xlabel(f"the {len(top)} largest of {len(values)}")


def _plot_series(axes, panel, values, weight):
    steps, features = values.shape
    pixels = np.swapaxes(overlay(grey_of(panel), values, weight), 0, 1)
    axes.imshow(pixels, interpolation="nearest", aspect="auto", extent=(0.5, steps + 0.5, features - 0.5, -0.5))
    ticks = marked(features)
    axes.set_yticks(ticks, [readable(_short(panel.names[t])) for t in ticks], parse_math=False, fontsize=9)
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlabel("step")


PLOTS = {"image": _plot_image, "audio": _plot_audio, "series": _plot_series}
PLOTS |= dict.fromkeys(("tabular", "vector", "entity"), _plot_table)
# Kinds of panel that take a row of the figure.
WIDE = ("text", "views", "video")


def _plot_strip(axes, panel, values, weight):
    axes.imshow(strip(overlay(grey_of(panel), values, weight)), interpolation="nearest")
    axes.set_anchor("W")
    axes.set_axis_off()


def _strip_inches(panel, width):
    """Returns the height of a row of pictures, the title counted; a picture is no wider than a panel beside others."""
    height, wide, _ = strip(np.asarray(panel.drawn)).shape
    return 0.4 + min(width, 1.7 * min(len(panel.drawn), 8)) * height / wide


def _plot_text(axes, lines, values, weight, characters):
    axes.set_axis_off()
    axes.set_xlim(0, characters)
    axes.set_ylim(len(lines) - 0.5, -0.5)
    alphas = opacity(values, weight)
    for row, line in enumerate(lines):
        for token, at, piece in line:
            colour = (*COLOURS[bool(values[token] >= 0)], alphas[token])
            axes.text(
                at, row, readable(piece), va="center", parse_math=False, fontfamily=fonts(), fontsize=10,
                color="white" if alphas[token] > 0.65 else "black",
                bbox={"facecolor": colour, "edgecolor": "none", "pad": 1.5},
            )  # fmt: skip


def _pieces(panel):
    """Returns a text's parts as WordPieces; characters continue each other, and white space stands for itself."""
    if panel.is_spelt:
        return [f"##{' ' if c.isspace() else c}" for c in panel.names]
    return panel.spelling or panel.names


def lay_out(names, characters):
    """Returns rows of `(token number, column, text)`, that many characters wide; pieces of a word stand together."""
    lines, at = [[]], 0
    for token, name in enumerate(names):
        inside = name.startswith("##")
        piece = name[2:] if inside and len(name) > 2 else name
        width = sum(2 if unicodedata.east_asian_width(c) in "WF" else 1 for c in piece)
        at += 0 if inside or not lines[-1] else 1
        if lines[-1] and at + width > characters:
            lines.append([])
            at = 0
        lines[-1].append((token, at, piece))
        at += width
    return lines


def _short(text, most=14):
    return text if len(text) <= most else f"{text[: most - 1]}\N{HORIZONTAL ELLIPSIS}"


def fonts():
    """Returns the installed ones of `FONTS`."""
    installed = {f.name for f in font_manager.fontManager.ttflist}
    return [f for f in FONTS if f in installed]


def readable(text):
    """Returns the text with a square for every character that no installed font has."""
    faces = [font_manager.get_font(font_manager.findfont(f)) for f in (*fonts(), "DejaVu Sans")]
    return "".join(c if c == "\n" or any(f.get_char_index(ord(c)) for f in faces) else "\N{WHITE SQUARE}" for c in text)

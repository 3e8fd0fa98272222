"""Occlusion: what the output loses when a part of an input is taken away."""

import itertools
import math

import numpy as np

from mm_keras.explanation.engine import CHUNK_ROWS
from mm_keras.explanation.methods.superpixels import superpixels

# Pieces along a side of a picture; windows along a side of a sound, as many again between them.
PATCHES = {"image": 6, "audio": 8}
# Patches along a side of each picture of several, not overlapping: there are many pictures.
FRAME_PATCHES = 4
# The most windows along an axis of words, steps or features; longer ones are taken several at once.
MOST = 64


def occlusion(engine, tensors, column, steps):
    """What the output loses when a window of an input is blank, spread evenly over the window.

    Windows: of a picture its superpixels, about 36; of a sound windows of an eighth of its frames and bands, half over
    each other; of views and videos a quarter of the sides of each picture; of a text each token
    (stretches of a 64th of a long one); of a table each cell; of a vector and of a sequence each feature (at each
    step); of an entity itself, and each neighbour with those behind it. Where windows overlap their mean is taken.

    A window is blank where the input enters, while masks, presences and ids stay: a word becomes the zero vector at its
    place, as at the start of integrated gradients, not a hole that moves the others. Ids of a model without a graph
    become the blank ids themselves.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`.
        steps: Left be.

    Returns:
        `(attributions, None)`.
    Reference:
        Zeiler and Fergus 2013, arXiv:1311.2901, section 4.2. Differs: any input, in logits; of a picture superpixels,
        as in Ribeiro et al. 2016, arXiv:1602.04938, section 3.2.
    """
    return occlude(engine, tensors, column, tensors), None


def occlude(engine, tensors, column, names):
    """Returns the attributions of some inputs alone, `{input: float64 array}`."""
    names = [n for n in tensors if n in names]
    if not names:
        return {}
    seen = engine.observe(tensors)
    blank, held = engine.blank(seen.entries), seen.held
    given = seen.entries | {n: held[n] for n in engine.closed}
    blank |= {n: np.zeros_like(held[n]) for n in engine.closed}
    windows = {n: _windows(engine.kinds[n], given[n], engine.groups.get(n)) for n in names}
    value = engine.evaluate(seen.entries, held, column)
    totals, counts = ({n: np.zeros(given[n].shape) for n in names} for _ in range(2))
    # A window that holds nothing takes nothing away.
    asked = ((r, n, w) for r in range(len(column)) for n in names for w in windows[n][r])
    asked = ((r, n, w) for r, n, w in asked if np.any(given[n][r][w] != blank[n][r][w]))
    while chunk := list(itertools.islice(asked, CHUNK_ROWS)):
        rows = np.array([r for r, _, _ in chunk])
        moved, kept = ({k: v[rows].copy() for k, v in tree.items()} for tree in (seen.entries, held))
        for i, (r, n, window) in enumerate(chunk):
            (kept if n in engine.closed else moved)[n][i][window] = blank[n][r][window]
        losses = value[rows] - engine.evaluate(moved, kept, column[rows])
        for loss, (r, n, window) in zip(losses, chunk, strict=True):
            totals[n][r][window] += loss / totals[n][r][window].size
    for n in names:
        for r, own in enumerate(windows[n]):
            for window in own:
                counts[n][r][window] += 1
    return {n: totals[n] / np.maximum(counts[n], 1) for n in names}


def _windows(kind, values, groups):
    """Returns the list of windows of each row."""
    if kind == "image":
        pieces = (superpixels(picture, PATCHES["image"]) for picture in values)
        return [[np.nonzero(labels == k) for k in range(labels.max() + 1)] for labels in pieces]
    return [list(windows_of(kind, values.shape[1:], groups))] * len(values)


def windows_of(kind, shape, groups=None):
    """Yields an index for each window of an input `shape`, without the batch; of a picture see `superpixels`.

    Args:
        kind: What it holds, a layout of the recipe.
        shape: Of the input where it enters.
        groups: Lengths of a table's cells, one number each by default; of an entity the neighbours of a place, by
            default all of one.
    """
    if kind == "audio":
        sides = [_stretches(s, math.ceil(s / PATCHES[kind]), overlap=True) for s in shape[:2]]
        return itertools.product(*sides)
    if kind in ("views", "video"):
        sides = [_stretches(s, math.ceil(s / FRAME_PATCHES)) for s in shape[1:3]]
        return itertools.product(_stretches(shape[0], 1), *sides)
    if kind == "series":
        return itertools.product(*(_stretches(s, math.ceil(s / MOST)) for s in shape[:2]))
    if kind == "entity":
        return _relatives(shape[0], groups or shape[0] - 1)
    if kind == "tabular" and groups:
        ends = np.cumsum(groups)
        return ((slice(e - g, e),) for e, g in zip(ends.tolist(), groups, strict=True))
    return ((s,) for s in _stretches(shape[0], math.ceil(shape[0] / MOST)))


def _stretches(size, length, overlap=False):
    """Returns slices that cover `size` places, each `length` long but the last, a half or a whole one apart."""
    hop = math.ceil(length / 2) if overlap else length
    starts = range(0, max(size - length + hop, 1), hop)
    return [slice(min(s, max(size - length, 0)), min(s, max(size - length, 0)) + length) for s in starts]


def _relatives(places, width):
    """Yields the entity, then each neighbour with its own, of a tree of one hop or two, as `Neighbourhood` has it."""
    yield (np.array([0]),)
    for place in range(1, min(1 + width, places)):
        behind = np.arange(1 + place * width, 1 + (1 + place) * width)
        yield (np.array([place, *behind[behind < places]]),)

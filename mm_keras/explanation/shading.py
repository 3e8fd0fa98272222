"""Signed numbers to colours, the same in the page and in the picture.

Two hues that stay apart for every kind of colour blindness (the ends of matplotlib's `coolwarm`), transparent near
zero. Signs are printed as numbers too.
"""

import math

import numpy as np
from PIL import Image as Picture

FOR, AGAINST = (180, 4, 38), (59, 76, 192)
# Kinds of panel that hold pictures, one or several.
STRIPS = ("image", "views", "video")


def opacity(values, weight=1.0):
    """Returns float `[0, 1]` like `values`: their size, clipped at the 99.5th percentile, times `sqrt(weight)`.

    Args:
        values: Signed array; all zero gives all transparent.
        weight: The input's score relative to the largest. On its own scale, an input that hardly counts would glow as
            bright as the one that decided.
    """
    size = np.abs(np.asarray(values, np.float64))
    # In a map with fewer than 1 in 200 places filled the percentile is zero.
    top = (np.percentile(size, 99.5) or size.max()) if size.size else 0.0
    return np.clip(size / top, 0.0, 1.0) * np.sqrt(weight) if top else np.zeros_like(size)


def overlay(grey, values, weight=1.0):
    """Lays a map over a grey picture, or over several, on one scale.

    Args:
        grey: Float `(..., height, width)` in [0, 1].
        values: Signed `(..., height, width)`.
        weight: As in `opacity`.

    Returns:
        Uint8 `(..., height, width, 3)`.
    """
    alpha = opacity(values, weight)[..., None]
    hue = np.where((np.asarray(values) >= 0)[..., None], FOR, AGAINST)
    # Black lifted to 40 % keeps the blue apart from the ground.
    ground = 255 * (0.4 + 0.6 * np.clip(grey, 0, 1))[..., None]
    return np.round(ground * (1 - alpha) + hue * alpha).astype(np.uint8)


def marked(count):
    """Returns the places of an axis that get a label: from the first on, at most six, equally far apart."""
    return range(0, count, math.ceil(count / 6))


def grey_of(panel):
    """Returns float `(.., height, width)` in [0, 1] of pictures, or `(rows, columns)` of what `drawn` holds.

    A spectrogram has its lowest band first; of a sequence `(steps, features)`, each feature fills the range by itself,
    and what is missing is black.
    """
    drawn = np.asarray(panel.drawn, np.float64)
    if panel.kind == "series":
        low = np.nanmin(drawn, axis=0)
        span = np.nanmax(drawn, axis=0) - low
        return np.nan_to_num(np.where(span > 0, (drawn - low) / np.where(span > 0, span, 1.0), 0.5 + 0.0 * drawn))
    if panel.kind in STRIPS:
        return _grey(drawn)
    return drawn / drawn.max() if drawn.max() > 0 else drawn


def _grey(pixels):
    return np.asarray(pixels, np.float64)[..., :3] @ (0.299, 0.587, 0.114) / 255


def overlay_picture(panel, values, weight=1.0):
    """Lays the map of an image over the picture as it came.

    Args:
        panel: The image's `Panel`.
        values: Signed `(height, width)` of the model's tensor; enlarged between its points where the picture is larger.
        weight: As in `opacity`.

    Returns:
        Uint8 `(height, width, 3)` of the original, or of what the model saw where there is none.
    """
    if panel.original is None:
        return overlay(grey_of(panel), values, weight)
    height, width = panel.original.shape[:2]
    inner = np.asarray(values, np.float32)[panel.place]
    if inner.shape != (height, width):
        inner = np.asarray(Picture.fromarray(inner).resize((width, height), Picture.Resampling.BILINEAR))
    return overlay(_grey(panel.original), inner, weight)


def strip(pictures, most=8):
    """Returns uint8 `(height, width, channels)`: pictures `(n, height, width, channels)` in rows of `most`, apart."""
    count, height, width, channels = pictures.shape
    gap, columns = max(1, width // 16), min(count, most)
    rows = -(-count // columns)
    sheet = np.full((rows * (height + gap) - gap, columns * (width + gap) - gap, channels), 255, np.uint8)
    for i, picture in enumerate(pictures):
        top, left = i // columns * (height + gap), i % columns * (width + gap)
        sheet[top : top + height, left : left + width] = picture
    return sheet


def weights(scores):
    """Returns `{input: |score| / largest |score|}`."""
    top = max(abs(s) for s in scores.values())
    return {n: abs(s) / top if top else 0.0 for n, s in scores.items()}


def largest(values, most):
    """Returns where the `most` largest of `(parts,)` by size stand: by size, or in their own order when all fit."""
    if len(values) <= most:
        return np.arange(len(values))
    return np.argsort(-np.abs(values), kind="stable")[:most]


def signed(number, top=None):
    """Returns a number with its sign, a true minus, and as many decimals as give `top` (or itself) three digits."""
    size = max(abs(number) if top is None else top, 1e-6)
    text = f"{number:+.{min(max(2 - math.floor(math.log10(size)), 0), 8)}f}"
    return "0" if float(text) == 0 else text.replace("-", "\N{MINUS SIGN}")


def plain(number):
    """Returns a number with three digits and a true minus."""
    return f"{number:.3g}".replace("-", "\N{MINUS SIGN}")


def bars(values):
    """Returns where zero stands, and `(start, length)` of a bar for each of `values`, in percent of the width."""
    low, high = min(0.0, *values), max(0.0, *values)
    span = (high - low) or 1.0
    return 100 * -low / span, [(100 * (min(v, 0.0) - low) / span, 100 * abs(v) / span) for v in values]

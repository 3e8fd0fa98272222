"""Values of several files: how a person writes them, and which of them are used."""

import re
from pathlib import Path

import numpy as np

PICTURES = (".png", ".jpg", ".jpeg", ".bmp", ".gif")


def split_paths(value):
    """Returns the paths of one cell, as a list of texts; an absent one is an empty text.

    Args:
        value: A list of paths, or one text with `;` between them.

    Raises:
        ValueError: When it is something else.
    """
    if isinstance(value, str):
        return [path.strip() for path in value.split(";")] if value.strip() else []
    if isinstance(value, Path):
        return [str(value)]
    if not isinstance(value, list | tuple | np.ndarray):
        raise ValueError(f"expected a list of paths, or a text with ';' between them. Received: {value!r}")
    paths = ["" if path is None else path for path in value]
    if wrong := [path for path in paths if not isinstance(path, str | Path)]:
        raise ValueError(f"expected paths in the list. Received: {wrong[0]!r}")
    return [str(path) for path in paths]


def sample_evenly(count, most):
    """Returns which of `count` things are used, in order: the middles of `most` equal parts, or all when they fit.

    Example:
        >>> sample_evenly(10, 3), sample_evenly(2, 3)
        ([1, 5, 8], [0, 1])
    """
    most = min(count, most)
    return [(2 * i + 1) * count // (2 * most) for i in range(most)]


def list_frames(folder):
    """Returns the pictures of a folder in the order of their names, numbers in them counted as numbers.

    Raises:
        ValueError: When it holds none.
    """
    files = [f for f in Path(folder).iterdir() if f.suffix.lower() in PICTURES and not f.name.startswith(".")]
    if not files:
        raise ValueError(f"the folder holds no pictures ({', '.join(PICTURES)})")
    return [str(f) for f in sorted(files, key=_natural)]


def _natural(path):
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", path.name) if part]


def padded(items, count, blank):
    """Returns a one-dimensional object array of `count` items, blanks at the end."""
    array = np.full(count, blank, dtype=object)
    for i, item in enumerate(items):
        array[i] = item
    return array

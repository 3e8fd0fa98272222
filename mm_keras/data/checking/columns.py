"""The single columns of a recipe's inputs, and what each row holds of an input as one comparable code."""

import os
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mm_keras.saving import sha256_of

FILES = ("image", "audio", "video")
# Shorter texts are words and labels, which repeat in honest data. In bytes of UTF-8, of which a Chinese character has
# three and says as much as a short word.
SHORT_TEXT = 12


@dataclass(frozen=True)
class Column:
    """One column that a model sees.

    Args:
        input: The input's name.
        name: The manifest's column; of a vector in one column, the column and the position.
        values: `(rows,)`: float64, NaN where missing, or texts, empty where missing.
    """

    input: str
    name: str
    values: np.ndarray

    @property
    def is_number(self):
        """Whether the values are numbers."""
        return self.values.dtype != object


def single_columns(rows, recipe, vectors):
    """Returns the `Column`s that hold one number or one text a row; a text without what the recipe removes from it.

    Args:
        rows: A `Rows`.
        recipe: Its `Recipe`.
        vectors: `Data.vectors`.
    """
    found = []
    for key, spec in recipe.inputs.items():
        cell = rows.cells[key]
        if spec.kind == "tabular":
            names = {field: column for column, field in spec.fields().items()}
            found += [Column(key, names[f], v if v.dtype == object else v.astype(float)) for f, v in cell.items()]
        elif spec.kind == "vector" and cell.ndim == 2:
            own = vectors[key]
            names = own if len(own) == cell.shape[1] else [f"{own[0]}[{i}]" for i in range(cell.shape[1])]
            found += [Column(key, name, cell[:, i].astype(float)) for i, name in enumerate(names)]
        elif spec.kind in ("text", "entity"):
            found.append(Column(key, spec.column or key, _kept(spec, cell)))
    return found


def _kept(spec, texts):
    """A text as the model reads it."""
    if not getattr(spec, "remove", None):
        return texts
    import pyarrow
    from pyarrow import compute

    cut = compute.replace_substring_regex(pyarrow.array(texts, pyarrow.string()), pattern=spec.remove, replacement="")
    return np.array(cut.to_pylist(), dtype=object)


def manifest_columns(key, spec, vectors):
    """Returns the manifest's columns that an input is read from."""
    if spec.kind == "tabular":
        return tuple(spec.fields())
    return tuple(vectors.get(key, [spec.column or key]))


def presence(cell):
    """Returns bool `(rows,)`: which rows have anything of an input's cells."""
    parts = [_filled(v).reshape(len(v), -1).any(axis=1) for v in (cell.values() if isinstance(cell, dict) else [cell])]
    return np.any(parts, axis=0)


def _filled(values):
    if values.dtype != object:
        return np.isfinite(values)
    return np.array([v.strip() != "" for v in values.flat], bool).reshape(values.shape)


@dataclass(frozen=True)
class Content:
    """What the rows hold of one input, to be compared.

    Args:
        codes: Int array `(rows,)`: equal where two rows hold the same; -1 where the input is missing.
        telling: Bool array `(rows,)`: whether two rows that hold the same can hardly do so by chance.
    """

    codes: np.ndarray
    telling: np.ndarray


def content_of(cell, spec, digests=None):
    """Returns the `Content` of one input.

    Files and vectors of four numbers and more are telling, and texts of `SHORT_TEXT` bytes and more; categories,
    entities and few numbers are not.

    Args:
        cell: The input's cells, as in `Rows`.
        spec: The input's part of the recipe.
        digests: `{path: digest}` of files, as `file_digests` returns them; `None` compares their paths.
    """
    there = presence(cell)
    if isinstance(cell, dict):
        codes = combine([pd.factorize(v, use_na_sentinel=False)[0] for v in cell.values()])
        telling = np.zeros(len(codes), bool)
    elif spec.kind in FILES:
        files = cell.reshape(len(cell), -1)
        named = [tuple(digests[p] if digests and p else p for p in row) for row in files]
        codes, telling = pd.factorize(pd.Series(named, dtype=object))[0], there
    elif spec.kind == "vector":
        flat = np.ascontiguousarray(cell.reshape(len(cell), -1))
        codes = pd.factorize(np.array([row.tobytes() for row in flat], dtype=object))[0]
        telling = there & (np.isfinite(flat).sum(axis=1) >= 4)
    else:
        codes = pd.factorize(cell)[0]
        long = [spec.kind == "text" and len(text.encode()) >= SHORT_TEXT for text in cell]
        telling = there & np.array(long, bool)
    return Content(np.where(there, codes, -1), telling)


def combine(codes):
    """Returns int array `(rows,)`, equal where all of several codes are."""
    joined = np.zeros(len(codes[0]), np.int64)
    for own in codes:
        joined = pd.factorize(joined * (own.max(initial=0) + 2) + own + 1)[0].astype(np.int64)
    return joined


def file_digests(paths):
    """Returns `{path: text}`, equal where two files hold the same bytes.

    Only files of one size are read: others differ.
    """
    paths = sorted({p for p in paths if p})
    sizes = {}
    for path in paths:
        sizes.setdefault(_size(path), []).append(path)
    return {p: _digest(p) if len(own) > 1 else p for own in sizes.values() for p in own}


def _size(path):
    try:
        return os.path.getsize(path)
    except OSError:
        return path  # gone since it was checked: equal to no other


def _digest(path):
    try:
        with open(path, "rb") as file:
            return sha256_of(file)
    except OSError:
        return path


def sets_of(codes, among=None):
    """Returns the groups of rows with one code, as a list of int arrays; only those of two rows and more.

    Args:
        codes: Int array `(rows,)`; -1 is in no group.
        among: Bool array `(rows,)`: which rows count. Defaults to all.
    """
    at = np.flatnonzero((codes >= 0) & (True if among is None else among))
    order = at[np.argsort(codes[at], kind="stable")]
    parts = np.split(order, np.flatnonzero(np.diff(codes[order])) + 1)
    return [part for part in parts if len(part) > 1]

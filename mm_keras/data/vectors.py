"""The cells of vector inputs: columns of numbers, or one of lists or of paths of `.npy` files."""

import numpy as np

from mm_keras.data.tables import is_blank
from mm_keras.errors import DataError


def vector_columns(key, spec, manifest):
    """Returns the columns that make up a vector input: one number each, or one with arrays."""
    if spec.columns:
        return list(spec.columns)
    if not spec.prefix:
        return [spec.column or key]
    every = list(manifest.table.columns)
    if columns := [c for c in every if str(c).startswith(spec.prefix)]:
        return columns
    raise DataError(f"{manifest.name}: inputs.{key}: no column begins with {spec.prefix!r}. Columns: {every}")


def read_vector(key, spec, manifest, columns, length):
    """Returns float32 `(rows, features)` or, with `steps`, `(rows, steps, features)`; NaN where there is nothing.

    Args:
        key: The input's name.
        spec: A `recipe.Vector`.
        manifest: A `Manifest`.
        columns: As `vector_columns` returns them.
        length: Count of features; `None` takes that of the first good row.

    Raises:
        DataError: When a column is absent, or no row holds a vector.
    """
    if not spec.columns and not spec.prefix:
        return _read_arrays(key, spec, manifest, columns[0], length)
    values = np.stack([manifest.numbers(c, f"inputs.{key}", np.float32) for c in columns], axis=1)
    none = np.isnan(values)
    partial = np.flatnonzero(none.any(axis=1) & ~none.all(axis=1) & ~manifest.quarantine.bad)
    lacking = [columns[int(none[r].argmax())] for r in partial]
    manifest.quarantine.add(partial, key, lacking, "some numbers of the vector are missing; give all or none")
    return values


def _read_arrays(key, spec, manifest, column, length):
    """Lists, or paths of `.npy` files, one vector or sequence each; the first good row sets the count of features."""
    values, read = manifest.column(column, f"inputs.{key}"), _as_series if spec.steps else _as_vector
    arrays = [None] * len(values)
    for row, value in enumerate(values):
        if is_blank(value):
            continue
        try:
            array = read(_read_npy(manifest.root / value) if isinstance(value, str) else value)
            found = array.shape[-1]
            length = length or found
            if found != length:
                what = "features in a step" if spec.steps else "numbers"
                raise ValueError(f"expected {length} {what}, as in the first good row. Received: {found}")
            arrays[row] = array[: spec.steps]
        except (OSError, ValueError, TypeError) as error:
            manifest.quarantine.add([row], column, [value], str(error) or type(error).__name__)
    if length is None:
        raise DataError(f"{manifest.name}: inputs.{key}: column {column!r} holds no vector.")
    cells = np.full((len(arrays), *((spec.steps,) if spec.steps else ()), length), np.nan, np.float32)
    for row, array in enumerate(arrays):
        if array is not None:
            cells[(row, slice(len(array)))] = array
    return cells


def _read_npy(path):
    # Not `np.load`, which also opens archives and pickles.
    with path.open("rb") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _as_vector(value):
    array = np.asarray(value)
    if array.dtype.kind not in "biuf" and not (array.dtype == object and array.ndim == 1):
        raise ValueError(f"expected numbers. Received: {array.dtype}")
    array = array.astype(np.float64).reshape(-1)
    if not array.size:
        raise ValueError("the vector is empty")
    if not (np.abs(array) <= np.finfo(np.float32).max).all():
        raise ValueError("the vector holds NaN or infinity")
    return array.astype(np.float32)


def _as_series(value):
    """Returns float32 `(steps, features)`; a step of NaN alone is missing."""
    if not isinstance(value, list | tuple | np.ndarray):
        raise ValueError(f"expected a list of steps, or the path of a .npy file. Received: {type(value).__name__}")
    steps = [np.asarray(step) for step in value]
    if len({step.shape for step in steps}) > 1:
        raise ValueError(f"steps differ in their shape. Received: {sorted({step.shape for step in steps})}")
    array = np.asarray(steps)
    if array.ndim != 2 or array.dtype.kind not in "biuf":
        raise ValueError(f"expected numbers (steps, features). Received: {array.dtype} {array.shape}")
    if not array.size:
        raise ValueError("the sequence is empty")
    array = array.astype(np.float64)
    none = np.isnan(array).all(axis=1, keepdims=True)
    if not ((np.abs(array) <= np.finfo(np.float32).max) | none).all():
        raise ValueError("a step holds infinity, or NaN beside numbers")
    if none.all():
        raise ValueError("every step is NaN; leave the cell empty where there is none")
    return array.astype(np.float32)

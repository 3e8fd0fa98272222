"""Several sets of examples, mixed into one by weight."""

import time

import numpy as np
import pandas as pd

from mm_keras.data.labels import natural
from mm_keras.data.manifest import Data
from mm_keras.data.rows import Rows
from mm_keras.errors import DataError


def mix(parts, weights):
    """Joins several sets, of which training draws by weight.

    A pass of the training has as many rows as the sets have training rows together. Each set gets its share of them,
    whatever its size: a row of a small set comes several times, of a large one a part comes, another in each pass (see
    `Draw`). Which rows and in what order is a function of seed and epoch. Validation and test rows are those of all
    sets, each once, so a score is that of the rows as they are, not of the weights; `evaluate` on one of the sets gives
    its own.

    Args:
        parts: `{name: Data}`, two or more, loaded with the same recipe. The name goes before each row's id: `"a/17"`.
        weights: `{name: share of a training pass}`, all above 0; they are divided by their sum.

    Returns:
        A `Data`, whose `rows.sources` tells of which set each row is.

    Raises:
        DataError: When the sets do not fit together, or a weight is absent, surplus or not above 0.
    """
    if len(parts) < 2:
        raise DataError(f"`mix` takes two sets or more. Received: {sorted(parts)}")
    if set(weights) != set(parts) or not all(np.isfinite(w) and w > 0 for w in weights.values()):
        raise DataError(f"`weights` needs a number above 0 for each of {sorted(parts)}. Received: {dict(weights)}")
    for name, data in parts.items():
        if not isinstance(data.rows, Rows):
            raise DataError(
                f"{data.name}: rows that stream from shards are not mixed; load the manifest, for {name!r}."
            )
    _check_alike(parts)
    total = sum(weights.values())
    for name, data in parts.items():
        if not len(data.train):
            raise DataError(f"{data.name}: no training rows to mix, as {name!r}.")
    rows = [data.rows for data in parts.values()]
    joined = Rows(
        ids=np.array([f"{name}/{i}" for name, data in parts.items() for i in data.rows.ids], dtype=object),
        cells={key: _joined([r.cells[key] for r in rows]) for key in rows[0].cells},
        labels={key: np.concatenate([r.labels[key] for r in rows]) for key in rows[0].labels},
        splits=np.concatenate([r.splits for r in rows]),
        numbers=np.concatenate([r.numbers for r in rows]),
        groups=_groups(parts),
        sources=np.concatenate([np.full(len(data.rows), name, dtype=object) for name, data in parts.items()]),
        shares={name: weights[name] / total for name in parts},
    )
    first = next(iter(parts.values()))
    return Data(
        name=" + ".join(data.name for data in parts.values()),
        rows=joined,
        quarantine=pd.concat([_named(name, data.quarantine) for name, data in parts.items()], ignore_index=True),
        classes={key: _classes([data.classes[key] for data in parts.values()]) for key in first.classes},
        vectors=first.vectors,
        max_bad=max(data.max_bad for data in parts.values()),
        seen=min((data.seen for data in parts.values()), default=time.time()),
        graphs=first.graphs,
    )


def _check_alike(parts):
    """Raises when the sets have other inputs, tasks, columns of vectors or graphs."""
    (name, first), *others = parts.items()
    for other, data in others:
        for what, one, two in (
            ("inputs", sorted(first.rows.cells), sorted(data.rows.cells)),
            ("tasks", sorted(first.rows.labels), sorted(data.rows.labels)),
            ("columns of vectors", first.vectors, data.vectors),
            ("graphs", _told(first.graphs), _told(data.graphs)),
        ):
            if one != two:
                raise DataError(f"sets that are mixed need the same {what}. {name!r}: {one}; {other!r}: {two}")
        if not set(first.classes) == set(data.classes):
            raise DataError(f"sets that are mixed need the same labels. {name!r} and {other!r} differ.")


def _told(graphs):
    return {name: repr(graph) for name, graph in graphs.items()}


def _classes(found):
    """Returns one tuple of class names; of sets that know different ones, all in the order of `load`."""
    return found[0] if len(set(found)) == 1 else tuple(sorted(set().union(*found), key=natural))


def _joined(cells):
    if isinstance(cells[0], dict):
        return {field: _joined([cell[field] for cell in cells]) for field in cells[0]}
    if cells[0].ndim > 1:  # files or steps: the rows of a set are as wide as its widest
        width = max(cell.shape[1] for cell in cells)
        cells = [_widened(cell, width) for cell in cells]
    return np.concatenate(cells)


def _widened(cell, width):
    padding = [(0, 0), (0, width - cell.shape[1]), *[(0, 0)] * (cell.ndim - 2)]
    return np.pad(cell, padding, constant_values="" if cell.dtype == object else np.nan)


def _groups(parts):
    """Groups of different sets are different groups."""
    if all(data.rows.groups is None for data in parts.values()):
        return None
    found = []
    for name, data in parts.items():
        own = np.full(len(data.rows), "", dtype=object) if data.rows.groups is None else data.rows.groups
        found += [f"{name}/{group}" if group else "" for group in own]
    return np.array(found, dtype=object)


def _named(name, quarantine):
    """Row numbers of several tables, told apart."""
    return quarantine.assign(
        row=[f"{name}/{row}" for row in quarantine["row"]], id=[f"{name}/{i}" for i in quarantine["id"]]
    )

"""Pictures and texts of different splits that are nearly the same, as findings."""

import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from mm_keras.data.checking.columns import manifest_columns, sets_of
from mm_keras.data.checking.duplicates import OFTEN, about, files_of, straddling
from mm_keras.data.checking.findings import counted
from mm_keras.data.checking.pictures import FEATURES, describe_pictures, near_pairs
from mm_keras.data.checking.texts import near_texts

ADVICE = "Give rows that share it one split, by a common value in the column 'group'."


def describe_files(rows, recipe, digests):
    """Returns `{path: features}` of every picture of images and videos; files of the same bytes are read once."""
    keys = [k for k, s in recipe.inputs.items() if s.kind in ("image", "video")]
    paths = list(dict.fromkeys(p for k in keys for p in rows.cells[k].ravel() if p))
    first = {digests[p]: p for p in reversed(paths)}
    found = dict(zip(first, describe_pictures(list(first.values())), strict=True))
    return {p: found[digests[p]] for p in paths}


def check_near_pictures(rows, recipe, digests, pictures, seed):
    """Yields a `Finding` for each image input with nearly equal pictures in two splits.

    Args:
        rows: A `Rows`.
        recipe: Its `Recipe`.
        digests: `{path: digest}`, as `file_digests` returns them.
        pictures: `{path: features}`, as `describe_files` returns them.
        seed: Of the search.
    """
    for key, spec in recipe.inputs.items():
        if spec.kind != "image":
            continue
        owners = {}  # of each picture, by its bytes
        for row, own in enumerate(rows.cells[key].reshape(len(rows), -1)):
            for path in own:
                if path:
                    owners.setdefault(digests[path], (path, []))[1].append(row)
        owners = list(owners.values())
        features = np.array([pictures[path] for path, _ in owners], np.float32).reshape(len(owners), FEATURES)
        pairs = near_pairs(features, seed)
        sets = _joined(rows, pairs, [held for _, held in owners])
        if sets:
            yield about(
                rows,
                sets,
                check="near_duplicates",
                severity="warning",
                what=f"{_what(sets, 'pictures')} of {key!r} in more than one split.",
                advice=ADVICE,
                inputs=(key,),
                columns=manifest_columns(key, spec, {}),
                files=files_of(rows, key, np.concatenate(sets)),
            )


def check_near_texts(rows, recipe, columns, seed):
    """Yields a `Finding` for each text column with nearly equal texts in two splits; a note where that is the rule."""
    for column in columns:
        if recipe.inputs[column.input].kind != "text":
            continue
        owners = {}
        for row, text in enumerate(column.values):
            owners.setdefault(text, []).append(row)
        sets = _joined(rows, near_texts(list(owners), seed), list(owners.values()))
        if sets:
            by_template = sum(map(len, sets)) > OFTEN * len(rows)
            yield about(
                rows,
                sets,
                check="near_duplicates",
                severity="note" if by_template else "warning",
                what=f"{_what(sets, 'texts')} of {column.name!r} in more than one split.",
                advice=ADVICE,
                inputs=(column.input,),
                columns=(column.name,),
            )


def _joined(rows, pairs, owners):
    """Returns the sets of rows that pairs of things join, those in two splits, as int arrays."""
    if not len(pairs):
        return []
    pairs = np.asarray(pairs)
    graph = coo_array((np.ones(len(pairs)), pairs.T), (len(owners),) * 2)
    codes = connected_components(graph, directed=False)[1]
    sets = [np.unique(np.concatenate([owners[i] for i in own])) for own in sets_of(codes)]
    return straddling(sets, rows)


def _what(sets, things):
    return f"{counted(len(sets), 'set')} of nearly equal {things}, {counted(sum(map(len, sets)), 'row')},"

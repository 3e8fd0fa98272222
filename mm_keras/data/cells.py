"""The cells of each kind of input, read and checked: a manifest's columns -> arrays."""

import os
import re
from pathlib import Path

import numpy as np

from mm_keras.data.graphs import read_graph
from mm_keras.data.quarantine import file_faults
from mm_keras.data.tables import is_blank
from mm_keras.data.vectors import read_vector, vector_columns
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.entity import entity_names
from mm_keras.preprocessing.parts import list_frames, padded, sample_evenly, split_paths
from mm_keras.registry import nearest


def read_inputs(manifest, inputs, lengths, graphs, check=None):
    """Reads the cells of all inputs; what is wrong with a row goes to the quarantine.

    Args:
        manifest: A `Manifest`.
        inputs: `{name: input}` of a recipe.
        lengths: `{input: count of numbers}` of vectors, where it is known.
        graphs: `{input: graph}` of entities, where it is known.
        check: What looks at the files of an input, called as `check_files`, which it defaults to.

    Returns:
        `({input: cells}, {input: columns}, {input: graph})`: the cells as in `Rows`, the columns of vectors.

    Raises:
        DataError: When a column is absent, a vector has none, or a graph cannot be read.
    """
    cells, vectors, graphs = {}, {}, dict(graphs)
    for key, spec in inputs.items():
        if spec.kind == "vector":
            vectors[key] = vector_columns(key, spec, manifest)
            cells[key] = read_vector(key, spec, manifest, vectors[key], lengths.get(key))
        elif spec.kind == "entity":
            graphs[key] = graphs.get(key) or read_graph(key, spec, manifest.root)
            cells[key] = _read_entity(key, spec, manifest, graphs[key])
        else:
            cells[key] = _READ[spec.layout](key, spec, manifest)
        if spec.kind in ("image", "audio", "video"):
            (check or check_files)(key, spec, cells[key], manifest.quarantine)
    _check_anything(cells, manifest.quarantine)
    return cells, vectors, graphs


def check_files(key, spec, paths, quarantine, when=""):
    """Quarantines the rows with a file that cannot be read and decoded.

    Args:
        key: The input's name.
        spec: Its part of the recipe.
        paths: Absolute paths `(rows,)` or `(rows, files)`; empty ones are missing.
        quarantine: A `Quarantine`.
        when: What the reasons begin with.
    """
    files = paths.reshape(-1)
    faults = file_faults(build_preprocessor(key, spec), files)
    reasons = [when + reason for reason in faults.values()]
    rows = [file * len(paths) // len(files) for file in faults]
    quarantine.add(rows, spec.column or key, [files[f] for f in faults], reasons)


def _texts(key, spec, manifest):
    return manifest.texts(spec.column or key, f"inputs.{key}")


def _read_files(key, spec, manifest):
    root, cells = manifest.root, _texts(key, spec, manifest)
    start = os.path.join(str(root), "")
    # A path that needs no tidying is joined as text: `pathlib` takes as long as reading a small file.
    paths = [start + c if _TIDY(c) else str(root / c) if c else "" for c in cells]
    return np.array(paths, dtype=object)


_TIDY = re.compile(r"[^/\\:.][^/\\:]*(/[^/\\:.][^/\\:]*)*" if os.sep == "/" else "(?!)").fullmatch


def _read_views(key, spec, manifest):
    """Absolute paths `(rows, views)`, empty where there is no view."""

    def choose(paths):
        if len(paths) > spec.views:
            raise ValueError(f"expected at most {spec.views} pictures. Received: {len(paths)}")
        return [str(manifest.root / path) if path else "" for path in paths]

    return _read_parts(key, spec, manifest, spec.views, choose)


def _read_videos(key, spec, manifest):
    """Absolute paths `(rows, frames)`: of one GIF, or of the frames that are used; empty behind them."""

    def choose(paths):
        paths = [str(manifest.root / path) for path in paths if path]
        if len(paths) == 1 and Path(paths[0]).is_dir():
            paths = list_frames(paths[0])
        return [paths[i] for i in sample_evenly(len(paths), spec.frames)]

    return _read_parts(key, spec, manifest, spec.frames, choose)


def _read_parts(key, spec, manifest, count, choose):
    column, rows = spec.column or key, []
    for row, value in enumerate(manifest.column(column, f"inputs.{key}")):
        paths = []
        try:
            paths = choose(split_paths("" if is_blank(value) else value))
        except (OSError, ValueError) as error:
            manifest.quarantine.add([row], column, [value], str(error))
        rows.append(padded(paths, count, ""))
    return np.stack(rows)


def _read_text(key, spec, manifest):
    texts = _texts(key, spec, manifest)
    broken = np.flatnonzero([not _is_unicode(text) for text in texts])
    cells = [ascii(texts[r]) for r in broken]
    manifest.quarantine.add(broken, spec.column or key, cells, "the text holds half a surrogate pair")
    return texts


def _is_unicode(text):
    try:
        return bool(text.encode()) or True
    except UnicodeEncodeError:
        return False


def _read_entity(key, spec, manifest, graph):
    cells, names = _texts(key, spec, manifest), entity_names(graph)
    known = {"", *names}
    unknown = np.flatnonzero([cell not in known for cell in cells])
    # Of the first few: looking for the nearest name takes its time.
    near = [nearest(cells[row], names[:10_000]) if i < 20 else "" for i, row in enumerate(unknown)]
    reasons = ["the graph has no entity of this name" + (f".{n}" if n else "") for n in near]
    manifest.quarantine.add(unknown, spec.column or key, cells[unknown], reasons)
    return cells


def _read_tabular(key, spec, manifest):
    cells, owner = {}, f"inputs.{key}"
    for column, field in spec.fields().items():
        is_number = column in spec.numeric
        cells[field] = manifest.numbers(column, owner, np.float32) if is_number else manifest.texts(column, owner)
    return cells


_READ = {
    "image": _read_files,
    "views": _read_views,
    "video": _read_videos,
    "audio": _read_files,
    "text": _read_text,
    "tabular": _read_tabular,
}


def _check_anything(cells, quarantine):
    """A row without a single input says nothing."""
    filled = np.zeros(len(quarantine.ids), bool)
    for cell in cells.values():
        for values in cell.values() if isinstance(cell, dict) else [cell]:
            if values.dtype == object:
                filled |= np.array([v.strip() != "" for v in values.flat], bool).reshape(len(values), -1).any(axis=1)
            else:
                filled |= np.isfinite(values).reshape(len(values), -1).any(axis=1)
    empty = np.flatnonzero(~filled & ~quarantine.bad)
    quarantine.add(empty, "", [""] * len(empty), "every input is missing")

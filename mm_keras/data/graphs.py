"""Triples and what is known of their nodes, read from tables and checked; a fault here is an error, not a bad row."""

import numpy as np
import pandas as pd

from mm_keras.data.splits import NAMES
from mm_keras.data.tables import as_numbers, as_text, column_of, read_table
from mm_keras.errors import DataError
from mm_keras.recipe.inputs import TRIPLE


def read_graph(key, spec, root):
    """Reads the knowledge graph of an entity input.

    Args:
        key: The input's name.
        spec: A `recipe.Entity`.
        root: Folder that its paths are relative to.

    Returns:
        `{"triples": [[head, relation, tail], ..], "features": [{"entity": name, column: number, text or None}, ..]}`,
        of strings, in the order of the tables. A triple that stands twice counts once.

    Raises:
        DataError: When a table cannot be read, a name of a triple is empty, an entity has two lines of features, or a
            cell of a numeric column is no number.
    """
    source = spec.triples if isinstance(spec.triples, tuple) else root / spec.triples
    triples, _ = read_triples(source, f"inputs.{key}")
    return {"triples": triples, "features": [] if spec.features is None else _read_features(key, spec, root)}


def read_triples(source, owner="triples"):
    """Returns `([[head, relation, tail], ..] of strings, each once, their splits or None)`.

    Args:
        source: A path, a DataFrame with the columns `head`, `relation` and `tail`, or rows of three. The splits are
            those of a column `split`, `"train"`, `"validation"` or `"test"`; of a triple that stands twice, the first.
        owner: What messages call the table.

    Raises:
        DataError: When there is no triple, or one has an empty name or an unknown split.
    """
    if isinstance(source, list | tuple):
        try:
            source = pd.DataFrame([tuple(row) for row in source], columns=list(TRIPLE), dtype=object)
        except (ValueError, TypeError):
            raise DataError(f"{owner}: expected rows of head, relation and tail.") from None
    table, name = _read_whole(source, owner)
    columns = [as_text(column_of(table, c, f"{owner}.triples", name)) for c in TRIPLE]
    rows = list(zip(*columns, strict=True))
    if empty := [i + 1 for i, row in enumerate(rows) if "" in row]:
        raise DataError(f"{name}: {owner}: {len(empty)} triples lack a head, relation or tail. First: row {empty[0]}")
    if not rows:
        raise DataError(f"{name}: {owner}: there are no triples.")
    once = dict(reversed(list(zip(rows, range(len(rows)), strict=True))))
    at = sorted(once.values())
    triples = [list(rows[i]) for i in at]
    if "split" not in table:
        return triples, None
    given = as_text(table["split"])
    if unknown := [i + 1 for i, s in enumerate(given) if s.lower() not in NAMES]:
        raise DataError(f"{name}: {owner}: row {unknown[0]}: split must be one of {sorted(NAMES)}")
    return triples, [NAMES[given[i].lower()] for i in at]


def _read_whole(source, owner):
    table, _, name, unread = read_table(source)
    if unread:
        row, reason = next(iter(unread.items()))
        raise DataError(f"{name}: {owner}: row {row + 1}: {reason}")
    return table, name


def _read_features(key, spec, root):
    given = spec.features
    source = pd.DataFrame([dict(r) for r in given], dtype=object) if isinstance(given, tuple) else root / given
    table, name = _read_whole(source, f"inputs.{key}.features")
    owner = f"inputs.{key}.features"
    names = as_text(column_of(table, "entity", owner, name))
    twice = sorted(set(names[pd.Series(names).duplicated()]))
    if twice or "" in names:
        raise DataError(f"{name}: {owner}: needs one line for each entity. Empty or twice: {twice[:5] or ['']}")
    columns = {}
    for column in spec.numeric:
        numbers, bad = as_numbers(column_of(table, column, owner, name))
        if bad.any():
            at = int(bad.argmax())
            raise DataError(f"{name}: {owner}: {column!r} of {names[at]!r} is not a finite number.")
        columns[column] = [None if np.isnan(n) else float(n) for n in numbers]
    if spec.text:
        columns[spec.text] = as_text(column_of(table, spec.text, owner, name)).tolist()
    return [{"entity": n, **{c: v[i] for c, v in columns.items()}} for i, n in enumerate(names)]

"""Which inputs are there, in which rows; and columns that are always missing, or always the same."""

import numpy as np
import pandas as pd

from mm_keras.data.checking.classes import SPLITS
from mm_keras.data.checking.columns import manifest_columns, presence
from mm_keras.data.checking.findings import Finding, counted, listed

APART, ERRORS = 0.2, 4.0  # how far two splits' shares must differ, as a share and in standard errors


def availability_tables(rows):
    """Returns two DataFrames: which share of a split's rows has each input, and how many rows have which inputs."""
    there = pd.DataFrame({key: presence(cell) for key, cell in rows.cells.items()})
    splits = [s for s in SPLITS if (rows.splits == s).any()]
    shares = pd.DataFrame({s: there[rows.splits == s].mean() for s in splits}).T.rename_axis("split")
    names = there.apply(lambda row: " + ".join(there.columns[row.to_numpy()]), axis=1) if len(there) else []
    counts = pd.crosstab(pd.Series(names, dtype=object), pd.Series(rows.splits, dtype=object))
    counts = counts.reindex(columns=splits).rename_axis("inputs").rename_axis(None, axis=1)
    return shares, counts.loc[counts.sum(axis=1).sort_values(ascending=False, kind="stable").index]


def check_availability(rows, recipe, vectors, columns, contents):
    """Yields `Finding`s about inputs and columns that say nothing, and about inputs that one split has and one lacks.

    Args:
        rows: A `Rows`.
        recipe: Its `Recipe`.
        vectors: `Data.vectors`.
        columns: As `single_columns` returns them.
        contents: `{input: Content}`.
    """
    train = rows.splits == "train"
    for key, spec in recipe.inputs.items():
        there, own = presence(rows.cells[key]), manifest_columns(key, spec, vectors)
        if train.any() and not there[train].any():
            yield _finding(key, own, f"No training row has the input {key!r}.", "Leave it out of the recipe.")
            continue
        codes = contents[key].codes[train & there]
        if len(codes) > 1 and len(set(codes)) == 1:
            yield _finding(key, own, f"Every training row holds the same {key!r}.", "Leave it out of the recipe.")
            continue
        yield from _check_columns(key, spec, [c for c in columns if c.input == key], train)
        yield from _check_splits(key, own, there, rows.splits)


def _check_columns(key, spec, columns, train):
    if len(columns) < 2:
        return
    kinds = {"missing": [], "constant": []}
    for column in columns:
        values = column.values[train]
        values = values[np.isfinite(values) if column.is_number else values != ""]
        if not len(values):
            kinds["missing"].append(column.name)
        elif len(values) > 1 and (values == values[0]).all():
            kinds["constant"].append(column.name)
    for kind, names in kinds.items():
        if names:
            words = {"missing": "missing", "constant": "the same"}[kind]
            what = f"{counted(len(names), 'column')} of {key!r} always {words} in training: {listed(names)}."
            # A network that made the vectors has units that never fire; a table's column is somebody's mistake.
            severity = "warning" if spec.kind == "tabular" else "note"
            yield _finding(key, tuple(names), what, "Leave it out of the recipe.", severity)


def _check_splits(key, columns, there, splits):
    train = splits == "train"
    for split in SPLITS[1:]:
        own = splits == split
        if not own.any() or not train.any():
            continue
        a, b, total = there[train].mean(), there[own].mean(), there[train | own].mean()
        error = np.sqrt(total * (1 - total) * (1 / train.sum() + 1 / own.sum()))
        if abs(a - b) >= APART and abs(a - b) >= ERRORS * error:
            what = f"{a:.0%} of the training rows have {key!r}, and {b:.0%} of the {split} rows."
            yield _finding(key, columns, what, "Draw the splits at random, or find out why.", splits=("train", split))


def _finding(key, columns, what, advice, severity="warning", splits=("train",)):
    return Finding(
        check="availability",
        severity=severity,
        what=what,
        advice=advice,
        inputs=(key,),
        columns=columns,
        splits=splits,
    )

"""Rows that stand twice: the same values or bytes in two splits, or with two labels; groups in two splits."""

import numpy as np
import pandas as pd

from mm_keras.data.checking.columns import FILES, combine, manifest_columns, sets_of
from mm_keras.data.checking.findings import Finding, counted

# A picture in more rows than these stands for "there is none".
MOST_COPIES, MOST_SHARE = 10, 0.02
# Of texts or vectors: above this share of rows whose value occurs again, repeating is what the column does.
OFTEN = 0.2
# Copies of rows of numbers and categories count when chance makes at most this share of them.
MOST_BY_CHANCE = 0.05


def check_groups(rows):
    """Yields a `Finding` when a group of the column `group` has rows in two splits."""
    if rows.groups is None or rows.splits is None:
        return
    codes = pd.factorize(rows.groups)[0]
    sets = straddling(sets_of(np.where(rows.groups == "", -1, codes)), rows)
    if sets:
        yield about(
            rows,
            sets,
            check="groups",
            severity="warning",
            what=f"{counted(len(sets), 'group')} of the column 'group' {_have(sets)} rows in more than one split.",
            advice="Give all rows of a group one split, or leave the column 'split' out, and they are drawn whole.",
            columns=("group", "split"),
        )


def check_duplicates(rows, recipe, vectors, contents):
    """Yields `Finding`s of copies: whole rows across splits, single inputs across splits, and copies of two labels.

    Args:
        rows: A `Rows`.
        recipe: Its `Recipe`.
        vectors: `Data.vectors`.
        contents: `{input: Content}`.
    """
    codes = [c.codes for c in contents.values()]
    whole = np.where(np.max(codes, axis=0) < 0, -1, combine(codes))  # rows without any input are no copies
    telling = np.any([c.telling for c in contents.values()], axis=0)
    sets = sets_of(whole)
    plain = [s for s in sets if not telling[s].all()]
    if plain and _by_chance(rows, recipe, whole) > MOST_BY_CHANCE * sum(len(s) - 1 for s in plain):
        sets = [s for s in sets if telling[s].all()]
    across = straddling(sets, rows)
    every = tuple(contents)
    if across:
        yield about(
            rows,
            across,
            check="duplicates",
            severity="warning",
            what=f"{_rows(across)} in more than one split, equal in every input.",
            advice="Keep one row of each set, or give them one split: scores on copies of training rows are too good.",
            inputs=every,
        )
    yield from _two_labels(rows, recipe, sets)
    for key, content in contents.items() if len(contents) > 1 else ():
        yield from _one_input(rows, recipe.inputs[key], vectors, key, content, whole)


def _one_input(rows, spec, vectors, key, content, whole):
    sets = sets_of(content.codes, content.telling)
    columns, is_file = manifest_columns(key, spec, vectors), spec.kind in FILES
    most = max(MOST_COPIES, MOST_SHARE * len(rows))
    for copies in sets if is_file else ():
        if len(copies) > most:
            yield about(
                rows,
                [copies],
                check="placeholders",
                severity="note",
                what=f"One and the same file of {key!r} stands in {counted(len(copies), 'row')}.",
                advice="If it stands for an input that is not there, leave the cell empty.",
                inputs=(key,),
                columns=columns,
                files=files_of(rows, key, copies[:1]),
            )
    if not is_file and sum(map(len, sets)) > OFTEN * max((content.codes >= 0).sum(), 1):
        return
    own = [s for s in sets if len(s) <= most and len(set(whole[s])) > 1]
    if across := straddling(own, rows):
        yield about(
            rows,
            across,
            check="duplicates",
            severity="warning",
            what=f"{_rows(across)} in more than one split, equal in {key!r} alone.",
            advice="Give rows that share it one split, by a common value in the column 'group'.",
            inputs=(key,),
            columns=columns,
            files=files_of(rows, key, np.concatenate(across)) if is_file else (),
        )


def _two_labels(rows, recipe, sets):
    for task, spec in recipe.tasks.items():
        labels = rows.labels[task]
        known = labels != "" if labels.dtype == object else np.isfinite(labels)
        own = [s[known[s]] for s in sets]
        if own := [s for s in own if len(set(labels[s])) > 1]:
            yield about(
                rows,
                own,
                check="contradictions",
                severity="warning",
                what=f"{counted(len(own), 'set')} of rows equal in every input {_have(own)} two labels of {task!r}.",
                advice="Look at them, and keep the right label.",
                inputs=(task,),
                columns=(spec.column or task,),
            )


def _by_chance(rows, recipe, whole):
    """Returns how many pairs of rows of numbers and categories chance is expected to make equal.

    That is the number of pairs, of each class or in all, times the product over columns of the share of pairs that
    agree there, counted in rows that differ from all others. Columns that depend on each other agree more often, which
    is why the bound is strict. Of one column nothing can be said.
    """
    task = next((t for t, s in recipe.tasks.items() if s.kind == "classification"), None)
    classes = np.zeros(len(rows), int) if task is None else pd.factorize(rows.labels[task])[0]
    cells = [v for c in rows.cells.values() for v in (c.values() if isinstance(c, dict) else [c])]
    columns = [pd.factorize(v, use_na_sentinel=False)[0] for v in cells if v.ndim == 1]
    if len(columns) < 2:
        return np.inf
    distinct = np.unique(whole, return_index=True)[1]

    def expected(own):
        rest = distinct[own[distinct]]
        pairs = max(len(rest) * (len(rest) - 1), 1)
        return own.sum() * (own.sum() - 1) / 2 * np.prod([_equal_pairs(c[rest]) / pairs for c in columns])

    return max(expected(classes >= 0), sum(expected(classes == one) for one in np.unique(classes)))


def _equal_pairs(codes):
    counts = np.unique(codes, return_counts=True)[1]
    return (counts * (counts - 1)).sum()


def straddling(sets, rows):
    """Returns the sets of rows that are in more than one split."""
    return [] if rows.splits is None else [s for s in sets if len(set(rows.splits[s])) > 1]


def about(rows, sets, **what):
    """Returns a `Finding` about sets of rows, each an int array; a row in a set of its own stands alone."""
    at = np.unique(np.concatenate(sets))
    return Finding(
        ids=tuple(rows.ids[at]),
        sets=tuple(tuple(rows.ids[s]) for s in sets if len(s) > 1),
        splits=tuple(s for s in ("train", "validation", "test") if s in set(rows.splits[at])),
        **what,
    )


def files_of(rows, key, at):
    """Returns the paths that rows have of an input, each once."""
    return tuple(dict.fromkeys(p for p in rows.cells[key][at].reshape(-1) if p))


def _rows(sets):
    count = sum(map(len, sets))
    return f"{counted(len(sets), 'set')} of copies, {counted(count, 'row')}, {'stands' if len(sets) == 1 else 'stand'}"


def _have(sets):
    return "has" if len(sets) == 1 else "have"

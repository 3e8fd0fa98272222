"""Classes that are too few, too unequal, or not everywhere."""

import numpy as np
import pandas as pd

from mm_keras.data.checking.findings import Finding, counted, listed

SPLITS = ("train", "validation", "test")
UNBALANCED = 10.0  # the largest class over the smallest that is not rare
RARE = 5  # training rows; fewer cannot be divided into five folds


def class_table(rows, task, names):
    """Returns a DataFrame: how many rows of each split are of each class."""
    counts = pd.crosstab(pd.Series(rows.labels[task], dtype=object), pd.Series(rows.splits, dtype=object))
    table = counts.reindex(index=list(names), columns=list(SPLITS), fill_value=0)
    return table.rename_axis(task).rename_axis(None, axis=1)


def check_classes(rows, recipe, tables):
    """Yields `Finding`s about the labels of each task.

    Args:
        rows: A `Rows`.
        recipe: Its `Recipe`.
        tables: `{task: class_table(..)}`.
    """
    for task, spec in recipe.tasks.items():
        if task in tables:
            yield from _check_counts(task, spec, tables[task])
            continue
        numbers = rows.labels[task][rows.splits == "train"]
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers) > 1 and np.ptp(numbers) == 0:
            what = f"Every training row has the same {task!r}, {numbers[0]:g}."
            yield _finding(task, spec, what, "Check the column: there is nothing to learn.", ("train",))


def _check_counts(task, spec, table):
    train = table["train"]
    if not train.sum():
        return
    if none := list(train.index[train == 0]):
        what = f"{_classes(none, task)} without a training row: {listed(none)}."
        yield _finding(task, spec, what, "Give them rows, or leave them out of the recipe's `classes`.", ("train",))
    if rare := list(train.index[(train > 0) & (train < RARE)]):
        what = f"{_classes(rare, task)} with fewer than {RARE} training rows: {listed(rare)}."
        yield _finding(task, spec, what, "Find more rows, or join them with other classes.", ("train",))
    enough = train[train >= RARE]
    if len(enough) > 1 and enough.max() >= UNBALANCED * enough.min() and spec.class_weight is None:
        yield _finding(
            task,
            spec,
            f"The classes of {task!r} are unbalanced: {enough.max():,} training rows of {enough.idxmax()!r}, "
            f"{enough.min():,} of {enough.idxmin()!r}.",
            "Set the task's `class_weight: balanced`, and read balanced accuracy.",
            ("train",),
        )
    for split in SPLITS[1:]:
        own = table[split]
        if own.sum() and (none := list(own.index[(own == 0) & (train > 0)])):
            what = f"{_classes(none, task)} without a row in {split}: {listed(none)}."
            yield _finding(task, spec, what, "Scores say nothing of them; draw the splits by class.", (split,))


def _classes(names, task):
    return f"{counted(len(names), 'class', 'classes')} of {task!r}"


def _finding(task, spec, what, advice, splits=()):
    return Finding(
        check="classes",
        severity="warning",
        what=what,
        advice=advice,
        inputs=(task,),
        columns=(spec.column or task,),
        splits=splits,
    )

"""Columns, words, names of files and ids that give the label away."""

import re
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.data.checking.columns import FILES, Column, manifest_columns, presence
from mm_keras.data.checking.findings import Finding, listed
from mm_keras.data.checking.texts import normalise

# Of the cross-validated score of one column, what lacks to 1: a leak, and one whatever other columns say.
LEAK, SURE = 0.02, 0.002
# Between them, every other column must lack so many times more.
APART = 4.0
# A word tells a class that stands in so many of its rows, and in no more of the others than it misses.
TELLS, FEWEST = 0.98, 20


def check_columns(rows, columns, answers):
    """Yields a `Finding` for each column, and for each input's presence, that nearly alone tells a task's label.

    A column's score is the cross-validated balanced accuracy, or R2 of a regression, of what the training folds had at
    the nearest value (numbers) or at the same value (categories and texts). A column is reported when it lacks at most
    0.2 % to 1; or at most 2 %, and each other column lacks four times as much, those left out that lack 0.2 % at most.
    In an easy task several columns do well, and none stands out.

    Args:
        rows: A `Rows`.
        columns: As `single_columns` returns them.
        answers: `{task: Answers}`.
    """
    there = {k: presence(c) for k, c in rows.cells.items()}
    given = [Column(k, "", np.array(["", "given"], object)[p.astype(int)]) for k, p in there.items() if not p.all()]
    for task, own in answers.items():
        absent = {c.input: score for c in given if (score := own.score(c.values)) >= 1 - LEAK}
        for key, score in absent.items():
            yield Finding(
                check="leaks",
                severity="warning",
                what=f"Whether {key!r} is there tells {task!r}: {own.measure} {score:.3f}.",
                advice="Find out why it is missing in the rows of one label.",
                inputs=(key, task),
                columns=tuple(dict.fromkeys(c.name for c in columns if c.input == key)),
            )
        told = [c for c in columns if c.input not in absent]
        lacks = [1.0 if _is_flat(c) else 1.0 - own.score(c.values) for c in told]
        for number, column in enumerate(told):
            others = [value for i, value in enumerate(lacks) if i != number and value > SURE]
            best, own_lack = min(others, default=1.0), lacks[number]
            if own_lack <= SURE or (own_lack <= LEAK and best >= APART * own_lack):
                yield Finding(
                    check="leaks",
                    severity="warning",
                    what=f"The column {column.name!r} alone tells {task!r} in cross-validation: {own.measure} "
                    f"{1 - own_lack:.3f}; the best of the others {max(1 - best, 0):.3f}.",
                    advice="Leave it out, unless it is known before the label is.",
                    inputs=(column.input, task),
                    columns=(column.name,),
                )


def check_names(rows, recipe, answers):
    """Yields a `Finding` for the ids, or the names of an input's files, when a part of them tells a label.

    A name's parts are its folder and its first and last runs of letters or digits. No model sees them, so this is a
    note.
    """
    names = {"": rows.ids}
    for key, spec in recipe.inputs.items():
        if spec.kind in FILES:
            names[key] = rows.cells[key].reshape(len(rows), -1)[:, 0]
    for key, own in names.items():
        parts = [part for part in _parts(own) if len(set(part)) > 1]
        for task, known in answers.items():
            score = max((known.score(part) for part in parts), default=0.0)
            if score >= 1 - LEAK:
                what = f"the names of the files of {key!r}" if key else "the ids"
                yield Finding(
                    check="names",
                    severity="note",
                    what=f"A part of {what} tells {task!r}: {known.measure} {score:.3f}.",
                    advice="The model does not see it; make sure that nothing made from it is an input.",
                    inputs=(key, task) if key else (task,),
                    columns=manifest_columns(key, recipe.inputs[key], {}) if key else ("id",),
                )


def check_words(recipe, columns, answers):
    """Yields a `Finding` when one word of a text tells one class: it stands in 98 % of its rows, and hardly elsewhere.

    The word counts when at least 98 % of the rows that hold it are of the class too, of at least 20 rows. Articles tell
    languages as surely, so this is a note.
    """
    for column in columns:
        if recipe.inputs[column.input].kind != "text":
            continue
        words = [set(normalise(text).split()) for text in column.values]
        for task, own in answers.items():
            if own.is_number:
                continue
            found = _telling_words(words, own)
            if found:
                yield Finding(
                    check="words",
                    severity="note",
                    what=f"One word of {column.name!r} tells a class of {task!r}: "
                    f"{listed([f'{w!r} {c!r}' for w, c in found])}.",
                    advice="If whoever gave the label wrote the word, delete it with the input's `remove`.",
                    inputs=(column.input, task),
                    columns=(column.name,),
                )


def _telling_words(words, own):
    """Returns `[(word, class)]`."""
    everywhere, found = {}, []
    for row in own.rows:
        for word in words[row]:
            everywhere[word] = everywhere.get(word, 0) + 1
    for number, name in enumerate(own.classes):
        rows = own.rows[own.targets == number]
        if len(rows) < FEWEST:
            continue
        counts = {}
        for row in rows:
            for word in words[row]:
                counts[word] = counts.get(word, 0) + 1
        telling = [w for w, n in counts.items() if n >= TELLS * len(rows) and n >= TELLS * everywhere[w]]
        found += [(max(telling, key=lambda w: (counts[w], w)), name)] if telling else []
    return found


def _is_flat(column):
    values = column.values
    return len(pd.unique(values[np.isfinite(values)] if column.is_number else values)) < 2


def _parts(names):
    """Yields text arrays `(rows,)`: a name's folder, and its first and last three runs of letters or digits."""
    paths = [Path(name) for name in names]
    yield np.array([p.parent.name for p in paths], object)
    runs = [re.findall(r"[^\W\d_]+|\d+", p.stem) for p in paths]
    for place in (0, 1, 2, -1, -2, -3):
        yield np.array([r[place] if -len(r) <= place < len(r) else "" for r in runs], object)

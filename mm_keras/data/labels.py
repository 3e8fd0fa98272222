"""The labels of each task, and the classes that they are of."""

import numpy as np

from mm_keras.errors import DataError


def read_labels(manifest, tasks):
    """Returns `{task: array (rows,)}`, as in `Rows`; a row without any label is a fault.

    Args:
        manifest: A `Manifest`.
        tasks: `{name: task}` of a recipe.
    """
    labels = {}
    for key, spec in tasks.items():
        read = manifest.texts if spec.kind == "classification" else manifest.numbers
        labels[key] = read(spec.column or key, f"tasks.{key}")
    blank = [v == "" if v.dtype == object else np.isnan(v) for v in labels.values()]
    none = np.flatnonzero(np.all(blank, axis=0) & ~manifest.quarantine.bad)
    manifest.quarantine.add(none, ", ".join(tasks), [""] * len(none), "the row has no label")
    return labels


def find_classes(tasks, labels, splits, quarantine):
    """Returns `{task: class names}`, of the recipe or of the training rows; a label outside them is a fault.

    Args:
        tasks: `{name: task}` of a recipe.
        labels: As `read_labels` returns them.
        splits: String array `(rows,)`.
        quarantine: A `Quarantine`.

    Raises:
        DataError: When a task has less than two.
    """
    found = {}
    for key, spec in tasks.items():
        if spec.kind != "classification":
            continue
        own, names = labels[key], spec.classes
        if names is None:
            names = sorted({c for c in own[(splits == "train") & ~quarantine.bad] if c != ""}, key=natural)
        known = {"", *names}
        unknown = np.flatnonzero([c not in known for c in own])
        where = "the classes of the recipe" if spec.classes else "the classes of the training rows"
        quarantine.add(unknown, spec.column or key, own[unknown], f"unknown label: it is not among {where}")
        if len(names) < 2:
            raise DataError(f"tasks.{key}: the training rows need at least two classes. Received: {list(names)}")
        found[key] = tuple(names)
    return found


def natural(text):
    """Returns the key that sorts class names as people do: numbers by their size, then words."""
    try:
        return (0, float(text), text)
    except ValueError:
        return (1, 0.0, text)

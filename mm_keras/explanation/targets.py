"""Which number of a model is explained."""

import numpy as np

from mm_keras.errors import DataError
from mm_keras.registry import nearest


def known(kind, word, words):
    """Returns a word that is known.

    Raises:
        DataError: When it is not, with the nearest that is.
    """
    if word not in words:
        raise DataError(f"unknown {kind} {word!r}.{nearest(word, words)} Known: {list(words)}")
    return word


def find_task(task, tasks):
    """Returns the name of a task given by name or number; by default the first."""
    if task is None:
        return next(iter(tasks))
    if _is_number(task):
        if not 0 <= task < len(tasks):
            raise DataError(f"task number {task} is outside 0..{len(tasks) - 1}. Known: {list(tasks)}")
        return list(tasks)[task]
    return known("task", task, tasks)


def find_target(task, target, scores):
    """Returns `(number among the task's outputs, name or None)` of what is explained.

    Args:
        task: Of a run, or an `outputs.Output`.
        target: `None` for the largest, a class or unit by name or number, of an output with several axes a tuple of
            numbers.
        scores: Float `(outputs,)`, the task's for the example.
    """
    shape = getattr(task, "shape", None)
    if not (task.is_categorical or getattr(task, "has_units", False)):
        if target is not None:
            raise DataError(f"task {task.name!r} is a number without classes; leave `target` out. Received: {target!r}")
        return 0, None
    if shape is not None and len(shape) > 1:
        return _place(task, target, shape)
    if target is None:
        number = int(scores.argmax())
    elif _is_number(target):
        number = int(target)
        if not 0 <= target < len(task.classes):
            raise DataError(f"class number {target} is outside 0..{len(task.classes) - 1} of task {task.name!r}.")
    else:
        number = list(task.classes).index(known(f"class of task {task.name!r},", target, task.classes))
    return number, str(task.classes[number])


def name_of(score):
    """Returns what a function of the outputs is called where its number is shown."""
    name = getattr(score, "__name__", type(score).__name__)
    return "a function of the outputs" if name == "<lambda>" else name


def _place(task, target, shape):
    fits = isinstance(target, tuple) and len(target) == len(shape) and all(_is_number(t) for t in target)
    if not fits or None in shape or any(not 0 <= t < s for t, s in zip(target, shape, strict=True)):
        raise DataError(
            f"output {task.name!r} has the shape {shape} for each example; `target` must be a place in it, a tuple of "
            f"{len(shape)} numbers such as {(0,) * len(shape)}, or a function of the outputs. Received: {target!r}"
        )
    return int(np.ravel_multi_index(target, shape)), ", ".join(str(t) for t in target)


def _is_number(value):
    return isinstance(value, int | np.integer) and not isinstance(value, bool)

"""`mm_keras.explain`: from a run and a raw example to an `Explanation`."""

import numpy as np

from mm_keras.errors import DataError
from mm_keras.explanation.coalitions import contributions, pairs_of
from mm_keras.explanation.engine import engine_for
from mm_keras.explanation.explanation import Explanation
from mm_keras.explanation.methods import METHODS
from mm_keras.explanation.panels import make_panel
from mm_keras.preprocessing.raw import raw_batch
from mm_keras.registry import nearest
from mm_keras.training.run import load_run


def explain(run, example, target=None, method="integrated_gradients", task=None, steps=64):
    """Shows what each input, and each part of it, contributed to one prediction.

    The inputs' scores are Shapley values: the model's output with every subset of them, the others missing, as
    it learned to do without. The maps inside an input are the method's.

    Args:
        run: A `Run` or its folder.
        example: `{field: raw value}`, as `Run.encode` takes; an absent field is missing.
        target: The class explained, by name or number. Defaults to the predicted one. A regression has none.
        method: A name of `methods.METHODS`.
        task: Which task. Defaults to the recipe's first.
        steps: Points on the way of integrated gradients; 64 leave a median error of some thousandths.

    Returns:
        An `Explanation`.

    Raises:
        DataError: On an unknown field, task, class or method, and on a value that cannot be decoded.
    """
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
    run = load_run(run)
    task = next(iter(run.tasks)) if task is None else _known("task", task, run.tasks)
    attribute = METHODS[_known("method", method, METHODS)]
    raw, tensors = _encode(run, example)
    engine = engine_for(run.model, run.tasks)
    seen = engine.observe(tensors)
    number = _number(run.tasks[task], target, seen.scores[0, engine.columns[task]])
    column = engine.columns[task].start + number

    shared = contributions(engine, tensors, np.array([column], np.int32))
    attributions, start = attribute(engine, tensors, np.array([column], np.int32), steps)
    views = {n: make_panel(p, tensors[n][0], attributions[n][0], raw[n]) for n, p in run.preprocessors.items()}
    return Explanation(
        task=task,
        target=_name(run.tasks[task], number),
        method=method,
        prediction=_prediction(run.tasks[task], seen.outputs[task]),
        value=float(shared.values[0]),
        base_value=float(shared.base_values[0]),
        scores=dict(zip(shared.names, shared.scores[0].tolist(), strict=True)),
        score_errors=dict(zip(shared.names, shared.errors[0].tolist(), strict=True)),
        interactions=pairs_of(shared.names, shared.interactions[0]),
        interaction_errors=pairs_of(shared.names, shared.interaction_errors[0]),
        maps={n: values for n, (values, _) in views.items()},
        start_value=None if start is None else float(start[0]),
        panels={n: panel for n, (_, panel) in views.items()},
    )


def _known(kind, word, words):
    if word not in words:
        raise DataError(f"unknown {kind} {word!r}.{nearest(word, words)} Known: {list(words)}")
    return word


def _encode(run, example):
    """Returns `({input: {field: raw value}}, {input: model tensor (1, ...)})`."""
    batch = raw_batch(run.preprocessors, [example])
    tensors, fine = run.encode([example])
    if bad := [n for n, ok in fine.items() if not ok[0]]:
        raise DataError(f"the example's {', '.join(bad)} cannot be decoded, so there is nothing to explain.")
    return {n: {f: batch[f][0] for f in p.raw_specs} for n, p in run.preprocessors.items()}, tensors


def _number(task, target, outputs):
    """Returns which of a task's outputs is explained."""
    if not task.is_categorical:
        if target is not None:
            raise DataError(f"task {task.name!r} is a number without classes; leave `target` out. Received: {target!r}")
        return 0
    if target is None:
        return int(outputs.argmax())
    if isinstance(target, int | np.integer) and not isinstance(target, bool):
        if not 0 <= target < len(task.classes):
            raise DataError(f"class number {target} is outside 0..{len(task.classes) - 1} of task {task.name!r}.")
        return int(target)
    return list(task.classes).index(_known(f"class of task {task.name!r},", target, task.classes))


def _name(task, number):
    return str(task.classes[number]) if task.is_categorical else None


def _prediction(task, outputs):
    columns = {name: values[0] for name, values in task.decode(outputs).items()}
    return {name: v.item() if hasattr(v, "item") else v for name, v in columns.items()}

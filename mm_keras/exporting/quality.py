"""What int8 costs on real rows: accuracy or error with labels, agreement with the float model without."""

import numpy as np

from mm_keras.exporting.checks import Check

_ROW = ("LiteRT int8", "serving_default")


def int8_checks(tasks, subset, outputs, reference, targets, max_drop):
    """Returns the gates of the int8 model, all inputs given.

    Args:
        tasks: `{task: task}`.
        subset: The inputs, all of them.
        outputs: `{task: array (rows, ...)}` of the int8 model.
        reference: The same of the float model.
        targets: `{task: array (rows,)}`, encoded.
        max_drop: Largest fall of the accuracy, and largest growth of the root mean squared error in deviations of the
            task. One row is always allowed: fewer than `1 / max_drop` rows cannot show less.
    """
    checks = []
    for name, task in tasks.items():
        check = _classification if task.is_categorical else _regression
        labelled = task.weights(targets[name]) > 0
        checks += check(name, task, subset, outputs[name], reference[name], targets[name], labelled, max_drop)
    return checks


def _classification(name, task, subset, output, reference, target, labelled, max_drop):
    guess, original = output.argmax(-1), reference.argmax(-1)
    differing = float(np.mean(guess != original))
    if not labelled.any():
        allowed, note = max(max_drop, 1 / len(guess)), "no row has a label"
        return [Check(*_ROW, "other labels than float", name, subset, len(guess), differing, allowed, note)]
    before, after = (int(np.sum((g == target)[labelled])) for g in (original, guess))
    rows = int(labelled.sum())
    note = f"{before / rows:.4f} -> {after / rows:.4f}"
    return [
        Check(*_ROW, "accuracy drop", name, subset, rows, (before - after) / rows, max(max_drop, 1 / rows), note),
        Check(*_ROW, "other labels than float", name, subset, len(guess), differing),
    ]


def _regression(name, task, subset, output, reference, target, labelled, max_drop):
    output, reference, deviation = output[:, 0], reference[:, 0], task.state["deviation"]
    apart = _rmse(output, reference) / deviation
    if not labelled.any():
        # Without labels the noise itself is limited: noise of 0.08 deviations adds 0.01 to the error of a model that
        # explains nine tenths of the variance.
        note = "no row has a label"
        return [Check(*_ROW, "distance from float", name, subset, len(output), apart, 10 * max_drop, note)]
    before, after = (_rmse(o[labelled], target[labelled]) for o in (reference, output))
    note = f"rmse {before:.4g} -> {after:.4g}"
    return [
        Check(*_ROW, "rmse growth", name, subset, int(labelled.sum()), (after - before) / deviation, max_drop, note),
        Check(*_ROW, "distance from float", name, subset, len(output), apart),
    ]


def _rmse(values, targets):
    return float(np.sqrt(np.mean(np.square(values - targets))))

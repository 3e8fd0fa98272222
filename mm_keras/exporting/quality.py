"""What quantising costs on real rows: accuracy or error with labels, agreement with the float model without."""

from dataclasses import replace

import numpy as np

from mm_keras.exporting.checks import Check

_SIGNATURE = "serving_default"


def quality_checks(artefact, tasks, subset, outputs, reference, targets, max_drop):
    """Returns the gates of a quantised model, all inputs given.

    Args:
        artefact: As in a `Check`.
        tasks: `{task: task}`.
        subset: The inputs, all of them.
        outputs: `{task: array (rows, ...)}` of the quantised model.
        reference: The same of the float model.
        targets: `{task: array (rows,)}`, encoded.
        max_drop: Largest fall of the accuracy, and largest growth of the root mean squared error in deviations of the
            task. One row is always allowed: fewer than `1 / max_drop` rows cannot show less. `None` reports only.
    """
    checks = []
    for name, task in tasks.items():
        check = _classification if task.is_categorical else _regression
        labelled = task.weights(targets[name]) > 0
        limit = np.inf if max_drop is None else max_drop
        found = check((artefact, _SIGNATURE), name, task, subset, outputs[name], reference[name], targets[name],
                      labelled, limit)  # fmt: skip
        checks += found if max_drop is not None else [replace(c, tolerance=None) for c in found]
    return checks


def _classification(row, name, task, subset, output, reference, target, labelled, max_drop):
    guess, original = output.argmax(-1), reference.argmax(-1)
    differing = float(np.mean(guess != original))
    if not labelled.any():
        allowed, note = max(max_drop, 1 / len(guess)), "no row has a label"
        return [Check(*row, "other labels than float", name, subset, len(guess), differing, allowed, note)]
    before, after = (int(np.sum((g == target)[labelled])) for g in (original, guess))
    rows = int(labelled.sum())
    note = f"{before / rows:.4f} -> {after / rows:.4f}"
    return [
        Check(*row, "accuracy drop", name, subset, rows, (before - after) / rows, max(max_drop, 1 / rows), note),
        Check(*row, "other labels than float", name, subset, len(guess), differing),
    ]


def _regression(row, name, task, subset, output, reference, target, labelled, max_drop):
    output, reference, deviation = output[:, 0], reference[:, 0], task.state["deviation"]
    apart = _rmse(output, reference) / deviation
    if not labelled.any():
        # Without labels the noise itself is limited: noise of 0.08 deviations adds 0.01 to the error of a model that
        # explains nine tenths of the variance.
        note = "no row has a label"
        return [Check(*row, "distance from float", name, subset, len(output), apart, 10 * max_drop, note)]
    before, after = (_rmse(o[labelled], target[labelled]) for o in (reference, output))
    note = f"rmse {before:.4g} -> {after:.4g}"
    return [
        Check(*row, "rmse growth", name, subset, int(labelled.sum()), (after - before) / deviation, max_drop, note),
        Check(*row, "distance from float", name, subset, len(output), apart),
    ]


def _rmse(values, targets):
    return float(np.sqrt(np.mean(np.square(values - targets))))

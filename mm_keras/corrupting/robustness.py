"""`mm_keras.robustness`: what is a model still worth when an input gets worse?"""

import numpy as np

from mm_keras.corrupting.answers import CLEAN, GONE, collect_answers
from mm_keras.corrupting.baseline import check_baseline
from mm_keras.corrupting.corruptions import corruptions_of
from mm_keras.corrupting.curves import STEPS, gains_of, measure_curves
from mm_keras.corrupting.result import Robustness
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import HEADLINES, rows_to_score
from mm_keras.explanation.targets import find_task, known
from mm_keras.training.run import load_run


def robustness(run, data=None, rows=300, *, inputs=None, baseline=None, task=None, seed=0, verbose=True):
    """Measures what a model is still worth when one input gets worse, step by step, and when it is missing.

    What gets worse is what a user has, pixels, letters, samples and cells, before the model's preprocessing: so does a
    served model meet it. Every kind of input has corruptions of its own, of five severities each
    (`mm_keras.corrupting.corruptions.CORRUPTIONS`). The draws of a row are the same at every severity and for every
    run, whichever other rows are there.

    Args:
        run: A `Run` or its folder.
        data: Rows as `evaluate` takes them. Defaults to the run's own test rows.
        rows: Most rows, drawn at random from those with a label.
        inputs: Names of the inputs that get worse. Defaults to all.
        baseline: Another `Run` or its folder, of the same task, whose inputs are among those of `run` and read the same
            values; it meets the same corrupted values. Defaults to the model itself without the input.
        task: Which task, by name or number. Defaults to the recipe's first.
        seed: Of the choice of rows, of what is drawn, and of the bootstrap.
        verbose: Whether to print how far it is.

    Returns:
        A `Robustness`.

    Raises:
        DataError: On an unknown task or input, when no row has a label, or the baseline does not fit.

    Reference:
        Hendrycks and Dietterich 2019, arXiv:1903.12261, section 4 (corruptions of five severities; errors beside a
        baseline's: the corruption error). Taori et al. 2020, arXiv:2007.00644, section 2 (effective robustness: beyond
        what a baseline leads to expect). Liang et al. 2021, arXiv:2107.07502 (MultiBench: noise in one modality at a
        time; relative robustness, the area under the curve, and effective robustness, the sum over noise levels of how
        much less is lost than by late fusion; formulas as in the authors' `eval_scripts/robustness.py`). Differs:
        `relative` is beside the clean score, and not scaled to the best and worst of several models; `effective` is a
        mean, against any run; without one it is against the same model with the input missing, which says whether the
        worse input is still worth sending.
    """
    run = load_run(run)
    name = find_task(task, run.tasks)
    inputs = list(run.recipe.inputs) if inputs is None else [known("input", n, run.recipe.inputs) for n in inputs]
    if not inputs:
        raise DataError("give one input at least, or leave `inputs` out for all.")
    models = {"run": run}
    if baseline is not None:
        models["baseline"] = load_run(baseline)
        check_baseline(run, models["baseline"], name)
    chosen = _draw(run, data, name, rows, seed)
    say = print if verbose else (lambda text: None)
    answers, at = collect_answers(models, chosen, name, inputs, seed, say)
    left_out, chosen = len(chosen) - len(at), chosen.take(at)
    labels, is_error = chosen.labels[name], not run.tasks[name].is_categorical
    scores = {n: {k: gains_of(models[n].tasks[name], a, labels) for k, a in own.items()} for n, own in answers.items()}
    kinds = {n: corruptions_of(run.preprocessors[n]) for n in inputs}
    curves = [(n, c.name) for n, own in kinds.items() for c in own]
    found = measure_curves(scores["run"], curves, is_error, seed, scores.get("baseline"))
    found = {k: _finite(v) for k, v in found.items()}
    given = _count_given(run, chosen, inputs)
    return Robustness(
        task=name,
        measure=HEADLINES[run.recipe.tasks[name].kind][0],
        n=len(chosen),
        left_out=left_out,
        baseline=None if baseline is None else str(models["baseline"].folder),
        clean=found[CLEAN,],
        missing={n: {**found[n, GONE], "change": found["change", n, GONE], "given": given[n]} for n in inputs},
        curves={n: {c.name: _curve(found, n, c) for c in own} for n, own in kinds.items()},
        error=found.get(("error",)),
    )


def _draw(run, data, task, count, seed):
    """Returns up to `count` labelled `Rows`, in their order."""
    if count < 1:
        raise DataError(f"`rows` must be 1 or more. Received: rows={count}")
    rows, _ = rows_to_score(run, data)
    targets = run.tasks[task].encode(rows.labels[task])
    labelled = np.flatnonzero(run.tasks[task].weights(targets) > 0)
    if not len(labelled):
        raise DataError(f"tasks.{task}: no row has a label.")
    return rows.take(np.sort(np.random.default_rng(seed).permutation(labelled)[:count]))


def _count_given(run, rows, inputs):
    """Returns `{input: in how many rows it is there}`."""
    fields = {n: set(run.preprocessors[n].raw_specs) for n in inputs}
    filled = [rows.example(i).keys() for i in range(len(rows))]
    return {n: sum(not own.isdisjoint(keys) for keys in filled) for n, own in fields.items()}


def _curve(found, name, corruption):
    place = name, corruption.name
    points = []
    for step in range(STEPS):
        gains = {what: found[(what, *place, step)] for what in ("change", "over_missing")}
        points.append({**found[(*place, step)], **gains})
    harmless = [step for step, point in enumerate(points) if not point["over_missing"]["high"] < 0]
    first = harmless[-1] + 1 if harmless else 0
    return {
        "unit": corruption.unit,
        "severities": list(corruption.severities),
        "written": corruption.written(),
        "points": points,
        **{what: found.get((what, *place)) for what in ("relative", "effective", "error")},
        "harms_from": corruption.severities[first] if first < STEPS else None,
    }


def _finite(interval):
    """Returns an interval with `None` for what is no number, which JSON lacks."""
    return {k: v if np.isfinite(v) else None for k, v in interval.items()}

"""`mm_keras.search`: which settings of a recipe are best on its validation rows."""

from functools import partial
from pathlib import Path

import numpy as np

from mm_keras.data.setting import keep_setting, rows_digest
from mm_keras.errors import DataError
from mm_keras.evaluation.judge import Judge
from mm_keras.recipe import load_recipe
from mm_keras.saving import working_in
from mm_keras.searching.changes import content_of
from mm_keras.searching.importance import field_importance
from mm_keras.searching.result import Search
from mm_keras.searching.space import read_space
from mm_keras.searching.study import Work, best_of, check_search_extra, open_study, run_trials, told
from mm_keras.searching.tally import trial_lines
from mm_keras.searching.training import train_trial
from mm_keras.training.fit import check_data
from mm_keras.training.learn import learn_tasks


def search(recipe, data, out, space=None, *, trials=20, minutes=None, prune=True, verbose=True):
    """Trains a recipe with other settings, trial after trial, and tells which are best on the validation rows.

    The first trial is the recipe as it is; the next eight are drawn at random from the space; from then on Optuna's
    Tree-structured Parzen Estimator draws where good ones were. A trial whose best score so far is below the median of
    the others at the same epoch is stopped, once a third of its epochs are over and four trials have ended. One that
    fails, of a loss that is no number or a lack of memory, is told with its reason, and the search goes on. Test rows
    are never looked at.

    The score is that of the model that `fit` would keep: the mean over tasks, by their weights in the recipe as given,
    of the accuracy of a classification and of 1 less the mean absolute error of a regression, in deviations of its
    training rows. Fitting the best recipe on the same data gives that model again.

    Each trial is kept in `out/study.db` when it ends: a search that is stopped, or called again for more trials, runs
    what is left, and a trial is drawn as if nothing had stopped. A second process is refused.

    Args:
        recipe: A `Recipe` or the path of one.
        data: What `load` returned, or a manifest as `load` takes it; with validation rows.
        out: Folder of the study and the results: `best.yaml`, a whole recipe; `search.json`, `.csv`, `.png` and
            `.html`; `trials/`, whose logs TensorBoard reads.
        space: `{dotted path of a field: values}`, or a YAML file of that. Values are a list of choices, or a range
            `{"low": 1e-4, "high": 1e-2, "log": True}`, both ends possible; as text `"gated, concat"` and
            `"1e-4..1e-2 log"`. A part that has a kind may be searched whole (`"fusion"`). An option,
            `"fusion.options.rank"`, is left out where the kind in the trial does not have it. Fields that say what is
            read from the manifest, and seeds, stay as they are. `None` takes `training.learning_rate`, a tenth to ten
            times the recipe's, and `training.weight_decay`, 1e-6 to 0.1, both by factors; of several inputs
            `training.modality_dropout` (0 to 0.5), `training.auxiliary` (0, 0.3 or 1), `fusion.kind` (the recipe's,
            concat, gated, low_rank, self_attention or decision_mean), `fusion.units` (32, 64 or 128) and
            `fusion.dropout` (0 to 0.5), of one input its `encoder.dropout` (0 to 0.5); what the recipe says is always
            among them.
        trials: How many, the first and those of earlier calls included.
        minutes: No trial starts later in this call. Defaults to `None`, no limit.
        prune: Whether trials that are behind are stopped.
        verbose: Whether to print the space and a line after each trial.

    Returns:
        A `Search`.

    Raises:
        RecipeError: On a field that the recipe does not have, a value that it refuses, or a wrong range; before
            anything trains.
        DataError: Without Optuna or validation rows, when `out` holds another search or is being worked in, or when
            every trial failed.

    Reference:
        Bergstra et al. 2011, Algorithms for hyper-parameter optimization, section 4 (TPE); Golovin et al. 2017, Google
        Vizier, section 3.2 (median stopping); Akiba et al. 2019, arXiv:1907.10902 (Optuna). Differs: each trial has a
        sampler of its own, seeded by the recipe's seed and its number.
    """
    check_search_extra()
    if trials < 1:
        raise DataError(f"`trials` must be at least 1. Received: {trials}")
    recipe, out = load_recipe(recipe), Path(out)
    space = read_space(recipe, space)
    data = check_data(recipe, data)
    if not len(data.validation):
        raise DataError(f"{data.name}: no validation rows, by which a search chooses.")
    say = print if verbose else (lambda text: None)
    judge = Judge(recipe, learn_tasks(recipe, data), data.validation)
    written = {path: str(own) for path, own in space.items()}
    setting = {"recipe": content_of(recipe), "space": written, "rows": rows_digest([data]), "prune": prune}
    with working_in(out):
        keep_setting(out / "setting.json", setting, "another search")
        for path, values in written.items():
            say(f"{path}: {values}")

        train = partial(_train, data=data, judge=judge, out=out)
        work = Work(recipe, space, train, lambda number: out / "trials" / str(number) / "answers.npz", judge.score, say)
        with open_study(out / "study.db", recipe.training.epochs, prune) as study:
            if kept := len(told(study)):
                say(f"{kept} of {trials} trials are kept in {out}")
            run_trials(study, work, trials, None if minutes is None else 60 * minutes)
            found = _result(study, work, judge, {"n": len(data.validation), "wanted": trials, "space": written})
        found.best.save(out / "best.yaml")
        for suffix in Search.SUFFIXES:
            found.save(out / f"search{suffix}")
    return found


def _train(recipe, number, behind, *, data, judge, out):
    return train_trial(recipe, data, judge, out / "trials" / str(number), behind)


def _result(study, work, judge, facts):
    """Returns the `Search` that the trials of a study make."""
    lines, best = trial_lines(told(study), work.space, work.recipe), best_of(study)
    if best is None:
        first = lines["reason"].iloc[0] if len(lines) else "none ran"
        raise DataError(f"every one of {len(lines)} trials failed. The first: {first}")
    number = best.user_attrs["number"]
    places = {"given": work.answers(0), "best": work.answers(number)}
    answers = {kind: dict(np.load(place)) for kind, place in places.items() if place.is_file()}
    single = "given" if "given" in answers else "best"
    found = judge.intervals(answers, single, work.recipe.training.seed)
    scores = {kind: {what: own for (k, what), own in found.items() if k == kind} for kind in answers}
    return Search(
        best=work.recipe_of(best),
        number=number,
        trials=lines,
        scores=scores,
        importance=field_importance(study, lines, work),
        measures=judge.measures,
        **facts,
    )

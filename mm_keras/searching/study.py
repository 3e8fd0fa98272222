"""The trials of a search, kept in Optuna's study file: those that are told are never run again."""

import contextlib
import importlib.util
import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from mm_keras.errors import DataError
from mm_keras.extension import first_line
from mm_keras.recipe import Recipe
from mm_keras.searching.changes import changed
from mm_keras.searching.space import given_values

NAME = "search"
RANDOM = 8  # trials at random before the sampler models them
UNPRUNED = 4  # whole trials before one can be behind


@dataclass(frozen=True)
class Work:
    """What all trials of a search share.

    Args:
        recipe: The `Recipe` as given.
        space: As `read_space` returns it.
        train: Called with `(recipe, number, behind)`; see `train_trial`.
        answers: Called with a number, returns the path of the trial's answers, a `pathlib.Path`.
        score: Called with `{task: logits}`, returns the score.
        say: Called with a line.
    """

    recipe: Recipe
    space: dict
    train: Any
    answers: Any
    score: Any
    say: Any

    def recipe_of(self, trial):
        """Returns the `Recipe` of a trial of Optuna; the first is the one given."""
        if not trial.user_attrs["number"]:
            return self.recipe
        return changed(self.recipe, values_of(trial, self.space))


def check_search_extra():
    """Raises `DataError` when Optuna is not installed."""
    if importlib.util.find_spec("optuna") is None:
        raise DataError("a search needs Optuna, which is absent: pip install 'mm_keras[search]'")


@contextlib.contextmanager
def open_study(path, epochs, prune):
    """Yields the study of a file, made if absent; Optuna prints no line of its own meanwhile.

    Args:
        path: Of the SQLite file.
        epochs: Of a training; a third of them are over before one can be behind.
        prune: Whether any can.
    """
    import optuna

    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    pruner = optuna.pruners.MedianPruner(UNPRUNED, n_warmup_steps=max(1, epochs // 3))
    storage = optuna.storages.RDBStorage(f"sqlite:///{path}")
    try:
        yield optuna.create_study(
            storage=storage,
            study_name=NAME,
            direction="maximize",
            load_if_exists=True,
            pruner=pruner if prune else optuna.pruners.NopPruner(),
        )
    finally:
        storage.remove_session()
        storage.engine.dispose()
        optuna.logging.set_verbosity(level)


def told(study):
    """Returns the trials that count, in order: finished, pruned or failed by themselves."""
    lost = study.user_attrs.get("lost", {})
    trials = [t for t in study.get_trials(deepcopy=False) if t.state.is_finished() and str(t.number) not in lost]
    return sorted((t for t in trials if "number" in t.user_attrs), key=lambda t: t.user_attrs["number"])


def best_of(study):
    """Returns the best finished trial, the first of equal ones, or `None`."""
    whole = [t for t in told(study) if t.state.name == "COMPLETE"]
    return max(whole, key=lambda t: t.value, default=None)


def values_of(trial, space):
    """Returns `{dotted path: value}` of a trial of Optuna."""
    return {path: own.value(trial.params[path]) for path, own in space.items() if path in trial.params}


def run_trials(study, work, count, seconds=None):
    """Runs trials until as many are told, or the time is over.

    Each trial's sampler starts from the recipe's seed and the trial's number, so that a search that was stopped goes on
    as if it had not been.

    Args:
        study: Of `open_study`.
        work: A `Work`.
        count: How many, with those that are told already.
        seconds: No trial starts later; `None` for no limit.
    """
    import optuna

    _settle(study)
    began = time.monotonic()
    while (number := len(told(study))) < count and (seconds is None or time.monotonic() - began < seconds):
        seed = work.recipe.training.seed + number
        study.sampler = optuna.samplers.TPESampler(seed=seed, n_startup_trials=RANDOM, multivariate=False)
        given = given_values(work.recipe, work.space) if number == 0 else None
        if given is not None and not study.get_trials(deepcopy=False, states=(optuna.trial.TrialState.WAITING,)):
            study.enqueue_trial({path: work.space[path].parameter(value) for path, value in given.items()})
        trial = study.ask()
        trial.set_user_attr("number", number)
        for path in work.space if given is None else given:
            work.space[path].suggest(trial, path)
        line = _run(study, trial, work, number)
        best = best_of(study)
        work.say(f"[{number + 1}/{count}] {line}" + (f"; best {best.value:.3f}" if best else ""))


def _settle(study):
    """Leaves out trials that a kill cut short, so that they run again; one that was cut short before has failed."""
    for trial in study.get_trials(deepcopy=False):
        if trial.state.name != "RUNNING":
            continue
        number, lost = trial.user_attrs.get("number"), study.user_attrs.get("lost", {})
        if number is None or number not in lost.values():
            study.set_user_attr("lost", lost | {str(trial.number): number})
        study.tell(trial.number, state=_states().FAIL)


def _states():
    from optuna.trial import TrialState

    return TrialState


def _run(study, trial, work, number):
    """Runs one trial and tells the study; returns what is said of it."""
    began, states = time.monotonic(), _states()

    def behind(score, epoch):
        trial.report(score, epoch)
        return number > 0 and trial.should_prune()

    try:
        recipe = work.recipe_of(trial)
        logits, epochs = work.train(recipe, number, behind)
    except (KeyboardInterrupt, DataError):  # no fault of the trial
        study.set_user_attr("lost", study.user_attrs.get("lost", {}) | {str(trial.number): None})
        study.tell(trial, state=states.FAIL)
        raise
    except Exception as error:
        reason = f"{type(error).__name__}: {first_line(error)}"
        trial.set_user_attr("reason", reason)
        study.tell(trial, state=states.FAIL)
        return f"failed: {reason}"
    seconds = time.monotonic() - began
    trial.set_user_attr("epochs", epochs)
    trial.set_user_attr("seconds", round(seconds, 1))
    if logits is None:
        study.tell(trial, state=states.PRUNED)
        return f"behind after {epochs} epochs, {seconds:.0f} s"
    np.savez(_made(work.answers(number)), **logits)
    score = float(work.score(logits))
    before = best_of(study)
    study.tell(trial, score)
    # Only the given and the best recipe are ever compared by row.
    loser = number if before is not None and before.value >= score else before and before.user_attrs["number"]
    if loser:
        work.answers(loser).unlink(missing_ok=True)
    return f"{score:.3f}, {epochs} epochs, {seconds:.0f} s"


def _made(path):
    path.parent.mkdir(parents=True, exist_ok=True)
    return path

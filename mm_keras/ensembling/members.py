"""The members of an ensemble: one recipe, one preprocessing and the same first weights, each trained on other rows."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pandas as pd

from mm_keras.data.folds import cut_folds
from mm_keras.data.rows import Rows
from mm_keras.data.splits import draw_splits
from mm_keras.evaluation.evaluate import predict_rows
from mm_keras.training.run import Run
from mm_keras.training.trainer import Trainer

# Of the training rows, drawn when no others can judge.
VALIDATION = 0.1


@dataclass(frozen=True)
class Member:
    """One trained network.

    Args:
        number: 1 is the first.
        trainer: The `Trainer`, trained.
        held: The `Rows` of its fold, which chose its epoch.
        trained: Number of the rows it was trained on.
        history: A DataFrame, a line an epoch.
    """

    number: int
    trainer: Trainer
    held: Rows
    trained: int
    history: pd.DataFrame


class Voice:
    """What a network says of rows, before the last layer.

    Args:
        trainer: A `Trainer`, whose model is asked; it may get other weights between two questions.
    """

    def __init__(self, trainer):
        model = trainer.model
        # What the last layer takes, whatever stands between the head and it.
        network = keras.Model(model.input, {t: model.get_layer(t).input for t in trainer.tasks})
        self._run = Run(Path(), trainer.recipe, trainer.preprocessors, trainer.tasks, network)

    def logits(self, rows):
        """Returns `{task: float32 (rows, classes) or (rows, 1)}`; NaN in rows whose files have gone bad."""
        every = tuple(self._run.recipe.inputs)
        said, at = predict_rows(self._run, rows, [every])
        found = {}
        for task, values in said[every].items():
            found[task] = np.full((len(rows), *values.shape[1:]), np.nan, values.dtype)
            found[task][at] = values
        return found


def stratum(rows, classes):
    """Returns the labels of the first classification, whose classes stay in proportion, or `None`."""
    return next((rows.targets(task) for task in classes), None)


def with_judges(data, seed):
    """Returns `(data, whether rows were drawn)`: data without validation rows get a tenth of the training rows."""
    if len(data.validation):
        return data, False
    rows, splits = data.train, data.rows.splits.copy()
    shares = (1 - VALIDATION, VALIDATION, 0.0)
    splits[splits == "train"] = draw_splits(len(rows), shares, seed, stratum(rows, data.classes), rows.groups)
    return replace(data, rows=data.rows.resplit(splits)), True


def cut_members(data, count, seed):
    """Returns `Rows` for each member: all training rows, those of its fold in the split `"validation"`.

    Raises:
        DataError: When there are fewer than two members, or fewer training rows or groups than members.
    """
    rows = data.train
    folds = cut_folds(count, len(rows), stratum(rows, data.classes), rows.groups, seed, wanted="`members` must be")
    places = np.arange(len(rows))
    return [rows.resplit(np.where(np.isin(places, held), "validation", "train")) for _, held in folds]


def train_members(recipe, data, parts, cut, out, verbose, say):
    """Trains a network for each fold, from the same first weights.

    Args:
        recipe: A `Recipe`.
        data: A `Data`.
        parts: `({input: preprocessor}, {task: task})`, adapted.
        cut: What `cut_members` returned.
        out: Folder for their logs.
        verbose: Whether each training prints its progress.
        say: Called with a line for each member.

    Returns:
        A list of `Member`s.
    """
    found, first = [], None
    for number, rows in enumerate(cut, 1):
        own = replace(data, rows=rows)
        say(f"member {number} of {len(cut)}: {len(own.train)} rows train, {len(own.validation)} choose its epoch")
        keras.utils.set_random_seed(recipe.training.seed)
        trainer = Trainer(recipe, *parts)
        first = trainer.network.get_weights() if first is None else first
        trainer.network.set_weights(first)
        history = trainer.train(own, Path(out) / "members" / str(number), verbose)
        trainer = trainer.settled()
        trainer.fit_fusions(own.validation, say)
        history.insert(0, "member", number)
        found.append(Member(number, trainer, own.validation, len(own.train), history))
    return found

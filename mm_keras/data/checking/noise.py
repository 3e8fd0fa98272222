"""Rows whose label a simple model is sure is another."""

import numpy as np
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

from mm_keras.data.checking.features import simple_features
from mm_keras.data.checking.findings import Finding, counted, listed
from mm_keras.data.checking.scores import FOLDS

SHRINKAGE = 0.1
# Fewest rows of the surest quarter whose label is doubted: one or two are chance.
FEWEST = 3
# How much rarer doubts may be in the surest quarter than in the surest half, and still not be due to the model.
FLAT = 0.5
# A step of rows that are less sure still counts while doubts are no more than this many times as frequent.
MORE = 2.0
# Most doubts in the surest half, as a share of its rows and of the errors that guessing its classes would make; or else
# the features say too little to doubt a label.
MOST, BEST = 0.1, 0.25
UNSEEN = -50.0  # log-probability of a class of which no row is in the other folds


def check_labels(rows, recipe, columns, pictures, answers, seed):
    """Yields a `Finding` for each classification some of whose labels are probably wrong.

    A linear discriminant of simple features of each input predicts every row out of fold; the inputs' opinions are
    multiplied. A hard task makes the model wrong where it is unsure; a wrong label makes it disagree where it is sure.
    So rows are ordered by how sure the model is of its own answer, and the rows it doubts are reported only when they
    are as frequent in the surest quarter as in the surest half, at least three there, and at most a tenth. The errors
    of a single column of categories look the same.

    Args:
        rows: A `Rows`.
        recipe: Its `Recipe`.
        columns: As `single_columns` returns them.
        pictures: `{path: features}`, as `describe_files` returns them.
        answers: `{task: Answers}`.
        seed: Of the features of texts.

    Reference:
        Northcutt, Jiang and Chuang 2021, arXiv:1911.00068, section 3 (labels doubted out of fold, where the model is
        confident). Differs: confidence is a rank, so that it needs no calibration, and a set without a plateau of
        doubts is reported as clean.
    """
    tasks = {task: own for task, own in answers.items() if not own.is_number}
    if not tasks:
        return
    texts = {c.input: c for c in columns if recipe.inputs[c.input].kind == "text"}
    found = {k: simple_features(rows.cells[k], s, texts.get(k), pictures, seed) for k, s in recipe.inputs.items()}
    features = [f for f in found.values() if f is not None]
    for task, own in tasks.items() if features else ():
        doubted, said = doubtful(_opinions(features, own), own.targets)
        if len(doubted):
            at = own.rows[doubted]
            given, rather = own.classes[own.targets[doubted]], own.classes[said[doubted]]
            words = [f"{i} {a!r}, rather {b!r}" for i, a, b in zip(rows.ids[at], given, rather, strict=True)]
            yield Finding(
                check="label_noise",
                severity="note",
                what=f"{counted(len(at), 'row')} whose {task!r} is perhaps wrong: {listed(words)}.",
                advice="Look at them; these are candidates, found by a linear model of simple features.",
                ids=tuple(rows.ids[at]),
                inputs=(task,),
                columns=(recipe.tasks[task].column or task,),
                splits=tuple(s for s in ("train", "validation", "test") if s in set(rows.splits[at])),
            )


def doubtful(scores, targets):
    """Returns `(positions of the rows whose label is doubted, class numbers that the model says of all rows)`.

    Args:
        scores: Float array `(rows, classes)`: log-probabilities out of fold, but for a constant of the row.
        targets: Int array `(rows,)`: the classes given.
    """
    said, top = scores.argmax(axis=1), np.partition(scores, -2, axis=1)
    order = np.argsort(top[:, -2] - top[:, -1], kind="stable")  # the surest first
    wrong = (said != targets)[order]
    quarter, half = len(order) // 4, len(order) // 2
    if wrong[:quarter].sum() < FEWEST or wrong[:quarter].mean() < FLAT * wrong[:half].mean():
        return np.zeros(0, int), said
    guessed = 1 - (np.bincount(targets, minlength=scores.shape[1]) / len(targets))[said[order[:half]]].mean()
    if wrong[:half].mean() > min(MOST, BEST * guessed):
        return np.zeros(0, int), said
    end, step = half, max(len(order) // 10, 1)
    while end < len(order) and wrong[end : end + step].mean() <= MORE * wrong[:half].mean():
        end += step
    return order[:end][wrong[:end]], said


def _opinions(features, answers):
    """Returns `(rows, classes)`: what the inputs say together, each out of fold."""
    count = len(answers.classes)
    prior = np.log(np.bincount(answers.targets, minlength=count) / len(answers.targets))
    total = np.tile(prior, (len(answers.rows), 1))
    for values in features:
        own = values[answers.rows]
        for fold in range(FOLDS):
            held = answers.folds == fold
            known = np.unique(answers.targets[~held])
            if len(known) < 2:
                continue
            model = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=SHRINKAGE)
            model.fit(own[~held], answers.targets[~held])
            said = np.full((held.sum(), count), UNSEEN)
            said[:, known] = model.predict_log_proba(own[held]) - prior[known]
            total[held] += said
    return total

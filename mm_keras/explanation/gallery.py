"""Several explanations on one page: rows of a data set, or two of them side by side."""

import json

import markupsafe
import numpy as np
import pandas as pd

from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import predict_rows, rows_to_score
from mm_keras.explanation.explain import explain_subject
from mm_keras.explanation.subjects import RunSubject
from mm_keras.explanation.targets import find_task, known
from mm_keras.pages import Shown, template
from mm_keras.saving import save
from mm_keras.training.run import load_run

# Explained at a time, so that memory stays flat.
BLOCK_ROWS = 32


class Gallery(Shown):
    """Explanations to look at together.

    Two examples, two targets or two models side by side are a gallery of two: `mm.Gallery([first, second])`.

    Args:
        explanations: `Explanation`s, of one run or of several.
        titles: A line above each. Defaults to none.
        heading: A line above all.
        columns: Cards side by side; on a narrow screen there is one.

    Raises:
        DataError: When there is no explanation, or not one title for each.
    """

    def __init__(self, explanations, titles=None, heading="", columns=2):
        self.explanations, self.heading, self.columns = list(explanations), heading, columns
        self.titles = [""] * len(self.explanations) if titles is None else [str(t) for t in titles]
        if not self.explanations:
            raise DataError("a gallery needs one explanation at least.")
        if len(self.titles) != len(self.explanations):
            raise DataError(f"expected a title for each of {len(self.explanations)}. Received: {len(self.titles)}")

    def __len__(self):
        return len(self.explanations)

    def __getitem__(self, number):
        return self.explanations[number]

    def __repr__(self):
        return f"Gallery({self.heading!r}, {len(self)} explanations)\n{self.table().to_string(index=False)}"

    def table(self):
        """Returns a DataFrame, one line an explanation: what it is of, what the model says, `<input>_score`."""
        lines = [
            {"title": t, "task": e.task, "target": e.target, "predicted": e.prediction[e.task], "value": e.value}
            | {f"{n}_score": s for n, s in e.scores.items()}
            for t, e in zip(self.titles, self.explanations, strict=True)
        ]
        return pd.DataFrame(lines)

    def _render(self, page):
        from mm_keras.explanation.card import HUES, render

        # Each card is escaped already.
        made = [markupsafe.Markup(render(e, page=False, style=False)) for e in self.explanations]
        cards = list(zip(self.titles, made, strict=True))
        columns = min(self.columns, len(self))
        page_of = template("mm_keras.explanation", "gallery")
        return page_of.render(cards=cards, heading=self.heading, page=page, hues=HUES, columns=columns)

    def to_json(self):
        """Returns every number of every explanation as JSON: a list, each as `Explanation.to_json` with its title."""
        parts = [{"title": t, **json.loads(e.to_json())} for t, e in zip(self.titles, self.explanations, strict=True)]
        return json.dumps(parts, ensure_ascii=False, indent=1, allow_nan=False)

    def save(self, path):
        """Writes the page, the numbers or the table, as the suffix says: `.html`, `.json` or `.csv`.

        Returns:
            The path, a `pathlib.Path`.

        Raises:
            DataError: On another suffix.
        """
        forms = {".html": self.to_html, ".json": self.to_json, ".csv": lambda: self.table().to_csv(index=False)}
        return save(path, "a gallery", forms)


def gallery(
    run,
    data=None,
    which="worst",
    count=12,
    *,
    task=None,
    layers=None,
    baselines=None,
    seed=0,
    **options,
):
    """Explains some rows of a data set, in batches.

    Args:
        run: A `Run` or its folder.
        data: Rows as `evaluate` takes them, with labels unless `which` is `"uncertain"` or `"random"`; or a list of
            ids among the run's own rows, all of which are shown in this order. Defaults to the run's test rows.
        which: `"worst"`: where the true class got the least probability, or the value is farthest off; `"best"`, the
            other end; `"uncertain"`: where the two most probable classes are closest; `"random"`.
        count: How many rows, at most.
        task: As of `explain`.
        layers: As of `explain`.
        baselines: As of `explain`.
        seed: Of the random rows.
        **options: `target`, `method` and `steps` of `explain`.

    Returns:
        A `Gallery`; its titles are ids, true labels and predictions.

    Raises:
        DataError: On an unknown word or id, and when there are no rows, or no labels where they are needed.
    """
    run = load_run(run)
    name = find_task(task, run.tasks)
    known("choice of rows", which, CHOICES)
    if isinstance(data, list | tuple):
        examples, titles, heading = [run.example(i) for i in data], [str(i) for i in data], f"{name}: rows of choice"
    else:
        rows, _ = rows_to_score(run, data)
        every = tuple(run.recipe.inputs)
        outputs, at = predict_rows(run, rows, [every])
        rows, predicted = rows.take(at), outputs[every][name]
        order = CHOICES[which](run.tasks[name], predicted, rows.labels.get(name), np.random.default_rng(seed))[:count]
        examples = [rows.example(int(i)) for i in order]
        titles = _titles(run.tasks[name], name, rows, predicted, order)
        heading = f"{name}: {len(order)} {which} of {len(rows)} rows"
    made = []
    for start in range(0, len(examples), BLOCK_ROWS):
        subject = RunSubject(run, examples[start : start + BLOCK_ROWS], layers, baselines)
        made += explain_subject(subject, task=name, **options)
    return Gallery(made, titles, heading)


def _worst(task, predicted, labels, rng):
    if labels is None:
        raise DataError(f"task {task.name!r}: the rows have no labels, so none is worst or best.")
    if not task.is_categorical:
        off = np.abs(predicted[:, 0] - labels)
    else:
        places = {c: i for i, c in enumerate(task.classes)}
        off = np.array(
            [1 - row[places[c]] if c in places else np.nan for row, c in zip(predicted, labels, strict=True)]
        )
    order = np.argsort(-off, kind="stable")
    return order[np.isfinite(off[order])]  # the others have no label


def _uncertain(task, predicted, labels, rng):
    if not task.is_categorical:
        raise DataError(f"task {task.name!r} is a number, of which the model does not say how sure it is.")
    top = np.sort(predicted, axis=1)
    return np.argsort(top[:, -1] - (top[:, -2] if top.shape[1] > 1 else 0), kind="stable")


# `(task, predictions, labels or None, generator) -> rows, the first the most so`.
CHOICES = {
    "worst": _worst,
    "best": lambda *given: _worst(*given)[::-1],
    "uncertain": _uncertain,
    "random": lambda task, predicted, labels, rng: rng.permutation(len(predicted)),
}


def _titles(task, name, rows, predicted, order):
    said = task.decode(predicted)[name]
    labels = rows.labels.get(name)
    true = [""] * len(rows) if labels is None else [f", is {_written(v)}" for v in labels]
    return [f"{rows.ids[i]}{true[i]}, predicted {_written(said[i])}" for i in order]


def _written(value):
    return f"{value:.4g}" if isinstance(value, float | np.floating) else str(value)

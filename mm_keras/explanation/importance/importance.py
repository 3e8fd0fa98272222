"""`mm_keras.importance`: which inputs a run relies on, over many rows."""

import json
from dataclasses import dataclass

import numpy as np
import pandas as pd

from mm_keras.data.pipeline import make_dataset
from mm_keras.data.rows import Rows
from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import rows_to_score
from mm_keras.evaluation.metrics import with_intervals
from mm_keras.explanation.coalitions import Contributions, pairs_of, picked, share_values
from mm_keras.explanation.explanation import nested
from mm_keras.explanation.subjects import run_engine
from mm_keras.explanation.targets import find_task
from mm_keras.pages import Result, result_page
from mm_keras.training.run import load_run

BATCH_ROWS = 128
# What an input adds to: the share of rows that are right, or the mean absolute error, which it should lower.
MEASURES = {True: "accuracy", False: "mae"}


@dataclass(frozen=True, repr=False)
class Importance(Result):
    """Which inputs a model relies on.

    An interval is `{"value": mean, "low": l, "high": h}`, 95 %, by the bootstrap over rows.

    Args:
        task: The task looked at.
        measure: `"accuracy"`, or `"mae"` of a regression.
        n: Number of rows.
        inputs: `{input: {"share": interval, "score": interval, "performance": interval}}`. `share`: of all that the
            inputs contributed to a row, `|Shapley value| / sum`, the mean over rows. `score`: the mean Shapley value,
            in logits of the predicted class, or the unit of a regression. `performance`: how much of the measure, of
            `measured["all"] - measured["none"]`, is due to the input, its Shapley value; absent without labels.
        interactions: `{(a, b): {"value": interval, "size": interval}}`: the mean of the pair's interaction index, and
            of its absolute value.
        by_class: `{predicted class: {"n": rows, "inputs": as above}}`; empty for a regression.
        measured: `{"all": the measure with every input, "none": without any}`; empty without labels.
        rows: DataFrame, a line a row: `id`, `target` (the predicted class), `value`, `base_value` and
            `<input>_score`, each input's Shapley value.
    """

    NOUN = "importance"

    task: str
    measure: str
    n: int
    inputs: dict
    interactions: dict
    by_class: dict
    measured: dict
    rows: pd.DataFrame

    def table(self, by_class=False):
        """Returns a DataFrame: a line an input, or, by class, a line a class and the shares of the inputs."""
        if by_class:
            lines = {c: {"rows": e["n"], **_column(e["inputs"], "share")} for c, e in self.by_class.items()}
            return pd.DataFrame.from_dict(lines, orient="index").rename_axis("predicted")
        keys = list(next(iter(self.inputs.values())))
        lines = {n: {k: _written(entry[k]) for k in keys} for n, entry in self.inputs.items()}
        table = pd.DataFrame.from_dict(lines, orient="index").rename_axis("input")
        return table.rename(columns={"performance": self.measure})

    def pairs(self):
        """Returns a DataFrame of the interactions, the largest first."""
        size = sorted(self.interactions, key=lambda p: -self.interactions[p]["size"]["value"])
        lines = {" x ".join(p): {k: _written(v) for k, v in self.interactions[p].items()} for p in size}
        return pd.DataFrame.from_dict(lines, orient="index", columns=["value", "size"]).rename_axis("pair")

    def __repr__(self):
        return f"Importance({self.task}, n={self.n})\n{self.table().to_string()}"

    def _render(self, page):
        title = f"{self.task}: what {self.n} rows rely on"
        tables = [("Inputs", self.table())]
        tables += [("Shares by predicted class", self.table(by_class=True))] if self.by_class else []
        tables += [("What pairs of inputs add together", self.pairs())] if self.interactions else []
        pictures = [("The inputs' shares, as in the tables", self.plot())]
        notes = ["95 % intervals by the bootstrap over rows."]
        return result_page(page, title, sentences=[title], pictures=pictures, tables=tables, notes=notes)

    def plot(self):
        """Returns a `matplotlib.figure.Figure`."""
        from mm_keras.explanation.importance.plot import plot_importance

        return plot_importance(self)

    def to_json(self):
        """Returns every mean and interval as JSON."""
        content = {k: getattr(self, k) for k in ("task", "measure", "n", "measured", "inputs", "by_class")}
        return json.dumps({**content, "interactions": nested(self.interactions)}, ensure_ascii=False, indent=1)

    def to_csv(self):
        """Returns the rows' scores as CSV."""
        return self.rows.to_csv(index=False)


def importance(run, data=None, task=None, seed=0):
    """Shows which inputs a run relies on, over many rows.

    Each row's output, in logits of the class predicted for it, is shared out among the inputs by Shapley values, as
    `explain` does; so is whether the row is right. Every row is read and encoded once, for all subsets of its inputs.

    Args:
        run: A `Run` or its folder.
        data: Rows as `evaluate` takes them, with labels; or a list of examples, without. Defaults to the run's own test
            rows.
        task: Which task, by name or number. Defaults to the recipe's first.
        seed: Of the bootstrap.

    Returns:
        An `Importance`.

    Raises:
        DataError: On an unknown task, and when there are no rows.

    Reference:
        Parcalabescu and Frank 2023, arXiv:2212.08158, section 3 (shares of the modalities); Covert et al. 2020,
        arXiv:2004.00668, section 3 (what of a model's performance is due to an input). Differs: an absent input is
        missing, as the model was trained to meet it; shares are of the whole inputs, not of tokens.
    """
    run = load_run(run)
    name = find_task(task, run.tasks)
    task, engine = run.tasks[name], run_engine(run)
    ids, scored, measured, targets = [], [], [], []
    for tensors, own_ids, labels in _batches(run, data, name):
        target, found = _shared(engine, engine.columns[name], tensors, labels, task)
        ids.append(own_ids)
        targets.append(target)
        scored.append(found[0])
        measured += found[1:]
    ids, targets, scores = np.concatenate(ids), np.concatenate(targets), _joined(scored)
    known = None if not measured else _joined(measured)
    frame = pd.DataFrame({"id": ids, "value": scores.values, "base_value": scores.base_values})
    frame[[f"{n}_score" for n in scores.names]] = scores.scores
    by_class = {}
    if task.is_categorical:
        classes = np.array([str(c) for c in task.classes], object)[targets]
        frame.insert(1, "target", classes)
        for number in np.unique(targets):
            at = targets == number
            part, own = _taken(scores, at), None if known is None else _taken(known, at)
            by_class[str(task.classes[number])] = {"n": int(at.sum()), "inputs": _means(part, own, seed)}
    return Importance(
        task=name,
        measure=MEASURES[task.is_categorical],
        n=len(ids),
        inputs=_means(scores, known, seed),
        interactions=_pairs(scores, seed),
        by_class=by_class,
        measured={} if known is None else _measured(known),
        rows=frame,
    )


def _batches(run, data, task):
    """Yields `({input: array}, ids, labels or None)`."""
    if isinstance(data, list | tuple):
        if not data:
            raise DataError("no examples to look at.")
        for start in range(0, len(data), BATCH_ROWS):
            part = list(data[start : start + BATCH_ROWS])
            tensors, fine = run.encode(part)
            if bad := [f"example {start + i}: {n}" for n, ok in fine.items() for i in np.flatnonzero(~ok)]:
                raise DataError(f"cannot be decoded: {', '.join(bad[:5])}")
            yield tensors, np.array([str(start + i) for i in range(len(part))], object), None
        return
    rows, _ = rows_to_score(run, data)
    is_labelled = isinstance(rows, Rows | ShardedRows) and task in rows.labels
    labels = run.tasks[task].encode(rows.labels[task]) if is_labelled else None
    if labels is not None:
        known = run.tasks[task].weights(labels) > 0
        labels = np.where(known, np.asarray(labels, np.float64), np.nan)
    for tensors, at in make_dataset(run.preprocessors, rows, batch_size=BATCH_ROWS):
        at = at.numpy()
        keep = at >= 0
        if keep.any():
            own = {n: t.numpy()[keep] for n, t in tensors.items()}
            yield own, np.asarray(rows.ids, object)[at[keep]], None if labels is None else labels[at[keep]]


def _shared(engine, columns, tensors, labels, task):
    """Returns `(predicted class numbers, [Contributions of the score and, with labels, of being right])`."""
    full = engine.scores(tensors)[:, columns]
    target = full.argmax(axis=1) if task.is_categorical else np.zeros(len(full), int)
    functions = [lambda scores, at: picked(scores[..., columns], target[at])]
    if labels is not None:

        def right(scores, at):
            if task.is_categorical:
                hits = scores[..., columns].argmax(axis=2) == labels[at][:, None]
                return np.where(np.isnan(labels[at])[:, None], np.nan, hits)
            return np.abs(scores[..., columns.start] - labels[at][:, None])

        functions.append(right)
    return target, share_values(engine, tensors, functions)


def _joined(parts):
    arrays = zip(*(part[1:] for part in parts), strict=True)
    return Contributions(parts[0].names, *(np.concatenate(a) for a in arrays))


def _taken(found, at):
    return Contributions(found.names, *(a[at] for a in found[1:]))


def _means(found, known, seed):
    """Returns `{input: {what: interval}}`."""
    size = np.abs(found.scores)
    total = size.sum(axis=1, keepdims=True)
    columns = {"share": np.divide(size, total, out=np.zeros_like(size), where=total > 0), "score": found.scores}
    means = _intervals(columns, found.names, seed)
    if known is not None:
        labelled = np.isfinite(known.values)
        if labelled.any():
            own = _intervals({"performance": known.scores[labelled]}, found.names, seed)
            means = {n: entry | own[n] for n, entry in means.items()}
    return means


def _pairs(found, seed):
    """Returns `{(a, b): {"value": interval, "size": interval}}`."""
    names = list(pairs_of(found.names, found.interactions[0]))
    at = np.array([[found.names.index(n) for n in pair] for pair in names], int).reshape(-1, 2)
    values = found.interactions[:, at[:, 0], at[:, 1]]
    return _intervals({"value": values, "size": np.abs(values)}, names, seed)


def _intervals(columns, names, seed):
    """Returns `{name: {key: interval}}` of the means of `{key: (rows, names)}`."""
    rows = len(next(iter(columns.values())))

    def means(weights):
        found = {k: weights @ v / weights.sum(axis=1, keepdims=True) for k, v in columns.items()}
        return {(n, k): v[:, i] for k, v in found.items() for i, n in enumerate(names)}

    found = with_intervals(means, rows, seed) if names else {}
    return {n: {k: found[n, k] for k in columns} for n in names}


def _measured(known):
    labelled = np.isfinite(known.values)
    if not labelled.any():
        return {}
    return {"all": float(known.values[labelled].mean()), "none": float(known.base_values[labelled].mean())}


def _written(interval):
    return f"{interval['value']:.3g} [{interval['low']:.3g}, {interval['high']:.3g}]"


def _column(inputs, key):
    return {n: _written(entry[key]) for n, entry in inputs.items()}

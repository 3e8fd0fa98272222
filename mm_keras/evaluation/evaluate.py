"""How good the model is, with all inputs and with every subset of them."""

import itertools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from mm_keras.data.pipeline import make_dataset
from mm_keras.data.quarantine import COLUMNS
from mm_keras.data.rows import Rows
from mm_keras.data.shards.sharded import ShardedRows, named
from mm_keras.errors import DataError
from mm_keras.evaluation.metrics import score_classification, score_regression
from mm_keras.training.run import load_run

GONE = "a file can no longer be read"
# What the table shows of a task; the coverage of a regression's intervals when it has some.
HEADLINES = {"classification": ("accuracy", "ece"), "regression": ("mae", "coverage")}


@dataclass(frozen=True)
class Evaluation:
    """Scores of a run on some rows.

    Args:
        metrics: `{"n": rows, task: {metric: {"value", "low", "high"}}}`.
        subsets: `{"scan+tone": the same}` for every non-empty subset of the inputs, in the recipe's order.
        kinds: `{task: "classification" or "regression"}`.
        quarantine: DataFrame of the rows that could not be scored: row, id, column, value, reason.
    """

    metrics: dict
    subsets: dict
    kinds: dict
    quarantine: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=COLUMNS))

    def table(self):
        """Returns a DataFrame: one line a subset, the columns each task's headline metrics."""
        lines = []
        for subset, scores in (self.subsets or {"all": self.metrics}).items():
            line = {"inputs": subset}
            for task, kind in self.kinds.items():
                for metric in HEADLINES[kind]:
                    if s := scores[task].get(metric):
                        line[f"{task} {metric}"] = f"{s['value']:.3f} [{s['low']:.3f}, {s['high']:.3f}]"
            lines.append(line)
        return pd.DataFrame(lines).set_index("inputs")

    def __repr__(self):
        return f"Evaluation(n={self.metrics['n']})\n{self.table().to_string()}"

    def _repr_html_(self):
        return f"<p>{self.metrics['n']} rows, 95 % bootstrap intervals</p>{self.table().to_html()}"


def evaluate(run, rows=None, *, subsets=True, out=None, seed=0):
    """Scores a run and writes `metrics.json` and `subsets.json`, and `not_scored.csv` when rows are bad.

    Args:
        run: A `Run` or its folder.
        rows: A `Rows`, or the path of a manifest (its test rows if it has a `split` column, else all) or of a shards
            folder (its test rows). Defaults to the run's own test rows.
        subsets: Whether to score every non-empty subset of the inputs too; the others are blanked.
        out: Folder for the files. Defaults to the run's.
        seed: Of the bootstrap.

    Returns:
        An `Evaluation`.

    Raises:
        DataError: When there are no rows.
    """
    run = load_run(run)
    rows, quarantine = rows_to_score(run, rows)
    names = list(run.recipe.inputs)
    combinations = [c for n in range(1, len(names) + 1) for c in itertools.combinations(names, n)]
    combinations = combinations if subsets else combinations[-1:]
    outputs, at = predict_rows(run, rows, combinations)
    lost = rows.take(np.setdiff1d(np.arange(len(rows)), at))
    if len(lost):
        gone = pd.DataFrame({"row": lost.numbers, "id": lost.ids, "column": "", "value": "", "reason": GONE})
        quarantine = pd.concat([quarantine, gone], ignore_index=True) if len(quarantine) else gone
    rows = rows.take(at)
    if not len(rows):
        raise DataError("no row can be scored: their files can no longer be read.")
    found = {"+".join(c): score(run, rows, outputs[c], seed) for c in combinations}
    metrics = found["+".join(names)]
    folder = Path(out or run.folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "metrics.json").write_text(json.dumps(metrics, indent=1), encoding="utf-8")
    if subsets:
        (folder / "subsets.json").write_text(json.dumps(found, indent=1), encoding="utf-8")
    listed = folder / "not_scored.csv"
    listed.unlink(missing_ok=True)
    if len(quarantine):
        quarantine.to_csv(listed, index=False)
    return Evaluation(metrics, found if subsets else {}, {t: s.kind for t, s in run.recipe.tasks.items()}, quarantine)


def rows_to_score(run, rows):
    """Returns `(Rows, table of bad ones)`: the rows given, a manifest's, or the run's own test rows."""
    quarantine = pd.DataFrame(columns=COLUMNS)
    if rows is None:
        rows = run.rows("test")
    elif not isinstance(rows, Rows | ShardedRows):
        data = run.load(rows, split=None)
        rows, quarantine = data.test if len(data.test) else data.rows, data.quarantine
    if not len(rows):
        raise DataError("no rows to score. Give a manifest, or train with a test split.")
    return rows, quarantine


def predict_rows(run, rows, combinations, batch_size=128):
    """Runs the model on each combination of inputs, the others blank, in one pass over the files.

    Returns:
        `({combination: {task: array (rows, ...)}}, row numbers (rows,))`; rows whose files have gone bad are left out.
    """
    outputs, numbers = {c: {t: [] for t in run.tasks} for c in combinations}, []
    for tensors, at in named(rows, make_dataset(run.preprocessors, rows, batch_size=batch_size)):
        keep = at.numpy() >= 0
        numbers.append(at.numpy()[keep])
        for c in combinations:
            # Zeros are the blank value of every model tensor.
            given = {n: t if n in c else t * 0 for n, t in tensors.items()}
            for task, values in run.forward(given).items():
                outputs[c][task].append(values.numpy()[keep])
    joined = {c: {t: np.concatenate(parts) for t, parts in by_task.items()} for c, by_task in outputs.items()}
    return joined, np.concatenate(numbers)


def score(run, rows, outputs, seed=0):
    """Returns `{"n": rows, task: scores}`; rows without a label of a task are left out of its scores."""
    scores = {"n": len(rows)}
    for name, task in run.tasks.items():
        targets = task.encode(rows.labels[name])
        known = task.weights(targets) > 0
        if not known.any():
            raise DataError(f"tasks.{name}: no row has a label.")
        if task.is_categorical:
            scores[name] = score_classification(targets[known], outputs[name][known], seed)
        else:
            values, half_width = outputs[name][known][:, 0], task.state.get("interval", {}).get("half_width")
            scores[name] = score_regression(targets[known].astype(np.float64), values, seed, half_width)
    return scores

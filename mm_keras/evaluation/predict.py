"""Predictions as a table, by the same preprocessing that is served."""

from pathlib import Path

import numpy as np
import pandas as pd
import tensorflow as tf

from mm_keras.data.rows import Rows
from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.errors import DataError
from mm_keras.evaluation.evaluate import GONE, predict_rows
from mm_keras.preprocessing.raw import error_text, raw_batch
from mm_keras.training.run import load_run


def predict(run, examples, *, batch_size=64):
    """Predicts examples, rows, or a whole manifest; any input may be missing.

    Args:
        run: A `Run` or its folder.
        examples: One example `{field: value}` or a sequence of them; a `Rows`; or the path of a manifest or a
            DataFrame. Labels are not needed.
        batch_size: Rows at a time.

    Returns:
        DataFrame, one line an example: `id`, each task's prediction, and `error`: empty, or what was wrong with the
        row. For classes also the probability of each, and, when a threshold was fitted, `<task>_abstained`; for numbers
        `<task>_low` and `<task>_high`, the ends of the interval that was fitted (see `calibrate`). A bad value of an
        example counts as missing and is named; a bad row of a manifest is named and not predicted. The order is kept.
    """
    run = load_run(run)
    if isinstance(examples, str | Path | pd.DataFrame):
        return _predict_manifest(run, examples)
    if isinstance(examples, Rows | ShardedRows):
        return _predict_rows(run, examples)
    examples = [examples] if isinstance(examples, dict) else list(examples)
    if not examples:
        raise DataError("no examples to predict.")
    tables = [_predict_examples(run, examples[i : i + batch_size]) for i in range(0, len(examples), batch_size)]
    table = pd.concat(tables, ignore_index=True)
    table.insert(0, "id", [str(i) for i in range(len(table))])
    return table


def _predict_examples(run, examples):
    raw = {f: tf.convert_to_tensor(v) for f, v in raw_batch(run.preprocessors, examples).items()}
    tensors, fine = run.preprocess(raw)
    errors = error_text(run.preprocessors, raw, fine).numpy()
    return _decoded(run, run.forward(tensors)).assign(error=[text.decode() for text in errors])


def _predict_rows(run, rows):
    every = tuple(run.recipe.inputs)
    outputs, at = predict_rows(run, rows, [every])
    # A row whose file has gone bad gets empty cells.
    table = _decoded(run, outputs[every]).set_axis(at, axis=0).reindex(range(len(rows)))
    table.insert(0, "id", np.asarray(rows.ids))
    return table.assign(error=np.where(np.isin(np.arange(len(rows)), at), "", GONE))


def _predict_manifest(run, source):
    data = run.load(source, with_labels=False, max_bad=1.0)
    faults = data.quarantine
    reasons = [f"{c}: {why}" if c else why for c, why in zip(faults["column"], faults["reason"], strict=True)]
    bad = faults.assign(error=reasons).groupby("row").agg({"id": "first", "error": "; ".join})
    good = _predict_rows(run, data.rows).set_axis(np.asarray(data.rows.numbers), axis=0)
    table = pd.concat([good, bad]) if len(bad) else good
    return table.sort_index().reset_index(drop=True)


def _decoded(run, outputs):
    columns = {}
    for name, task in run.tasks.items():
        columns |= task.decode(outputs[name])
    return pd.DataFrame(columns)

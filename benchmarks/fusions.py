"""Compares every fusion on a real data set: accuracy, size, time per step, LiteRT; prints a table, then JSON.

usage: python benchmarks/fusions.py emoji|leaves100|av_mnist_lite --data DIR

DIR holds the unpacked sets, as for `real_data.py`, whose folds and scoring these are. The recipe is
`benchmarks/recipes/<name>.yaml` but for the fusion: every kind, on the same rows, for the same epochs.
`decision_stacking` is fitted on validation rows, and stays a plain pool where a set has none.

accuracy    on the test rows, with its 95 % bootstrap interval
parameters  of the whole model
ms/step     median over the epochs but the first, of the first fold
LiteRT      whether float32 and int8 files of the first fold's run are written and proven: yes, or the reason
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import pandas as pd
from encoders import few_rows
from real_data import HERE, fold_tables

import mm_keras as mm
from mm_keras.errors import ExportError
from mm_keras.evaluation.evaluate import predict_rows
from mm_keras.evaluation.metrics import score_classification
from mm_keras.registry import FUSIONS


class EpochSeconds(keras.callbacks.Callback):
    """Notes how long each epoch took."""

    def __init__(self):
        super().__init__()
        self.seconds = []

    def on_epoch_begin(self, epoch, logs=None):
        self.began = time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds.append(time.perf_counter() - self.began)


def litert_of(run, folder):
    """Returns `"yes"`, or why no file was written."""
    try:
        mm.export(run, folder, verbose=False)
    except ExportError as error:
        return str(error).strip().splitlines()[0][:100]
    return "yes"


def measure(recipe, tables, home):
    """Trains a recipe on every fold; returns its line of the table."""
    task, combination = next(iter(recipe.tasks)), tuple(recipe.inputs)
    labels, outputs, line = [], [], {}
    for fold, table in enumerate(tables):
        data, clock = mm.load(table, recipe, root=home), EpochSeconds()
        with tempfile.TemporaryDirectory() as folder:
            run = mm.fit(recipe, data, Path(folder) / "run", verbose=False, callbacks=[clock])
            found, numbers = predict_rows(run, data.test, [combination])
            if fold == 0:
                steps = -(-len(data.train) // recipe.training.batch_size)
                line["parameters"] = run.model.count_params()
                line["ms_per_step"] = round(1000 * float(np.median(clock.seconds[1:] or clock.seconds)) / steps, 2)
                line["litert"] = litert_of(run, Path(folder) / "served")
        order = sorted(run.tasks[task].classes)
        labels += [order.index(label) for label in data.test.labels[task][numbers]]
        outputs.append(found[combination][task][:, [run.tasks[task].classes.index(c) for c in order]])
    score = score_classification(np.array(labels), np.concatenate(outputs))["accuracy"]
    return {"accuracy": score["value"], "low": score["low"], "high": score["high"], "n": len(labels), **line}


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(p.stem for p in (HERE / "recipes").glob("*.yaml")))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(FUSIONS), help="these fusions alone")
    parser.add_argument("--folds", type=int, help="only the first folds")
    parser.add_argument("--rows", type=int, help="only so many rows of each class in each split: to try it out")
    parser.add_argument("--epochs", type=int)
    args = parser.parse_args()
    home, content = args.data / args.name, mm.load_recipe(HERE / "recipes" / f"{args.name}.yaml").model_dump()
    if args.epochs:
        content["training"]["epochs"] = args.epochs
    table = pd.read_csv(home / "manifest.csv", dtype=str, keep_default_na=False)
    result = {"name": args.name, "fusions": {}}
    print(f"{'fusion':<18} {'accuracy':>8} {'95 % interval':>16} {'parameters':>11} {'ms/step':>8}  LiteRT")
    for kind in args.only or FUSIONS:
        recipe = mm.load_recipe({**content, "fusion": {**content["fusion"], "kind": kind, "options": {}}})
        tables = [few_rows(t, recipe, args.rows) for t in itertools.islice(fold_tables(table), args.folds)]
        line = measure(recipe, tables, home)
        interval = f"[{line['low']:.3f}, {line['high']:.3f}]"
        print(
            f"{kind:<18} {line['accuracy']:>8.4f} {interval:>16} {line['parameters']:>11,} "
            f"{line['ms_per_step']:>8.1f}  {line['litert']}",
            flush=True,
        )
        result["fusions"][kind] = {k: round(v, 4) if isinstance(v, float) else v for k, v in line.items()}
    print(json.dumps(result))


if __name__ == "__main__":
    main()

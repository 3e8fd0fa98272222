"""Compares every fusion on a real data set: accuracy, size, time per step, LiteRT; prints a table, then JSON.

usage: python benchmarks/fusions.py emoji|leaves100|av_mnist_lite --data DIR

DIR holds the unpacked sets, as for `real_data.py`, whose folds and scoring these are. The recipe is
`benchmarks/recipes/<name>.yaml` but for the fusion: every kind, on the same rows, for the same epochs.
`decision_stacking` is fitted on validation rows, and stays a plain pool where a set has none. What is done is kept in
`benchmarks/results/fusions_<name>.json`, so that a comparison of hours can be stopped and goes on; another recipe
begins anew.

accuracy    on the test rows, with its 95 % bootstrap interval
parameters  of the whole model
step        time of a training step over that of `concat`: median of rounds, all fusions in turn in each round
LiteRT      whether float32 and int8 files of the first fold's run are written and proven: yes, or the reason
"""

import argparse
import hashlib
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from encoders import few_rows
from real_data import HERE, fold_tables

import mm_keras as mm
from mm_keras.errors import ExportError
from mm_keras.evaluation.evaluate import predict_rows
from mm_keras.evaluation.metrics import score_classification
from mm_keras.registry import FUSIONS
from mm_keras.training.learn import learn
from mm_keras.training.trainer import Trainer

COLUMNS = ["fusion", "accuracy", "95 % interval", "parameters", "step", "LiteRT"]


def litert_of(run, folder):
    """Returns `"yes"`, or which files fail their proof, or why none was written."""
    try:
        mm.export(run, folder, verbose=False)
    except ExportError as error:
        parity = getattr(error, "parity", None)
        if parity is None:
            return str(error).strip().splitlines()[0][:100]
        failed = parity[~parity["passed"].astype(bool)]
        return f"not {', '.join(sorted(set(failed['artefact'] + ' (' + failed['measure'] + ')')))}"
    return "yes"


def measure(recipe, tables, home, export=True):
    """Trains a recipe on every fold; returns its line of the table."""
    task, combination = next(iter(recipe.tasks)), tuple(recipe.inputs)
    labels, outputs, line = [], [], {}
    for fold, table in enumerate(tables):
        data = mm.load(table, recipe, root=home)
        with tempfile.TemporaryDirectory() as folder:
            run = mm.fit(recipe, data, Path(folder) / "run", verbose=False)
            found, numbers = predict_rows(run, data.test, [combination])
            if fold == 0:
                litert = litert_of(run, Path(folder) / "served") if export else "not tried"
                line = {"parameters": run.model.count_params(), "litert": litert}
        order = sorted(run.tasks[task].classes)
        labels += [order.index(label) for label in data.test.labels[task][numbers]]
        outputs.append(found[combination][task][:, [run.tasks[task].classes.index(c) for c in order]])
    score = score_classification(np.array(labels), np.concatenate(outputs))["accuracy"]
    return {k: round(score[k], 4) for k in ("value", "low", "high")} | {"n": len(labels), **line}


def step_times(recipes, table, home, rounds, steps=20):
    """Returns `{fusion: median time of a step over that of the first}`: all in turn, `rounds` times, on the same rows.

    The step that `mm.fit` runs, with batches that are ready, so that reading does not count.
    """
    first = next(iter(recipes.values()))
    data = mm.load(table, first, root=home)
    rows, parts, networks = data.train, learn(first, data), {}
    for kind, recipe in recipes.items():
        trainer = Trainer(recipe, *parts)
        trainer.prepare(rows)
        networks[kind] = trainer.network, trainer.feed.dataset(rows, range(1)).take(steps).cache()
        trainer.network.fit(networks[kind][1], verbose=0)  # tracing and reading
    times = {kind: [] for kind in networks}
    for _ in range(rounds):
        for kind, (network, batches) in networks.items():
            began = time.perf_counter()
            network.fit(batches, verbose=0)
            times[kind].append(time.perf_counter() - began)
    base = np.array(next(iter(times.values())))
    return {kind: round(float(np.median(np.array(t) / base)), 2) for kind, t in times.items()}


def row(kind, line):
    """Returns one line of the table, in Markdown."""
    interval = f"[{line['low']:.3f}, {line['high']:.3f}]"
    cells = [kind, f"{line['value']:.3f}", interval, f"{line['parameters']:,}", line.get("step", ""), line["litert"]]
    return f"| {' | '.join(str(c) for c in cells)} |"


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(p.stem for p in (HERE / "recipes").glob("*.yaml")))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--only", nargs="+", choices=list(FUSIONS), help="these fusions alone")
    parser.add_argument("--folds", type=int, help="only the first folds")
    parser.add_argument("--rows", type=int, help="only so many rows of each class in each split: to try it out")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rounds", type=int, default=0, help="of step times, measured after the accuracies")
    parser.add_argument("--no-export", action="store_true", help="leave LiteRT out, which takes a third of the time")
    parser.add_argument("--results", type=Path, help="another file of what is done")
    args = parser.parse_args()
    home, content = args.data / args.name, mm.load_recipe(HERE / "recipes" / f"{args.name}.yaml").model_dump()
    if args.epochs:
        content["training"]["epochs"] = args.epochs
    kept = args.results or HERE / "results" / f"fusions_{args.name}.json"
    setting = json.dumps([content, args.folds, args.rows], sort_keys=True, default=str)
    result = {"name": args.name, "setting": hashlib.sha256(setting.encode()).hexdigest()[:16], "fusions": {}}
    if kept.exists() and (before := json.loads(kept.read_text()))["setting"] == result["setting"]:
        result = before
    table = pd.read_csv(home / "manifest.csv", dtype=str, keep_default_na=False)
    kinds = args.only or list(FUSIONS)
    fields = {kind: {**content["fusion"], "kind": kind, "options": {}} for kind in kinds}
    recipes = {kind: mm.load_recipe({**content, "fusion": f}) for kind, f in fields.items()}

    def keep():
        kept.parent.mkdir(exist_ok=True)
        kept.write_text(json.dumps(result, indent=1) + "\n")

    print(f"| {' | '.join(COLUMNS)} |\n|{'---|' * len(COLUMNS)}")
    for kind, recipe in recipes.items():
        if kind not in result["fusions"]:
            tables = [few_rows(t, recipe, args.rows) for t in itertools.islice(fold_tables(table), args.folds)]
            result["fusions"][kind] = measure(recipe, tables, home, not args.no_export)
            keep()
        print(row(kind, result["fusions"][kind]), flush=True)
    if args.rounds:
        ratios = step_times(recipes, next(fold_tables(table)), home, args.rounds)
        for kind, ratio in ratios.items():
            result["fusions"][kind]["step"] = ratio
        keep()
        print("with the times of a step\n" + "\n".join(row(kind, result["fusions"][kind]) for kind in kinds))
    print(json.dumps(result))


if __name__ == "__main__":
    main()

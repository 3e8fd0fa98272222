"""Trains and scores a recipe on one of the real data sets; prints a table, and JSON as the last line.

usage: python benchmarks/real_data.py emoji|leaves100|av_mnist_lite --data DIR

DIR holds the unpacked sets, `DIR/<name>/manifest.csv`. Nothing here depends on the set: the recipe is
`benchmarks/recipes/<name>.yaml`; rows are split by the column `split`, or, where there are folds, each fold in turn is
the test set and all others train: nothing is chosen by looking at rows that are scored, the last weights count.

alone   each input trained on its own (accuracy on the test rows)
pairs   the one fused model with only these two inputs given, the others missing (three inputs and more)
fused   the fused model with everything, with its 95 % bootstrap interval
"""

import argparse
import itertools
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd

import mm_keras as mm
from mm_keras.evaluation.evaluate import predict_rows
from mm_keras.evaluation.metrics import score_classification

HERE = Path(__file__).resolve().parent


def fold_tables(table):
    """Yields the table with a `split` column: as it is, or once for each fold."""
    folds = [c for c in table.columns if c.startswith("fold")]
    if not folds:
        yield table
        return
    for fold in sorted(table[folds[0]].unique()):
        yield table.assign(split=np.where(table[folds[0]] == fold, "test", "train"))


def test_outputs(recipe, table, home, combinations, verbose):
    """Trains a recipe; returns `{combination: (labels, probabilities)}` on the test rows, and the classes."""
    task = next(iter(recipe.tasks))
    data = mm.load(table, recipe, root=home)
    with tempfile.TemporaryDirectory() as folder:
        run = mm.fit(recipe, data, Path(folder) / "run", verbose=verbose)
        outputs, numbers = predict_rows(run, data.test, combinations)
    labels = data.test.labels[task][numbers]
    order = sorted(run.tasks[task].classes)
    columns = [run.tasks[task].classes.index(c) for c in order]
    return {c: (labels, o[task][:, columns]) for c, o in outputs.items()}, order


def collect(recipe, tables, home, combinations, verbose):
    """Scores the test rows of all folds together, each predicted by the model that did not see it."""
    parts = {c: [] for c in combinations}
    for table in tables:
        found, order = test_outputs(recipe, table, home, combinations, verbose)
        for c in combinations:
            parts[c].append(found[c])
    number = {name: i for i, name in enumerate(order)}
    scores = {}
    for c, folds in parts.items():
        labels = np.array([number[label] for fold in folds for label in fold[0]])
        scores[c] = {
            **score_classification(labels, np.concatenate([f[1] for f in folds]))["accuracy"],
            "n": len(labels),
        }
    return scores


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(p.stem for p in (HERE / "recipes").glob("*.yaml")))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, help="another recipe for the same data")
    parser.add_argument("--only", choices=["fused", "alone"], help="one half of the work")
    parser.add_argument("--folds", type=int, help="only the first folds")
    parser.add_argument("--verbose", action="store_true")
    args = parser.parse_args()
    began = time.time()
    home = args.data / args.name
    recipe = mm.load_recipe(args.recipe or HERE / "recipes" / f"{args.name}.yaml")
    table = pd.read_csv(home / "manifest.csv", dtype=str, keep_default_na=False)
    tables = list(itertools.islice(fold_tables(table), args.folds))
    names = list(recipe.inputs)

    result = {"name": args.name, "alone": {}, "pairs": {}}
    for name in names if args.only != "fused" else []:
        single = recipe.without(*(n for n in names if n != name))
        score = collect(single, tables, home, [(name,)], args.verbose)[(name,)]
        result["alone"][name] = round(score["value"], 4)
        print(
            f"{name} alone: {score['value']:.4f} [{score['low']:.4f}, {score['high']:.4f}] {time.time() - began:.0f} s",
            flush=True,
        )
    if args.only != "alone":
        pairs = list(itertools.combinations(names, 2)) if len(names) > 2 else []
        singles = [(n,) for n in names]
        scores = collect(recipe, tables, home, [*singles, *pairs, tuple(names)], args.verbose)
        for c, s in scores.items():
            print(f"fused model given {' + '.join(c)}: {s['value']:.4f} [{s['low']:.4f}, {s['high']:.4f}]")
        result["pairs"] = {"+".join(p): round(scores[p]["value"], 4) for p in pairs}
        whole = scores[tuple(names)]
        result |= {
            "fused": round(whole["value"], 4),
            "low": round(whole["low"], 4),
            "high": round(whole["high"], 4),
            "n": whole["n"],
        }
    result["seconds"] = round(time.time() - began, 1)
    print(json.dumps(result))


if __name__ == "__main__":
    main()

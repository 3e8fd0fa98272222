"""Whether balanced training pays: on the planted competition, and on the real data sets.

usage: python benchmarks/balance.py --data DIR --out results.json [--sets leaves100 ...] [--ways plain mmpareto ...]
                                    [--seeds 3] [--epochs N]

Two questions, by `--ask`:

balance    every way of balancing against `plain`, the recipe without auxiliary losses and balance: accuracy on the test
           rows, and the mean difference to `plain` over the seeds with its 95 % interval (Student's t, from two seeds).
           `competition` makes the built-in set anew for each seed; of real sets the seed is that of training.
dropout    a fusion of embeddings (the recipe's, or `gated` where it joins decisions, which a missing input does not
           disturb) without auxiliary losses, trained with a modality dropout of 0.3 and with none: every input given,
           and only some.

Every training's result goes to `--out` at once, and what is there is not trained again: stop and start as you like.
DIR holds the unpacked sets, `DIR/<name>/manifest.csv`; recipes are `benchmarks/recipes/<name>.yaml`, without
`auxiliary` where the balance has heads of its own. Of a set with folds, the first is the test set, and of sets without
validation rows a tenth of the training rows validates.
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
from scipy import stats

import mm_keras as mm
from mm_keras.evaluation.evaluate import predict_rows

HERE = Path(__file__).resolve().parent
WAYS = {
    "plain": {"auxiliary": 0.0},
    "auxiliary": {"auxiliary": 1.0},
    "gradient_blending": {"auxiliary": 0.0, "balance": "gradient_blending"},
    "ogm_ge": {"auxiliary": 0.0, "balance": "ogm_ge"},
    "ogm_ge+auxiliary": {"auxiliary": 1.0, "balance": "ogm_ge"},
    "mmpareto": {"auxiliary": 0.0, "balance": "mmpareto"},
}
DROPOUT = {
    "without dropout": {"auxiliary": 0.0, "modality_dropout": 0.0},
    "with dropout": {"auxiliary": 0.0, "modality_dropout": 0.3},
}
SETS = ("competition", "leaves100", "av_mnist_lite", "emoji")


def real_table(home):
    """Returns the manifest with a `split` column that has validation rows."""
    table = pd.read_csv(home / "manifest.csv", dtype=str, keep_default_na=False)
    folds = [c for c in table.columns if c.startswith("fold")]
    if folds:
        table["split"] = np.where(table[folds[0]] == min(table[folds[0]]), "test", "train")
    if "validation" not in set(table["split"]):
        train = np.flatnonzero(table["split"] == "train")
        table.loc[np.random.default_rng(0).choice(train, len(train) // 10, replace=False), "split"] = "validation"
    return table


def with_training(recipe, ask, **changes):
    """Returns the recipe with other settings of training; for the question of dropout, with a fusion of embeddings."""
    training = mm.Training(**{**recipe.training.model_dump(), **changes})
    decides = ask == "dropout" and recipe.fusion.kind.startswith("decision")
    fusion = mm.Fusion("gated") if decides else recipe.fusion
    return mm.Recipe(inputs=recipe.inputs, tasks=recipe.tasks, fusion=fusion, training=training)


def train(ask, name, home, changes, seed, epochs):
    """Trains once; returns `{"accuracy": {inputs given: accuracy on test rows}, "seconds"}`."""
    began = time.time()
    changes = {**changes, "seed": seed} | ({"epochs": epochs} if epochs else {})
    with tempfile.TemporaryDirectory() as folder:
        if name == "competition":
            manifest = mm.make_competition(Path(folder) / "set", seed=seed)
            recipe, table = mm.load_recipe(manifest.parent / "recipe.yaml"), manifest
        else:
            recipe, table = mm.load_recipe(HERE / "recipes" / f"{name}.yaml"), real_table(home / name)
        recipe = with_training(recipe, ask, **changes)
        data = mm.load(table, recipe, **({} if name == "competition" else {"root": home / name}))
        run = mm.fit(recipe, data, Path(folder) / "run", verbose=False)
        names = tuple(recipe.inputs)
        given = [c for n in range(1, len(names) + 1) for c in itertools.combinations(names, n)]
        outputs, numbers = predict_rows(run, data.test, given)
        task = next(iter(recipe.tasks))
        labels = run.tasks[task].encode(data.test.labels[task])[numbers]
    accuracy = {"+".join(c): float((outputs[c][task].argmax(1) == labels).mean()) for c in given}
    return {"accuracy": accuracy, "seconds": round(time.time() - began)}


def mean_and_interval(values):
    """Returns `m [low, high]` in points."""
    values = 100 * np.asarray(values)
    if len(values) < 2:
        return f"{values.mean():+6.2f}"
    half = stats.t.ppf(0.975, len(values) - 1) * values.std(ddof=1) / len(values) ** 0.5
    return f"{values.mean():+6.2f} [{values.mean() - half:+.2f}, {values.mean() + half:+.2f}]"


def show(ask, found, sets):
    """Prints the table of one question."""
    base = "plain" if ask == "balance" else "without dropout"
    for name in sets:
        results = {(way, seed): r["accuracy"] for (q, n, way, seed), r in found.items() if (q, n) == (ask, name)}
        if not results:
            continue
        given = list(next(iter(results.values())))
        whole = max(given, key=lambda words: words.count("+"))
        print(f"\n{name}, {ask}: accuracy in %, and the difference to {base!r} in points")
        for way in dict.fromkeys(way for way, _ in results):
            for words in [whole] if ask == "balance" else given:
                mine = {s: a[words] for (w, s), a in results.items() if w == way}
                pairs = [v - results[base, s][words] for s, v in mine.items() if (base, s) in results]
                difference = mean_and_interval(pairs) if way != base and pairs else ""
                score = 100 * np.mean(list(mine.values()))
                print(f"  {way:18s} {words:28s} {score:6.2f}  {len(mine)} seeds  {difference}", flush=True)


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--ask", choices=["balance", "dropout"], default="balance")
    parser.add_argument("--sets", nargs="+", choices=SETS, default=list(SETS))
    parser.add_argument("--ways", nargs="+", choices=list(WAYS), default=list(WAYS))
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--epochs", type=int)
    args = parser.parse_args()
    found = {}
    if args.out.is_file():
        found = {tuple(k): r for k, r in json.loads(args.out.read_text(encoding="utf-8"))}
    for seed, name in itertools.product(range(args.first_seed, args.first_seed + args.seeds), args.sets):
        ways = {way: WAYS[way] for way in args.ways}
        if args.ask == "dropout":
            ways = DROPOUT
        for way, changes in ways.items():
            key = (args.ask, name, way, seed)
            if key not in found:
                found[key] = train(args.ask, name, args.data, changes, seed, args.epochs)
                args.out.write_text(json.dumps([[list(k), r] for k, r in found.items()], indent=1), encoding="utf-8")
                print(name, way, seed, found[key], flush=True)
    show(args.ask, found, args.sets)


if __name__ == "__main__":
    main()

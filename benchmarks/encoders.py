"""Compares all encoders of one input on a real data set, without the other inputs; prints a table.

usage: python benchmarks/encoders.py emoji|leaves100|av_mnist_lite INPUT --data DIR [--out FILE]

The table's lines go to benchmarks/results/encoders.csv too, in the place of lines of the same setting.

DIR holds the unpacked sets, as for `real_data.py`, whose folds and scoring these are. The recipe is
`benchmarks/recipes/<name>.yaml` but for the encoder: every kind of the modality at one size, on the same rows, for the
same epochs, at the same learning rate; `--option` adds a variant, as `transformer:positions=rotary`. One budget for all
is fair only as far as no kind needs another: look at more than one `--learning-rate` before a default is chosen.

accuracy    on the test rows, with its 95 % bootstrap interval
parameters  of the whole model: this one encoder, and the head
seconds     of training and scoring, all folds together
"""

import argparse
import itertools
import json
import os
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
from real_data import HERE, collect, fold_tables

import mm_keras as mm
from mm_keras.model import build_model
from mm_keras.registry import ENCODERS
from mm_keras.training.learn import learn

KEY = ["set", "input", "size", "epochs", "learning_rate", "folds", "encoder"]


def variants(modality, extra):
    """Returns `{label: fields of an Encoder}`: every kind, and the kinds with options that were asked for."""
    found = {kind: {"kind": kind} for kind in ENCODERS[modality]}
    for text in extra:
        kind, *settings = text.split(":")
        options = dict(setting.split("=", 1) for setting in settings)
        found[text] = {"kind": kind, "options": {k: _value(v) for k, v in options.items()}}
    return found


def _value(text):
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def with_encoder(recipe, name, fields, size, training):
    """Returns the recipe of this input alone, with another encoder and other training settings."""
    spec = recipe.inputs[name]
    encoder = {**spec.encoder.model_dump(exclude={"options"}), "size": size, **fields}
    content = {
        "inputs": {name: {**spec.model_dump(), "encoder": encoder}},
        "tasks": {n: task.model_dump() for n, task in recipe.tasks.items()},
        "training": {**recipe.training.model_dump(), "modality_dropout": 0.0, "auxiliary": 0.0, **training},
    }
    return mm.load_recipe(content | {"fusion": "concat"})


def count_parameters(recipe, table, home):
    """Returns the number of weights of the model that `mm.fit` builds on these rows."""
    preprocessors, tasks = learn(recipe, mm.load(table, recipe, root=home))
    return build_model(recipe, {n: p.tensor for n, p in preprocessors.items()}, tasks).count_params()


def few_rows(table, recipe, count):
    """Returns the first rows of each class in each split; all when there is no `count`."""
    task, spec = next(iter(recipe.tasks.items()))
    return table if count is None else table.groupby(["split", spec.column or task]).head(count)


def keep(path, line):
    """Writes a line into the table of all settings, in the place of its last one."""
    table = pd.DataFrame([line])
    if path.is_file():
        table = pd.concat([pd.read_csv(path), table], ignore_index=True)
    table = table.drop_duplicates(KEY, keep="last").sort_values([*KEY[:-1], "accuracy"], ascending=[True] * 6 + [False])
    table.to_csv(path, index=False)


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(p.stem for p in (HERE / "recipes").glob("*.yaml")))
    parser.add_argument("input", help="an input of the recipe")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--size", choices=["tiny", "small", "base"], default="small")
    parser.add_argument("--option", action="append", default=[], help="KIND:OPTION=VALUE, another row of the table")
    parser.add_argument("--only", nargs="+", help="these rows of the table alone")
    parser.add_argument("--folds", type=int, help="only the first folds")
    parser.add_argument("--rows", type=int, help="only so many rows of each class in each split: to try it out")
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--learning-rate", type=float)
    parser.add_argument("--out", type=Path, default=HERE / "results" / "encoders.csv")
    args = parser.parse_args()
    home = args.data / args.name
    recipe = mm.load_recipe(HERE / "recipes" / f"{args.name}.yaml")
    if args.input not in recipe.inputs:
        parser.error(f"no input {args.input!r}; the recipe has {sorted(recipe.inputs)}")
    chosen = {"epochs": args.epochs, "learning_rate": args.learning_rate}
    training = {k: v for k, v in chosen.items() if v is not None}
    table = pd.read_csv(home / "manifest.csv", dtype=str, keep_default_na=False)
    tables = [few_rows(t, recipe, args.rows) for t in itertools.islice(fold_tables(table), args.folds)]

    modality = recipe.inputs[args.input].kind
    spent = {f: getattr(recipe.training, f) for f in chosen} | training
    setting = {"set": args.name, "input": args.input, "size": args.size, **spent, "folds": len(tables)}
    rows = {k: v for k, v in variants(modality, args.option).items() if not args.only or k in args.only}
    if not rows:
        parser.error(f"nothing to compare; {modality} has {sorted(ENCODERS[modality])}")
    print(f"{args.name}, {args.input}, size {args.size}")
    print(f"{'encoder':<36} {'accuracy':>8} {'95 % interval':>18} {'parameters':>11} {'seconds':>8}")
    for label, fields in rows.items():
        single = with_encoder(recipe, args.input, fields, args.size, training)
        parameters, began = count_parameters(single, tables[0], home), time.time()
        score = collect(single, tables, home, [(args.input,)], verbose=False)[(args.input,)]
        seconds, low, high = time.time() - began, score["low"], score["high"]
        interval = f"[{low:.4f}, {high:.4f}]"
        print(f"{label:<36} {score['value']:>8.4f} {interval:>18} {parameters:>11,} {seconds:>8.0f}", flush=True)
        found = {"accuracy": score["value"], "low": low, "high": high}
        found = {k: round(v, 4) for k, v in found.items()} | {"n": score["n"], "parameters": parameters}
        keep(args.out, setting | {"encoder": label} | found)


if __name__ == "__main__":
    main()

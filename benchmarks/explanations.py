"""What an explanation costs: `mm.explain` over the gradients it is made of, every method, and tf-keras-vis beside ours.

usage: python benchmarks/explanations.py [--rounds 7] [--rows 200] [--only NAME ..]

The model is that of the built-in digits, untrained. Rounds alternate between all that is measured, in one process; the
medians are compared. Last line: JSON with

explain    milliseconds of `mm.explain` with its defaults, of one example
gradients  of 32 gradient steps of the same model, in one batched call
ratio      explain over gradients; the bound is 3
methods    of `mm.explain` by each method, with its defaults
ours       of the gradient and of Grad-CAM for one input, ours
theirs     of the same from tf-keras-vis
gallery    seconds for `--rows` examples, one after the other
"""

import argparse
import json
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

import mm_keras as mm
from mm_keras.explanation.engine import CHUNK_ROWS
from mm_keras.explanation.keras_vis import class_activation_map, saliency
from mm_keras.explanation.methods import METHODS
from mm_keras.explanation.subjects import RunSubject

STEPS = 32


def medians(functions, rounds):
    """Returns `{name: median milliseconds}`: all in turn, `rounds` times, after a first turn that compiles."""
    times = {name: [] for name in functions}
    for turn in range(1 + rounds):
        for name, function in functions.items():
            began = time.perf_counter()
            function()
            if turn:
                times[name].append(1000 * (time.perf_counter() - began))
    return {name: round(float(np.median(t)), 1) for name, t in times.items()}


def digits_run(folder):
    """Returns the run of one epoch on the built-in digits."""
    manifest = mm.make_digits(folder / "digits")
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml")
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 1})})
    return mm.fit(recipe, mm.load(manifest, recipe), folder / "run", verbose=False)


def one_input(run, example, name):
    """Returns `(ours, theirs)`: functions that find the gradient and Grad-CAM of one input of an example."""
    engine = (subject := RunSubject(run, [example])).engine
    seen, column = engine.observe(subject.tensors), np.zeros(1, np.int32)
    given = seen.entries, seen.held, column
    ours = {"gradient": lambda: engine.differentiate(*given), "gradcam": lambda: engine.differentiate_maps(*given)}
    theirs = {
        "gradient": lambda: saliency(engine, name, *given),
        "gradcam": lambda: class_activation_map("Gradcam", engine, name, *given),
    }
    return ours, theirs


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--rows", type=int, default=200)
    parser.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS))
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = digits_run(Path(folder))
        rows = run.rows("test")
        example = rows.example(0)
        subject = RunSubject(run, [example])
        engine, seen = subject.engine, subject.engine.observe(subject.tensors)
        many = [{k: np.repeat(v, STEPS, axis=0) for k, v in tree.items()} for tree in (seen.entries, seen.held)]
        if STEPS > CHUNK_ROWS:
            raise ValueError(f"{STEPS} steps are more than one call takes, {CHUNK_ROWS}")
        base = {
            "gradients": lambda: engine.differentiate(*many, np.zeros(STEPS, np.int32)),
            "explain": lambda: mm.explain(run, example),
        }
        result = medians(base, 3 * args.rounds)
        result["ratio"] = round(result["explain"] / result["gradients"], 2)
        explained = {m: lambda m=m: mm.explain(run, example, method=m) for m in args.only}
        result["methods"] = medians(explained, args.rounds)
        name = next(n for n, kind in engine.kinds.items() if kind == "image")
        ours, theirs = one_input(run, example, name)
        both = {("ours", m): f for m, f in ours.items()} | {("theirs", m): f for m, f in theirs.items()}
        found = medians(both, args.rounds)
        for who in ("ours", "theirs"):
            result[who] = {m: t for (w, m), t in found.items() if w == who}
        examples = [rows.example(i % len(rows.ids)) for i in range(args.rows)]
        began = time.perf_counter()
        for one in examples:
            mm.explain(run, one)
        result["gallery"] = round(time.perf_counter() - began, 1)
    print("| method | ms |\n|---|---|")
    print("\n".join(f"| {m} | {t} |" for m, t in result["methods"].items()))
    print(json.dumps(result))


if __name__ == "__main__":
    main()

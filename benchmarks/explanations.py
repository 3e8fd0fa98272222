"""What an explanation costs: `mm.explain` over the gradients it is made of, every method, and tf-keras-vis beside ours.

usage: python benchmarks/explanations.py [--rounds 7] [--rows 200] [--only NAME ..] [--quick] [--out FILE]

The model is that of the built-in digits, untrained. Rounds alternate between all that is measured, in one process; the
medians are compared. `--quick` measures the ratio alone. Last line: JSON, in `measured`

explain    milliseconds of `mm.explain` with its defaults, of one example
gradients  of 32 gradient steps of the same model, in one batched call
methods    of `mm.explain` by each method, with its defaults
ours       of the gradient and of Grad-CAM for one input, ours
theirs     of the same from tf-keras-vis
gallery    seconds for `--rows` examples, one after the other
"""

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from measuring import alternate, milliseconds, paired_ratio, parser, result, row, write

import mm_keras as mm
from mm_keras.explanation.engine import CHUNK_ROWS
from mm_keras.explanation.keras_vis import class_activation_map, saliency
from mm_keras.explanation.methods import METHODS
from mm_keras.explanation.subjects import RunSubject

STEPS = 32


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


def measure_methods(run, example, engine, methods, rounds):
    """Returns `(median milliseconds of mm.explain by each method, of ours for one input, of tf-keras-vis)`."""
    explained = {m: lambda m=m: mm.explain(run, example, method=m) for m in methods}
    name = next(n for n, kind in engine.kinds.items() if kind == "image")
    ours, theirs = one_input(run, example, name)
    both = {("ours", m): f for m, f in ours.items()} | {("theirs", m): f for m, f in theirs.items()}
    found = milliseconds(alternate(both, rounds)[0])
    sides = ({m: t for (w, m), t in found.items() if w == who} for who in ("ours", "theirs"))
    return milliseconds(alternate(explained, rounds)[0]), *sides


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--rows", type=int, default=200)
    arguments.add_argument("--only", nargs="+", choices=list(METHODS), default=list(METHODS))
    arguments.add_argument("--quick", action="store_true")
    options = arguments.parse_args()
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
        times, _ = alternate(base, 3 * options.rounds)
        ratios = {"explain over its gradients": row(paired_ratio(times, "explain", "gradients"), goal=3.0)}
        measured = milliseconds(times)
        if not options.quick:
            found = measure_methods(run, example, engine, options.only, options.rounds)
            measured |= dict(zip(("methods", "ours", "theirs"), found, strict=True))
            for method, taken in measured["ours"].items():
                ratios[f"{method} over tf-keras-vis"] = row(taken / measured["theirs"][method])
            examples = [rows.example(i % len(rows.ids)) for i in range(options.rows)]
            began = time.perf_counter()
            for one in examples:
                mm.explain(run, one)
            measured["gallery"] = round(time.perf_counter() - began, 1)
            print("| method | ms |\n|---|---|")
            print("\n".join(f"| {m} | {t} |" for m, t in measured["methods"].items()))
    write(result("explain", ratios, measured=measured), options.out)


if __name__ == "__main__":
    main()

"""Measures whether maps lie where the evidence is on real data; prints a table, and JSON as the last line.

usage: python benchmarks/saliency.py av_mnist_lite|emoji --data DIR

DIR holds the unpacked sets, as for `real_data.py`, whose recipes these are. Test rows that are predicted right count.

av_mnist_lite  the audio map on the spoken part: from `speech_offset` on, as long as the median recording
emoji          the picture's map on the box around what is not transparent; the rest is blank margin, white as these
               pictures lie on white. Maps start at a white picture: from a black one, the margin is what is seen first.
               The black start is measured too.

pointing  share of maps whose largest value is there, beside a random map
mass      share of the positive relevance that is there, beside a random map
"""

import argparse
import io
import json
import os
import tempfile
import wave
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from PIL import Image
from real_data import HERE, fold_tables

import mm_keras as mm

RATE = 8000
METHODS = ("integrated_gradients", "gradient_x_input", "gradcam", "layercam")


def spoken(table, home, spec):
    """Returns the evidence of every row: `start end low high`, seconds and hertz."""
    seconds = []
    for path in sorted((home / "speech").glob("*.wav")):
        with wave.open(str(path)) as file:
            seconds.append(file.getnframes() / file.getframerate())
    length, top = float(np.median(seconds)), spec.max_hz or spec.sampling_rate / 2
    starts = table["speech_offset"].astype(float) / RATE
    return [f"{s:.4f} {min(s + length, 1.0):.4f} 0 {top}" for s in starts]


def opaque(table, home, spec):
    """Returns the evidence of every row: `top left bottom right`, pixels of the model's picture."""
    found = []
    for path in table["image"]:
        alpha = np.asarray(Image.open(home / path).convert("RGBA"))[..., 3] > 0
        rows, columns = np.flatnonzero(alpha.any(axis=1)), np.flatnonzero(alpha.any(axis=0))
        scale = np.array(spec.size) / alpha.shape
        top, left = np.floor((rows[0], columns[0]) * scale).astype(int)
        bottom, right = np.ceil((rows[-1] + 1, columns[-1] + 1) * scale).astype(int)
        found.append(f"{top} {left} {bottom} {right}")
    return found


def white(side=32):
    """Returns the PNG bytes of a white picture."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), "white").save(file, "PNG")
    return file.getvalue()


# {set: (input, function to the evidence, {what maps start at: `baselines` of `mm.explain_quality`})}
SETS = {
    "av_mnist_lite": ("audio", spoken, {"blank": None}),
    "emoji": ("picture", opaque, {"white": {"picture": white()}, "black": None}),
}


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(SETS))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--rows", type=int, default=200)
    args = parser.parse_args()
    home, (name, evidence_of, starts) = args.data / args.name, SETS[args.name]
    recipe = mm.load_recipe(HERE / "recipes" / f"{args.name}.yaml")
    if args.epochs:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": args.epochs})})
    table = next(fold_tables(pd.read_csv(home / "manifest.csv", dtype=str, keep_default_na=False)))
    data = mm.load(table, recipe, root=home)
    ids = table["id"] if "id" in table else pd.Series(range(1, len(table) + 1)).astype(str)
    truths = pd.DataFrame({"id": ids, f"{name}_evidence": evidence_of(table, home, recipe.inputs[name])})
    with tempfile.TemporaryDirectory() as folder:
        run = mm.fit(recipe, data, Path(folder) / "run", verbose=False)
        scores = {}
        for start, baselines in starts.items():
            found = mm.explain_quality(
                run, data.test, list(METHODS), args.rows, truths=truths, baselines=baselines, steps=32
            )
            print(f"{start} start\n{found.table().loc[name].round(3)}", flush=True)
            scores[start] = {m: {k: s[name][k] for k in ("pointing", "mass")} for m, s in found.scores.items()}
    print(json.dumps({"name": args.name, "input": name, "rows": found.n, "scores": scores}))


if __name__ == "__main__":
    main()

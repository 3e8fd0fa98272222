"""Trains a recipe on one of the real data sets, and measures on its test rows how sure the run is before and after.

usage: python benchmarks/calibration.py av_mnist_lite --data DIR [--out FOLDER]

DIR holds the unpacked sets, `DIR/<name>/manifest.csv`, with a column `split` that has validation rows; the recipe is
`benchmarks/recipes/<name>.yaml`. The temperature is fitted on the validation rows at the end of the training; all that
is printed is of the test rows, with 95 % bootstrap intervals.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import mm_keras as mm

RECIPES = Path(__file__).resolve().parent / "recipes"


def main():
    """Runs the command line above."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=sorted(p.stem for p in RECIPES.glob("*.yaml")))
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--epochs", type=int, help="fewer than the recipe says")
    parser.add_argument("--out", type=Path, help="folder for reliability.png and reliability.json")
    args = parser.parse_args()
    recipe, began = mm.load_recipe(RECIPES / f"{args.name}.yaml"), time.time()
    if args.epochs:
        recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": args.epochs})})
    with tempfile.TemporaryDirectory() as folder:
        run = mm.fit(recipe, mm.load(args.data / args.name / "manifest.csv", recipe), Path(folder) / "run")
        found = mm.reliability(run)
    print(found.table().T.to_string())
    print(f"{time.time() - began:.0f} s")
    if args.out:
        for file in ("reliability.png", "reliability.json"):
            print(found.save(args.out / file))


if __name__ == "__main__":
    main()

"""Planted sets: pairs of vectors whose joint meaning is known, to see what a fusion can and cannot learn."""

from pathlib import Path

import numpy as np
import pandas as pd

RECIPE = """\
# {title}
inputs:
{inputs}
fusion: {{kind: {fusion}, units: 32, dropout: 0.0}}
tasks:
  {task}
training:
  {{epochs: 20, batch_size: 64, learning_rate: 0.01, modality_dropout: 0.0, patience: 20, seed: 1}}
"""
INPUT = "  {name}: {{kind: vector, prefix: {name}_, encoder: {{size: tiny, dropout: 0.0}}}}"
FEATURES = 4


def make_xor(folder, seed=0, rows=3000):
    """Writes `manifest.csv` and `recipe.yaml`: two inputs that say nothing alone and everything together.

    `one` and `two` are vectors of four numbers. The label is `"different"` where their first numbers differ in sign,
    else `"same"`; first numbers are between 0.25 and 1 in size, the others normal noise. Whatever adds up what each
    input says by itself learns nothing better than a coin.

    Args:
        folder: Where to write; made if absent.
        seed: Of all draws.
        rows: How many; 60 % train, 20 % validation, 20 % test.

    Returns:
        Path of the manifest.
    """
    rng = np.random.default_rng(seed)
    vectors = {name: rng.normal(size=(rows, FEATURES)) for name in ("one", "two")}
    for vector in vectors.values():
        vector[:, 0] = rng.choice([-1.0, 1.0], rows) * rng.uniform(0.25, 1.0, rows)
    labels = np.where(vectors["one"][:, 0] * vectors["two"][:, 0] > 0, "same", "different")
    return _write(folder, "XOR: neither input says anything alone.", "gated", vectors, labels)


def make_distractor(folder, seed=0, rows=3000):
    """Writes `manifest.csv` and `recipe.yaml`: two inputs that each tell half of the label, and one that tells nothing.

    The label is one of four. `colour` tells which pair of them it is in, `shape` which of the pair, each by a first
    number of -1 or 1 in normal noise of deviation 0.4, so that the best guess is right in 98.8 % of the rows.
    `noise` is normal noise.

    Args:
        folder: Where to write; made if absent.
        seed: Of all draws.
        rows: How many; 60 % train, 20 % validation, 20 % test.

    Returns:
        Path of the manifest.
    """
    rng = np.random.default_rng(seed)
    vectors = {name: rng.normal(size=(rows, FEATURES)) for name in ("colour", "shape", "noise")}
    classes = rng.integers(0, 4, rows)
    for name, bit in (("colour", classes // 2), ("shape", classes % 2)):
        vectors[name][:, 0] = 2.0 * bit - 1.0 + rng.normal(0, 0.4, rows)
    labels = np.array(["red_disc", "red_square", "blue_disc", "blue_square"])[classes]
    return _write(folder, "Two inputs tell the label, the third is noise.", "gated", vectors, labels)


def _write(folder, title, fusion, vectors, labels):
    inputs = "\n".join(INPUT.format(name=name) for name in vectors)
    task = "label: {kind: classification}"
    recipe = RECIPE.format(title=title, inputs=inputs, fusion=fusion, task=task)
    return write_vectors(folder, recipe, vectors, labels, held=0.2, tested=0.2)


def write_vectors(folder, recipe, vectors, labels, held, tested):
    """Writes `manifest.csv` and `recipe.yaml` of a set of vectors; returns the path of the manifest.

    Args:
        folder: Where to write; made if absent.
        recipe: YAML.
        vectors: `{input: float array (rows, features)}`; the columns are `<input>_0` and so on.
        labels: Of the rows, in the column `label`.
        held: Share of the rows that validate, which come behind those that train.
        tested: Share of the rows that test, which come last.
    """
    folder, rows = Path(folder), len(labels)
    folder.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame({"id": [f"r{i:05d}" for i in range(rows)]})
    for name, vector in vectors.items():
        columns = [f"{name}_{i}" for i in range(vector.shape[1])]
        table = table.join(pd.DataFrame(vector.round(4), columns=columns))
    table["label"] = labels
    counts = int(held * rows), int(tested * rows)
    table["split"] = np.repeat(["train", "validation", "test"], [rows - sum(counts), *counts])
    table.to_csv(folder / "manifest.csv", index=False)
    (folder / "recipe.yaml").write_text(recipe, encoding="utf-8")
    return folder / "manifest.csv"

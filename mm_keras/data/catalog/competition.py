"""`competition`: an easy input that is learned first, and a hard one that knows more."""

import numpy as np

from mm_keras.data.catalog.planted import write_vectors

CLASSES = 4
CLUES = 0.8  # share of the rows in which the easy input knows the class
EASY, HARD = 32, 40

RECIPE = """\
# An easy input that tells the class of four rows in five, and a hard one that tells it of all.
inputs:
  easy: {kind: vector, prefix: easy_, encoder: {size: tiny, dropout: 0.0}}
  hard: {kind: vector, prefix: hard_, encoder: {size: tiny, dropout: 0.0}}
fusion: {kind: concat, units: 64, dropout: 0.0}
tasks:
  label: {kind: classification, classes: [a, b, c, d]}
training:
  {epochs: 20, batch_size: 64, learning_rate: 0.003, modality_dropout: 0.0, patience: 20, seed: 0}
"""


def make_competition(folder, seed=0, rows=3000):
    """Writes `manifest.csv` and `recipe.yaml`: two inputs, of which the one that is learned first starves the other.

    Four classes. `easy` is a vector of 32 normal numbers; in 80 % of the rows 3 is added to the one of its first
    four that is the class's. In the others it tells nothing, but so many numbers let a network know each training row
    by heart. `hard` is a vector of 40 normal numbers; the signs of two products, of its first and second and of its
    third and fourth number, which are between 0.5 and 1.5 in size, tell the class in every row. A network finds
    products slowly, and has no reason to once the easy input explains the training rows.

    Args:
        folder: Where to write; made if absent.
        seed: Of all draws.
        rows: How many; 50 % train, 10 % validation, 40 % test.

    Returns:
        Path of the manifest.
    """
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, CLASSES, rows)
    easy, hard = rng.normal(size=(rows, EASY)), rng.normal(size=(rows, HARD))
    known = rng.random(rows) < CLUES
    easy[np.flatnonzero(known), labels[known]] += 3.0
    signs = rng.choice([-1.0, 1.0], (rows, 2))
    sizes = rng.uniform(0.5, 1.5, (rows, 4))
    bits = np.stack([labels // 2, labels % 2], axis=1) * 2.0 - 1.0
    hard[:, [0, 2]] = signs * sizes[:, :2]
    hard[:, [1, 3]] = signs * bits * sizes[:, 2:]
    names = np.array(list("abcd"))[labels]
    return write_vectors(folder, RECIPE, {"easy": easy, "hard": hard}, names, held=0.1, tested=0.4)

"""Time per training step against the number of inputs: 2, 4 and 8.

usage: python benchmarks/inputs.py [--rounds 7] [--epochs 1] [--out FILE]

The built-in digits with their scan and their word once, twice and four times, each copy an input with an encoder of its
own, trained as `mm.fit` trains, in turn. Compared are the milliseconds of a step divided by the number of inputs: 1 is
a straight line through zero.
"""

import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import pandas as pd
from measuring import alternate, milliseconds, paired_ratio, parser, result, row, write

import mm_keras as mm
from mm_keras.training.learn import learn
from mm_keras.training.trainer import Trainer

COPIES = (1, 2, 4)


def trainer_of(manifest, copies, epochs):
    """Returns `(call that trains `epochs` epochs, steps)` of a model that reads scan and word `copies` times."""
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml")
    table, inputs = pd.read_csv(manifest, dtype=str, keep_default_na=False), {}
    for copy in range(copies):
        for name in ("scan", "word"):
            table[f"{name}_{copy}"] = table[name]
            inputs[f"{name}_{copy}"] = recipe.inputs[name].model_copy(update={"column": None})
    training = recipe.training.model_copy(update={"auxiliary": 0.0})
    recipe = mm.Recipe(inputs=inputs, fusion=recipe.fusion, tasks=dict(recipe.tasks), training=training)
    data = mm.load(table, recipe, root=manifest.parent)
    trainer = Trainer(recipe, *learn(recipe, data))
    trainer.compile()
    batches = trainer.feed.dataset(data.train, range(epochs))
    steps = len(batches) // epochs

    def train():
        trainer.network.fit(batches, epochs=epochs, steps_per_epoch=steps, verbose=0, shuffle=False)

    return train, len(batches)


def measure(rounds=7, epochs=1):
    """Returns the result."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = Path(mm.make_digits(folder))
        made = {2 * copies: trainer_of(manifest, copies, epochs) for copies in COPIES}
        taken, _ = alternate({count: train for count, (train, _) in made.items()}, rounds)
    each = {count: [t / made[count][1] / count for t in times] for count, times in taken.items()}
    ratios = {
        f"time per input, {count} inputs over 2": row(paired_ratio(each, count, 2), goal=1.15) for count in (4, 8)
    }
    return result("inputs", ratios, measured={"ms of a step for each input": milliseconds(each)})


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--epochs", type=int, default=1, help="in a round")
    options = arguments.parse_args()
    write(measure(options.rounds, options.epochs), options.out)


if __name__ == "__main__":
    main()

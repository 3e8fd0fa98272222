"""Time of a training epoch with `training.bucket` over that without, on texts of very different lengths.

usage: python benchmarks/bucketing.py [--rounds 5] [--rows 960] [--size small] [--out FILE]

Texts of 5 to 200 WordPieces, lognormal around 25, at length 256 and in batches of 32, trained as `mm.fit` trains: by a
transformer, whose attention grows with the square of the length, and by a GRU. Both ways take turns in one process,
whole epochs, reading included. Beside the times stands how many places of a batch hold a token.
"""

import os
from itertools import product

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import pandas as pd
from measuring import alternate, milliseconds, paired_ratio, parser, result, row, write

import mm_keras as mm
from mm_keras.data.bucketing import row_lengths
from mm_keras.training.learn import learn
from mm_keras.training.trainer import Trainer

LENGTH, BATCH = 256, 32
ENCODERS = ("transformer", "gru")
WORDS = ["".join(letters) for letters in product("bdglmnr", "aeiou", "kpst")]


def make_table(rows, seed=0):
    """Returns texts of words that are a WordPiece each, and which half of the words they hold more of."""
    rng = np.random.default_rng(seed)
    counts = np.clip(rng.lognormal(np.log(25), 0.9, rows).astype(int), 5, 200)
    kinds = rng.integers(0, 2, rows)
    halves = WORDS[::2], WORDS[1::2]
    # Three words of four are of the text's own half.
    texts = [
        " ".join(rng.choice(halves[kind ^ other]) for other in rng.random(count) < 0.25)
        for kind, count in zip(kinds, counts, strict=True)
    ]
    return pd.DataFrame({"text": texts, "kind": np.array(["even", "odd"])[kinds], "split": "train"})


def trainer_of(table, encoder, size, bucket):
    """Returns `(call that trains an epoch, share of places that hold a token)`."""
    recipe = mm.Recipe(
        inputs={"text": mm.Text(length=LENGTH, encoder={"kind": encoder, "size": size})},
        tasks={"kind": mm.Classification()},
        training=mm.Training(batch_size=BATCH, bucket=bucket),
    )
    data = mm.load(table, recipe)
    trainer = Trainer(recipe, *learn(recipe, data))
    trainer.prepare(data.train)
    batches = trainer.feed.dataset(data.train, range(1))
    places = sum(tensors["text"].shape[0] * tensors["text"].shape[1] for tensors, *_ in batches)
    tokens = row_lengths(trainer.preprocessors, data.train, ["text"]).sum()

    def train():
        trainer.network.fit(batches, verbose=0, shuffle=False)

    return train, float(tokens / places)


def measure(rounds=5, rows=960, size="small"):
    """Returns the result."""
    table = make_table(rows)
    ratios, measured = {}, {"rounds": rounds, "rows": rows, "size": size}
    for encoder in ENCODERS:
        made = {name: trainer_of(table, encoder, size, name == "bucket") for name in ("padded", "bucket")}
        clock, processor = alternate({name: train for name, (train, _) in made.items()}, rounds)
        ratios[f"epoch in buckets over padded, {encoder}"] = row(paired_ratio(clock, "bucket", "padded"), goal=0.5)
        ratios[f"processor time of it, {encoder}"] = row(paired_ratio(processor, "bucket", "padded"))
        measured[encoder] = {
            "ms of a step": milliseconds(clock, -(-rows // BATCH)),
            "share of places that hold a token": {name: round(share, 3) for name, (_, share) in made.items()},
        }
    return result("bucketing", ratios, measured=measured)


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--rows", type=int, default=960)
    arguments.add_argument("--size", default="small", choices=("tiny", "small", "base"))
    options = arguments.parse_args()
    write(measure(options.rounds, options.rows, options.size), options.out)


if __name__ == "__main__":
    main()

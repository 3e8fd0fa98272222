"""What the tests of devices, hosts and backends run in processes of their own: `devices_child.py JOB..`.

A job, `key=value,key=value`, trains `two_input_recipe` into `out`; with `devices`, `hosts`, `resume`, `words`, and
`pause`, seconds after each batch.
"""

import os
import sys
import time

import keras
import numpy as np
import pandas as pd

import mm_keras as mm
from mm_keras.errors import HostLost, Interrupted


def two_input_recipe(dropout=0.0, words=False, **training):
    """A batch normalisation, a gradient that is clipped, and batches of 14 rows: 56 to train on, 11 to validate.

    With `words` the second input is a text, whose embedding is read at the same rows again and again.
    """
    encoder = mm.Encoder(size="tiny", dropout=dropout)
    title = mm.Text(length=8, encoder=mm.Encoder(kind="cnn", size="tiny", dropout=dropout))
    return mm.Recipe(
        inputs={
            "signal": mm.Vector(prefix="f", encoder=encoder),
            **({"title": title} if words else {"card": mm.Tabular(numeric=["price"], encoder=encoder)}),
        },
        fusion=mm.Fusion("concat", units=8, dropout=dropout),
        tasks={"kind": mm.Classification(), "rating": mm.Regression(weight=100.0)},
        training=mm.Training(**{"epochs": 3, "batch_size": 14, "seed": 3, "modality_dropout": dropout, **training}),
    )


def two_input_table():
    """75 rows, the same every time."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((75, 5)).astype(np.float32)
    columns = {f"f{i}": x[:, i] for i in range(5)}
    columns |= {"price": rng.normal(10, 3, 75), "kind": np.where(x[:, 0] > 0, "a", "b"), "rating": x @ np.arange(5.0)}
    columns["title"] = [" ".join(rng.choice(["red", "green", "blue", "grey"], 6)) for _ in x]
    return pd.DataFrame(columns | {"split": ["train"] * 56 + ["validation"] * 11 + ["test"] * 8})


class Pause(keras.callbacks.Callback):
    def __init__(self, seconds):
        super().__init__()
        self.seconds = seconds

    def on_train_batch_end(self, batch, logs=None):
        time.sleep(self.seconds)


def run(job):
    options = dict(word.split("=") for word in job.split(","))
    every = int(options.get("every", 0))
    recipe = two_input_recipe(float(options.get("dropout", 0)), "words" in options, checkpoint_steps=every)
    mm.fit(
        recipe,
        mm.load(two_input_table(), recipe),
        options["out"],
        devices=int(options["devices"]) if "devices" in options else None,
        hosts="hosts" in options,
        resume="resume" in options,
        callbacks=[Pause(float(options.get("pause", 0)))],
    )


if __name__ == "__main__":
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    try:
        for each in sys.argv[1:]:
            run(each)
    except (HostLost, Interrupted) as stopped:
        print(type(stopped).__name__, stopped, flush=True)
        os._exit(75)

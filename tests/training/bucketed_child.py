"""What the tests of bucketing train; as a program, `bucketed_child.py DEVICES OUT`, elsewhere than they do."""

import sys

import keras
import numpy as np
import pandas as pd

import mm_keras as mm


def table_of(rows=90, seed=0):
    """Texts of bytes and sequences of very different lengths; two thirds of the rows train."""
    rng = np.random.default_rng(seed)
    words = np.clip(rng.lognormal(2.0, 1.0, rows).astype(int), 1, 60)
    texts = [" ".join(rng.choice(["one", "red", "big", "far"], n)) for n in words]
    beats = [rng.normal(size=(n, 2)).round(3).tolist() for n in rng.integers(1, 31, rows)]
    split = np.where(np.arange(rows) % 6 < 4, "train", np.where(np.arange(rows) % 6 == 4, "validation", "test"))
    kinds = ["red" if "red" in text else "other" for text in texts]
    return pd.DataFrame({"title": texts, "beat": beats, "kind": kinds, "split": split, "rating": words / 10.0})


def recipe_of(text="cnn", series="gru", fusion="concat", **training):
    """Nothing is drawn in a step, so that trainings with padding and without can be compared."""
    still = {"size": "tiny", "dropout": 0.0}
    inputs = {"title": mm.Text(length=96, tokens="bytes", encoder={"kind": text, **still})}
    if series:
        inputs["beat"] = mm.Vector(steps=32, encoder={"kind": series, **still})
    return mm.Recipe(
        inputs=inputs,
        fusion=mm.Fusion(fusion, units=16, dropout=0.0),
        tasks={"kind": mm.Classification()},
        training=mm.Training(
            **{"bucket": True, "epochs": 2, "batch_size": 8, "modality_dropout": 0.0, "calibrate": False, **training}
        ),
    )


def main(devices, out):
    if devices > 1:
        import tensorflow as tf

        two = [tf.config.LogicalDeviceConfiguration()] * 2
        tf.config.set_logical_device_configuration(tf.config.list_physical_devices("CPU")[0], two)
    recipe = recipe_of("gru", None)
    run = mm.fit(recipe, mm.load(table_of(), recipe), out, devices=devices, verbose=False)
    assert run.info["backend"] == keras.backend.backend()
    assert run.model.input["title"].shape == (None, 96)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])

"""Rows as `export` takes them, and a run so small that exporting it takes seconds."""

import keras
import numpy as np

import mm_keras.recipe as parts
from mm_keras.model import build_model
from mm_keras.preprocessing import build_preprocessor
from mm_keras.tasks import build_task
from mm_keras.training.run import Run


class ListRows:
    """Examples and `{task: labels}` in lists."""

    def __init__(self, examples, labels):
        self.examples, self.labels = examples, labels

    def __len__(self):
        return len(self.examples)

    def example(self, i):
        return self.examples[i]

    def targets(self, task):
        return self.labels[task]


def two_vector_rows(count, seed):
    """Four classes: the sign of the first, tiny feature, and whether the second, huge one is far from zero."""
    rng = np.random.default_rng(seed)
    left, right = 0.02 * rng.standard_normal((count, 3)), 50.0 * rng.standard_normal((count, 3))
    classes = 2 * (left[:, 0] > 0) + (np.abs(right[:, 0]) > 33.7)
    examples = [{"left": a, "right": b} for a, b in zip(left.astype(np.float32), right.astype(np.float32), strict=True)]
    return ListRows(examples, {"kind": [f"class {c}" for c in classes]})


def two_vector_run(folder):
    """A trained run of two vectors of one shape whose model tensors differ 2500-fold in scale."""
    keras.utils.set_random_seed(0)
    encoder = {"size": "tiny", "dropout": 0.0}
    recipe = parts.Recipe(
        inputs={"left": parts.Vector(encoder=encoder), "right": parts.Vector(encoder=encoder)},
        tasks={"kind": parts.Classification()},
        fusion=parts.Fusion("concat", units=16, dropout=0.0),
        training=parts.Training(modality_dropout=0.0),
    )
    # Statistics by hand: learned ones would bring both vectors to one scale.
    same = {"columns": [], "mean": [0.0] * 3, "deviation": [1.0] * 3}
    preprocessors = {n: build_preprocessor(n, s, dict(same)) for n, s in recipe.inputs.items()}
    task = build_task("kind", recipe.tasks["kind"])
    rows = two_vector_rows(1500, seed=0)
    task.adapt(rows.targets("kind"), [f"class {c}" for c in range(4)])
    model = build_model(recipe, {n: p.tensor for n, p in preprocessors.items()}, {"kind": task})
    run = Run(folder, recipe, preprocessors, {"kind": task}, model)
    tensors, _ = run.encode(rows.examples)
    model.compile(keras.optimizers.Adam(5e-3), loss={"kind": keras.losses.CategoricalCrossentropy()})
    model.fit(tensors, {"kind": task.target(task.encode(rows.targets("kind")))}, batch_size=64, epochs=12, verbose=0)
    return run

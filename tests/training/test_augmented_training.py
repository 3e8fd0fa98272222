"""Training with augmentation and mixing: repeatable, of training rows alone, and not part of what is served."""

import numpy as np
import pytest
from conftest import card_recipe

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.exporting.schema import build_schema
from mm_keras.training.fit import Trainer, fit
from mm_keras.training.learn import learn


def recipe_of(**training):
    recipe = card_recipe(auxiliary=0.5, **training)
    augmented = bool(training)
    card = {"noise": 0.3, "drop": 0.2} if augmented else {}
    word = parts.Text(
        length=8,
        vocabulary_size=60,
        encoder={"kind": "transformer", "size": "tiny"},
        **({"drop": 0.2} if augmented else {}),
    )
    inputs = {"card": recipe.inputs["card"].model_copy(update=card), "word": word}
    return parts.Recipe(inputs=inputs, tasks=recipe.tasks, training=recipe.training)


@pytest.fixture(scope="module")
def data(digits_folder):
    return load(digits_folder / "manifest.csv", recipe_of())


@pytest.mark.long
def test_a_seed_repeats_a_training_that_mixes(data, tmp_path):
    one, again, plain = (
        fit(recipe, data, tmp_path / name, verbose=False)
        for name, recipe in (
            ("one", recipe_of(mixup=0.4, cutmix=1.0)),
            ("again", recipe_of(mixup=0.4, cutmix=1.0)),
            ("plain", recipe_of()),
        )
    )
    weights = [run.model.get_weights() for run in (one, again, plain)]
    assert all(np.array_equal(a, b) for a, b in zip(*weights[:2], strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(weights[0], weights[2], strict=True))
    assert all(np.isfinite(w).all() for w in weights[0])
    # What a client is told of preprocessing does not depend on augmentation.
    told = [{n: i["preprocessing"] for n, i in build_schema(run)["tensors"].items()} for run in (one, plain)]
    assert told[0] == told[1]


def test_validation_rows_are_neither_augmented_nor_mixed(data):
    batches = []
    for recipe in (recipe_of(mixup=0.4, cutmix=1.0), recipe_of()):
        trainer = Trainer(recipe, *learn(recipe, data))
        batches.append(list(trainer.feed.dataset(data.validation).as_numpy_iterator()))
    for one, other in zip(*batches, strict=True):
        for mine, theirs in zip(one, other, strict=True):
            assert mine.keys() == theirs.keys()
            for key in mine:
                np.testing.assert_array_equal(mine[key], theirs[key])

"""The built-in planted evidence in memory: examples, where their evidence lies, and a model trained on them."""

import mm_keras as mm
from mm_keras.data.catalog.evidence import INPUTS, planted_examples
from mm_keras.explanation.quality.truths import truth_mask

__all__ = ["INPUTS", "planted_examples", "planted_run", "train_planted", "truths"]


def truths(place, maps, panels):
    """Returns `{input: bool array like its map}` of one example's evidence."""
    return {n: truth_mask(text, maps[n], panels[n]) for n, text in place.items()}


def train_planted(folder, seed=0, **training):
    """Trains on the set of one seed and returns its `Run`; the data are in `folder / "data"`."""
    manifest = mm.make_planted(folder / "data", seed=seed)
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml")
    training = recipe.training.model_copy(update={"seed": seed, **training})
    recipe = recipe.model_copy(update={"training": training})
    return mm.fit(recipe, mm.load(manifest, recipe), folder / "run", verbose=False)


def planted_run(once, seed=0):
    """Returns the `Run` of a seed, trained once in all, and its manifest."""
    folder, _ = once(f"planted_{seed}", lambda made: train_planted(made, seed) and None)
    return mm.load_run(folder / "run"), folder / "data" / "manifest.csv"

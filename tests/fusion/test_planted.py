"""What each fusion can learn and must ignore, trained through `fit` on the planted sets."""

import numpy as np
import pandas as pd
import pytest

from mm_keras import fit, load, load_recipe, predict
from mm_keras.data.catalog.planted import make_distractor, make_xor
from mm_keras.recipe import Fusion
from mm_keras.registry import FUSIONS, resolve

# What their docstrings say: these add up what each input says by itself.
ADDING = ["sum", "mean", *(name for name in FUSIONS if name.startswith("decision"))]


# These take a minute each, or add as the others do.
LONG = ("token_transformer", "bottleneck", "perceiver", "cross_attention", "graph_attention", "mean", "shared", "max")
LONG += ("decision_product", "decision_weighted")


def marked(names):
    return [pytest.param(n, marks=pytest.mark.long if n in LONG else pytest.mark.slow) for n in names]


@pytest.fixture(scope="module")
def xor(tmp_path_factory):
    return make_xor(tmp_path_factory.mktemp("xor"), rows=2000)


@pytest.fixture(scope="module")
def distractor(tmp_path_factory):
    return make_distractor(tmp_path_factory.mktemp("distractor"), rows=5000)


def trained_accuracy(manifest, out, fusion, *without):
    """Returns the share of the test rows that are right after eight epochs."""
    recipe = load_recipe(manifest.parent / "recipe.yaml").without(*without)
    training = recipe.training.model_copy(update={"epochs": 8})
    recipe = recipe.model_copy(update={"fusion": Fusion(fusion, units=32, dropout=0.0), "training": training})
    data = load(manifest, recipe)
    run = fit(recipe, data, out, verbose=False)
    return float((predict(run, data.test)["label"].to_numpy() == data.test.labels["label"]).mean())


@pytest.mark.parametrize("fusion", marked([n for n in FUSIONS if n not in ADDING]))
def test_a_fusion_that_interacts_learns_xor(fusion, xor, tmp_path):
    assert trained_accuracy(xor, tmp_path / "run", fusion) >= 0.99


@pytest.mark.parametrize("fusion", marked(ADDING))
def test_a_fusion_that_adds_does_not(fusion, xor, tmp_path):
    assert trained_accuracy(xor, tmp_path / "run", fusion) < 0.6


@pytest.mark.parametrize(
    "fusion",
    [
        pytest.param("gated", marks=pytest.mark.slow),
        *(pytest.param(f, marks=pytest.mark.long) for f in ("tensor", "product", "decision_stacking")),
    ],
)
def test_an_input_of_pure_noise_costs_less_than_a_point(fusion, distractor, tmp_path):
    whole = trained_accuracy(distractor, tmp_path / "whole", fusion)
    clean = trained_accuracy(distractor, tmp_path / "clean", fusion, "noise")
    assert clean > 0.96
    assert whole > clean - 0.01


@pytest.mark.parametrize("name", [n for n in FUSIONS if resolve(FUSIONS[n]).__module__.startswith("mm_keras.fusion")])
def test_each_fusion_says_whether_it_interacts(name):
    lines = [line.strip() for line in resolve(FUSIONS[name]).__doc__.splitlines()]
    says = [line for line in lines if line.startswith("Interacts: ")]
    assert len(says) == 1
    assert says[0].startswith("Interacts: no" if name in ADDING else "Interacts: yes")


def test_the_xor_set_holds_what_it_says(xor):
    table = pd.read_csv(xor)
    one, two = table["one_0"], table["two_0"]
    assert ((one * two > 0) == (table["label"] == "same")).all()
    assert one.abs().min() >= 0.25
    assert one.abs().max() <= 1.0
    assert table["split"].value_counts().to_dict() == {"train": 1200, "validation": 400, "test": 400}
    # Alone, neither number tells anything: both labels are as frequent on either side, up to four deviations.
    for column in (one, two):
        share = (table["label"] == "same")[column > 0].mean()
        assert share == pytest.approx(0.5, abs=4 * 0.5 / np.sqrt(1000))
    again = make_xor(xor.parent / "again", rows=2000)
    pd.testing.assert_frame_equal(pd.read_csv(again), table)


def test_the_best_guess_on_the_distractor_set_is_as_good_as_it_says(distractor):
    table = pd.read_csv(distractor)
    colour, shape = np.where(table["colour_0"] > 0, "blue_", "red_"), np.where(table["shape_0"] > 0, "square", "disc")
    guess = colour.astype(object) + shape.astype(object)
    # Two deviations of a share of 0.988 in 5000 rows are 0.003.
    assert (guess == table["label"]).mean() == pytest.approx(0.988, abs=0.005)
    noise = table.filter(like="noise_")
    assert noise.shape[1] == 4
    assert abs(noise.groupby(table["label"]).mean().to_numpy()).max() < 4 / np.sqrt(1250)

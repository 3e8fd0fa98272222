"""What the checks say of real sets: `MM_KERAS_DATA` names the folder that holds them, `<name>/manifest.csv`."""

import os
from pathlib import Path

import pytest

import mm_keras as mm

DATA = os.environ.get("MM_KERAS_DATA")
RECIPES = Path(__file__).resolve().parents[3] / "benchmarks" / "recipes"
pytestmark = [
    pytest.mark.slow,
    pytest.mark.real_data,
    pytest.mark.skipif(not DATA, reason="MM_KERAS_DATA names no folder of real sets"),
]


@pytest.mark.parametrize("name", ["leaves100", "av_mnist_lite"])
def test_a_clean_set_is_called_clean(name):
    checked = mm.inspect(Path(DATA) / name / "manifest.csv", RECIPES / f"{name}.yaml")
    assert checked.findings == ()


def test_the_copies_among_emoji_are_found_and_nothing_else():
    """Norway's flag flies over Svalbard and Bouvet Island; persons come as man, woman and neither."""
    checked = mm.inspect(Path(DATA) / "emoji" / "manifest.csv", RECIPES / "emoji.yaml")
    assert [f.check for f in checked.findings] == ["duplicates", "near_duplicates"]
    same, near = (set(map(frozenset, f.sets)) for f in checked.findings)
    assert same == {
        frozenset({"1f1e7_1f1fb", "1f1f3_1f1f4", "1f1f8_1f1ef"}),
        frozenset({"1f1ea_1f1e6", "1f1ea_1f1f8"}),
        frozenset({"1f1fa_1f1f2", "1f1fa_1f1f8"}),
    }
    assert frozenset({"1f508", "1f509", "1f50a"}) in near  # a speaker, soft and loud


def test_the_prefix_that_gives_flags_away_is_seen():
    recipe = mm.load_recipe(RECIPES / "emoji.yaml")
    inputs = {"description": recipe.inputs["description"].model_copy(update={"remove": None})}
    checked = mm.inspect(Path(DATA) / "emoji" / "manifest.csv", recipe.model_copy(update={"inputs": inputs}))
    (finding,) = checked.findings
    assert (finding.check, finding.inputs) == ("words", ("description", "category"))
    assert "'flag' 'Flags'" in finding.what

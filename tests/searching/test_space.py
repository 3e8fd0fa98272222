"""The space of a search: what users write, and what is refused before anything trains."""

import subprocess
import sys

import pytest

import mm_keras as mm
from mm_keras.searching.changes import changed, fields_of, value_of
from mm_keras.searching.space import Choices, Range, given_values, join_space, read_space

RECIPE = mm.Recipe(
    inputs={"photo": mm.Image(size=(32, 32)), "title": mm.Text()},
    tasks={"label": mm.Classification()},
    training=mm.Training(epochs=10),
)


def read(space, recipe=RECIPE):
    return read_space(recipe, space)


def test_ranges_and_choices_get_the_types_of_their_fields(tmp_path):
    space = {
        "training.learning_rate": {"low": 1e-4, "high": "1e-2", "log": True},
        "training.modality_dropout": {"low": 0, "high": 0.5},
        "training.epochs": "5 .. 10",
        "training.weight_decay": "1e-4..1 log",
        "fusion.kind": "gated, concat",
        "fusion.units": "32,64",
        "inputs.photo.size": [[32, 32], [48, "48"]],
        "training.calibrate": "true, false",
    }
    found = read(space)
    assert found["training.learning_rate"] == Range(low=1e-4, high=1e-2, log=True)
    ends = [v for p in ("training.modality_dropout", "training.epochs", "training.weight_decay") for v in found[p].ends]
    assert ends == [0.0, 0.5, 5, 10, 1e-4, 1.0]
    assert [type(v) for v in ends] == [float, float, int, int, float, float]
    assert found["training.weight_decay"].log
    assert found["fusion.kind"] == Choices(("gated", "concat"))
    assert found["fusion.units"] == Choices((32, 64))
    assert found["inputs.photo.size"] == Choices(([32, 32], [48, 48]))
    assert found["training.calibrate"].ends == (True, False)
    # What is printed is what may be written.
    again = read({path: str(own) for path, own in found.items() if path != "inputs.photo.size"})
    assert again == {path: own for path, own in found.items() if path != "inputs.photo.size"}
    file = tmp_path / "space.yaml"
    file.write_text("training.learning_rate: {low: 1e-4, high: 1e-2, log: true}\nfusion.kind: [gated, concat]\n")
    assert read(file) == {path: found[path] for path in ("training.learning_rate", "fusion.kind")}
    joined = join_space(file, ["fusion.kind = gated,low_rank", "fusion.units=32,64"])
    assert read(joined)["fusion.kind"].ends == ("gated", "low_rank")
    assert list(joined) == ["training.learning_rate", "fusion.kind", "fusion.units"]
    assert join_space(file, ()) == file


@pytest.mark.parametrize(
    ("space", "match"),
    [
        ({"learning_rate": "1..2"}, r"space: learning_rate: .*no such field. Did you mean 'training.learning_rate'"),
        ({"training.learning_rat": "1..2"}, "Did you mean 'training.learning_rate'.*Fields of training"),
        ({"fusion.kind": ["gated", "concatt"]}, "space: fusion.kind: must be one of .*Did you mean 'concat'"),
        ({"training.modality_dropout": "0..1"}, "training.modality_dropout: .*less than 1. Received: 1"),
        ({"training.epochs": "1.5..3"}, "training.epochs: .*valid integer.*Received: 1.5"),
        ({"training.learning_rate": "0.1..0.01"}, "`low` must be below `high`"),
        ({"training.weight_decay": "0..1 log"}, "`low` must be above 0 with `log`"),
        ({"training.learning_rate": {"lo": 1, "high": 2}}, "unknown key 'lo'. Did you mean 'low'"),
        ({"training.learning_rate": 3}, "expected a list of values, low and high, or text"),
        ({"training.calibrate": "0..1"}, "a range needs a field of numbers"),
        ({"fusion.kind": ["gated"]}, "at least two distinct values"),
        ({"fusion.units": [32, "32"]}, "at least two distinct values"),
        ({"inputs.photo.column": "a,b"}, "cannot be searched: it says what is read from the manifest"),
        ({"training.seed": "1..3"}, "cannot be searched: a seed is luck"),
        ({"fusion": ["gated", "concat"], "fusion.units": [3, 4]}, "fusion.units: stands inside fusion"),
        ({"fusion.options.rank": "2..4"}, "no kind that the search tries has this option"),
        ({"fusion.options.rnk": "2..4"}, "Did you mean 'fusion.options.rank'"),
        ({"training": ["a", "b"]}, "no such field"),
        ({3: [1, 2]}, "no such field"),
        ({}, "expected a mapping"),
        ([], "expected a mapping"),
        ("nowhere.yaml", "nowhere.yaml: cannot read the space"),
    ],
)
def test_faults_are_told_with_the_place_and_the_nearest_right_word(space, match):
    with pytest.raises(mm.RecipeError, match=match):
        read(space)


def test_words_of_the_command_line_are_pairs():
    with pytest.raises(mm.RecipeError, match=r"expected FIELD=VALUES. Received: 'fusion.kind'"):
        join_space(None, ["fusion.kind"])
    with pytest.raises(mm.RecipeError, match="stands twice"):
        join_space(None, ["fusion.kind=gated,concat", "fusion.kind=sum,concat"])


def test_an_option_stands_where_the_kind_has_it_and_goes_with_the_old_kind():
    space = read({"fusion.kind": "gated,low_rank", "fusion.options.rank": "2..6"})
    assert space["fusion.options.rank"] == Range(low=2, high=6)
    low = changed(RECIPE, {"fusion.kind": "low_rank", "fusion.options.rank": 3})
    assert (low.fusion.kind, dict(low.fusion.options)) == ("low_rank", {"rank": 3})
    assert not changed(RECIPE, {"fusion.kind": "gated", "fusion.options.rank": 3}).fusion.options
    assert not changed(low, {"fusion.kind": "concat"}).fusion.options
    assert dict(changed(low, {"fusion.units": 16}).fusion.options) == {"rank": 3}
    assert value_of(changed(RECIPE, {"fusion.kind": "low_rank"}), "fusion.options.rank") == 4  # its default


def test_a_value_may_need_another_one_beside_it():
    """`mmpareto` refuses an auxiliary loss, which this recipe has; the search may turn it off."""
    recipe = changed(RECIPE, {"training.auxiliary": 1.0})
    with pytest.raises(mm.RecipeError, match=r"training.balance.*mmpareto"):
        read({"training.balance": "none,mmpareto"}, recipe)
    both = read({"training.balance": "none,mmpareto", "training.auxiliary": [0, 1]}, recipe)
    assert both["training.balance"].ends == ("none", "mmpareto")


def test_what_the_recipe_says_is_found_in_the_space():
    space = {"inputs.photo.encoder.kind": "vit,cnn", "fusion": ["gated", {"kind": "low_rank", "options": {"rank": 2}}]}
    space |= {"training.epochs": "2..10", "training.learning_rate": "1e-2..1e-1", "training.calibrate": [True, False]}
    said = {"inputs.photo.encoder.kind": "cnn", "fusion": "gated", "training.epochs": 10, "training.calibrate": True}
    assert given_values(RECIPE, read(space)) == said
    assert changed(RECIPE, said | {"inputs.photo.encoder.kind": None}) == RECIPE
    assert read(space)["training.calibrate"].parameter(1) is None  # 1 is not True


@pytest.mark.parametrize("inputs", [1, 2])
def test_the_default_space_holds_the_recipe_and_fits_it(inputs):
    recipe = RECIPE.without("title") if inputs == 1 else changed(RECIPE, {"fusion.units": 48, "fusion.kind": "sum"})
    space = read(None, recipe)
    assert given_values(recipe, space) == {path: value_of(recipe, path) for path in space}
    assert ("fusion.kind" in space) is (inputs == 2)
    assert set(space) <= set(fields_of(recipe))
    if inputs == 2:
        assert space["fusion.units"].ends == (32, 48, 64, 128)
        assert space["fusion.kind"].ends[0] == "sum"


def test_every_field_that_is_offered_can_be_changed():
    """To the value that it has: the recipe stays the same."""
    paths = fields_of(RECIPE)
    assert {"training.learning_rate", "inputs.title.length", "tasks.label.weight", "fusion.options.rank"} <= set(paths)
    assert not {"training.seed", "inputs.title.column", "tasks.label.classes"} & set(paths)
    for path in paths:
        if ".options." not in path:
            made = changed(RECIPE, {path: value_of(RECIPE, path)})
            # An encoder's default kind is written out.
            assert path.endswith("encoder.kind") or made == RECIPE


def test_a_space_needs_no_tensorflow():
    code = (
        "import sys, mm_keras as mm\nfrom mm_keras.searching.space import read_space\n"
        "recipe = mm.Recipe(inputs={'a': mm.Text(), 'b': mm.Image()}, tasks={'c': mm.Classification()})\n"
        "read_space(recipe, None)\nassert not {'tensorflow', 'keras', 'optuna'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)

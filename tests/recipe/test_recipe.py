"""The declaration: Python, YAML and JSON Schema say the same."""

import copy
import json
import pickle

import pytest
import yaml
from pydantic import ValidationError

import mm_keras.recipe as parts
from mm_keras import registry
from mm_keras.recipe import load_recipe


def every_part():
    """A recipe that sets every field of every part away from its default."""
    return parts.Recipe(
        inputs={
            "photo": parts.Image(
                column="file",
                size=(8, 9),
                channels=4,
                resize="pad",
                background=7,
                shift=0.1,
                flip=True,
                encoder={"dropout": 0.3},
            ),
            "title": parts.Text(column="名", length=5, vocabulary_size=99, remove=r"\d+", encoder="gru"),
            "voice": parts.Audio(seconds=0.1, sampling_rate=8000, max_hz=3000.5, mask=0.25, encoder={"size": "base"}),
            "facts": parts.Tabular(numeric=["price", "a b"], categorical=["colour"], max_categories=3),
            "features": parts.Vector(prefix="f_"),
        },
        fusion=parts.Fusion("decision_mean", units=3, dropout=0.0),
        tasks={
            "breed": parts.Classification(classes=["cat", "1e3", "no"], class_weight="balanced", label_smoothing=0.1),
            "rating": parts.Regression(column="stars", weight=0.1 + 0.2),
        },
        training=parts.Training(epochs=2, learning_rate=1 / 3, precision="mixed_bfloat16", seed=2**31 - 1),
    )


def test_yaml_round_trip_is_equal(tmp_path):
    recipe = every_part()
    recipe.save(tmp_path / "recipe.yaml")
    again = load_recipe(tmp_path / "recipe.yaml")
    assert again == recipe
    assert list(again.inputs) == ["photo", "title", "voice", "facts", "features"]
    assert again.training.learning_rate == 1 / 3
    assert again.tasks["breed"].classes == ("cat", "1e3", "no")
    assert "名" in recipe.to_yaml()


def test_yaml_shorthands_numbers_and_anchors(tmp_path):
    (tmp_path / "recipe.yaml").write_text(
        "inputs:\n  a: &text {kind: text, length: 3, encoder: gru}\n  b: {<<: *text, length: 4}\n"
        "tasks: {r: {kind: classification, classes: [1, 2.5, x]}}\nfusion: concat\ntraining: {learning_rate: 1e-3}\n"
    )
    recipe = load_recipe(tmp_path / "recipe.yaml")
    assert recipe.training.learning_rate == 0.001  # PyYAML reads `1e-3` as a string
    assert recipe.fusion == parts.Fusion("concat")
    assert (recipe.inputs["a"].length, recipe.inputs["b"].length) == (3, 4)
    assert recipe.inputs["b"].encoder_kind == "gru"
    assert recipe.tasks["r"].classes == ("1", "2.5", "x")


def test_nothing_in_a_recipe_can_change():
    recipe = every_part()
    with pytest.raises(ValidationError, match="frozen"):
        recipe.fusion = parts.Fusion("concat")
    with pytest.raises(ValidationError, match="frozen"):
        recipe.inputs["photo"].size = (1, 1)
    with pytest.raises(TypeError, match="item assignment"):
        recipe.inputs["other"] = parts.Text()
    with pytest.raises(TypeError, match="item deletion"):
        del recipe.tasks["breed"]


def test_the_callers_dict_stays_outside():
    inputs = {"title": parts.Text()}
    recipe = parts.Recipe(inputs=inputs, tasks={"rating": parts.Regression()})
    inputs["other"] = parts.Text()
    assert list(recipe.inputs) == ["title"]


def test_copies_and_pickles_are_equal():
    recipe = every_part()
    assert copy.deepcopy(recipe) == recipe
    assert pickle.loads(pickle.dumps(recipe)) == recipe
    assert hash(pickle.loads(pickle.dumps(recipe))) == hash(recipe)
    assert recipe != recipe.without("photo")


def test_without_leaves_a_whole_recipe():
    recipe = every_part()
    rest = recipe.without("facts", "photo")
    assert list(rest.inputs) == ["title", "voice", "features"]
    assert type(rest.inputs) is type(recipe.inputs)
    assert (rest.tasks, rest.fusion, rest.training) == (recipe.tasks, recipe.fusion, recipe.training)
    assert load_recipe(yaml.safe_load(rest.to_yaml())) == rest
    assert len(recipe.inputs) == 5


def test_json_schema_takes_the_yaml_form_and_refuses_faults():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads(json.dumps(parts.Recipe.json_schema()))
    jsonschema.Draft202012Validator.check_schema(schema)
    check = jsonschema.Draft202012Validator(schema)
    content = yaml.safe_load(every_part().to_yaml())
    assert list(check.iter_errors(content)) == []
    assert check.is_valid({**content, "fusion": "gated", "inputs": {"t": {"kind": "text", "encoder": "gru"}}})
    assert not check.is_valid({**content, "fuson": {}})
    assert not check.is_valid({**content, "inputs": {"t": {"kind": "text", "lenght": 3}}})
    assert not check.is_valid({**content, "training": {"epochs": 0}})


def test_a_fusion_is_added_with_one_line(monkeypatch):
    with pytest.raises(ValueError, match="must be one of"):
        parts.Fusion("mine")
    monkeypatch.setitem(registry.FUSIONS, "mine", object())
    assert parts.Fusion("mine").kind == "mine"


def test_an_encoder_is_added_with_one_line(monkeypatch):
    monkeypatch.setitem(registry.ENCODERS["image"], "mine", object())
    assert parts.Image(encoder="mine").encoder_kind == "mine"
    assert parts.Image().encoder_kind == "cnn"


def test_fields_can_be_served_and_are_distinct():
    columns = ["price", "unit price", "class", "1st", "_private", "error", "价格", "颜色", "a.b"]
    fields = parts.Tabular(numeric=columns[:5], categorical=columns[5:]).fields()
    assert fields == {
        "price": "price",
        "unit price": "unit_price",
        "class": "column_class",
        "1st": "column_1st",
        "_private": "private",
        "error": "column_error",
        "价格": "column_6",
        "颜色": "column_7",
        "a.b": "a_b",
    }


def test_a_table_of_one_column_may_carry_its_name():
    recipe = parts.Recipe(inputs={"price": parts.Tabular(numeric=["price"])}, tasks={"rating": parts.Regression()})
    assert recipe.inputs["price"].fields() == {"price": "price"}

"""A fault names its place, and the nearest right word."""

# ruff: noqa: E501 (messages stand on one line)

import copy

import pytest
import yaml

import mm_keras.recipe as parts
from mm_keras.errors import RecipeError
from mm_keras.recipe import load_recipe
from mm_keras.registry import ENCODERS, FUSIONS

SOUND = {
    "inputs": {
        "photo": {"kind": "image"},
        "title": {"kind": "text"},
        "facts": {"kind": "tabular", "numeric": ["price"]},
    },
    "tasks": {"rating": {"kind": "regression"}, "breed": {"kind": "classification"}},
}


def changed(place, value):
    """Returns the sound recipe with one value set, at a place such as `inputs.photo.size`."""
    content = copy.deepcopy(SOUND)
    *rooms, key = place.split(".")
    at = content
    for room in rooms:
        at = at.setdefault(room, {})
    at[key] = value
    return content


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        # unknown keys, at each depth
        ("trainin", {}, "trainin: unknown key 'trainin'. Did you mean 'training'? Known keys: ['fusion', 'inputs', "),
        ("training.epoch", 3, "training.epoch: unknown key 'epoch'. Did you mean 'epochs'?"),
        ("fusion.unit", 3, "fusion.unit: unknown key 'unit'. Did you mean 'units'? Known keys: ['dropout', 'kind', 'options', 'units']"),
        ("inputs.title.lenght", 3, "inputs.title.lenght: unknown key 'lenght'. Did you mean 'length'?"),
        ("inputs.title.seconds", 3, "inputs.title.seconds: unknown key 'seconds'. Known keys: ['column', 'drop', 'encoder', "),
        ("inputs.photo.encoder.sise", "tiny", "inputs.photo.encoder.sise: unknown key 'sise'. Did you mean 'size'?"),
        ("tasks.breed.clases", [], "tasks.breed.clases: unknown key 'clases'. Did you mean 'classes'?"),
        # unknown words
        ("inputs.photo", {"kind": "imag"}, "inputs.photo: unknown kind 'imag'. Did you mean 'image'? Known kinds: ['image', "),
        ("tasks.rating", {"kind": "regresion"}, "tasks.rating: unknown kind 'regresion'. Did you mean 'regression'?"),
        ("inputs.title.encoder", "grru", f"inputs.title: `encoder` must be one of {sorted(ENCODERS['text'])} for text. Did you mean 'gru'?"),
        ("inputs.photo.encoder", {"kind": "gru"}, f"inputs.photo: `encoder` must be one of {sorted(ENCODERS['image'])} for image. Received: encoder='gru'"),
        ("fusion", "self_atention", "Did you mean 'self_attention'? Received: 'self_atention'"),
        ("fusion", {"kind": "gate"}, "Did you mean 'gated'? Received: 'gate'"),
        ("inputs.photo.encoder", {"size": "smal"}, "inputs.photo.encoder.size: must be 'tiny', 'small' or 'base'. Did you mean 'small'?"),
        ("training.precision", "float16", "training.precision: must be 'float32', 'mixed_float16' or 'mixed_bfloat16'. Did you mean 'mixed_float16'?"),
        # impossible values
        ("inputs.photo.size", [0, 8], "inputs.photo.size.0: Input should be greater than or equal to 1. Received: 0"),
        ("inputs.photo.channels", 2, "inputs.photo.channels: must be 1, 3 or 4. Received: 2"),
        ("inputs.facts.numeric", "price", "inputs.facts.numeric: expected a list. Received: 'price'"),
        ("inputs.facts.numeric", [], "inputs.facts: needs at least one column in `numeric` or `categorical`."),
        ("inputs.facts.categorical", ["price"], "inputs.facts: names a column twice. Received: ['price']"),
        ("training.learning_rate", float("inf"), "training.learning_rate: Input should be a finite number. Received: inf"),
        ("training.learning_rate", 0, "training.learning_rate: Input should be greater than 0. Received: 0"),
        ("training.seed", -1, "training.seed: Input should be greater than or equal to 0. Received: -1"),
        ("inputs.v", {"kind": "audio", "seconds": float("nan")}, "inputs.v.seconds: Input should be a finite number."),
        ("inputs.v", {"kind": "audio", "max_hz": 9000}, "inputs.v: needs min_hz < max_hz <= sampling_rate / 2. Received: min_hz=20.0, max_hz=9000.0"),
        ("inputs.v", {"kind": "audio", "hop_ms": 2001}, "inputs.v: `hop_ms` is longer than the clip. Received: hop_ms=2001.0"),
        ("inputs.v", {"kind": "vector", "column": "c", "prefix": "p"}, "inputs.v: takes one of `column`, `columns` and `prefix`."),
        ("tasks.breed.classes", ["cat"], "tasks.breed.classes: needs at least two distinct names. Received: ['cat']"),
        ("tasks.breed.classes", ["cat", "cat"], "tasks.breed.classes: needs at least two distinct names."),
        ("tasks.breed.classes", [False, True], "tasks.breed.classes.0: YAML reads yes, no, on and off as true and false"),
        # shapes of the document
        ("inputs", {}, "inputs: is empty."),
        ("inputs.photo", "image", "inputs.photo: expected a mapping with a `kind`. Received: 'image'"),
        ("inputs.photo", {}, "inputs.photo: needs a `kind`. Received: {}"),
        ("inputs", ["photo"], "inputs: expected a mapping. Received: ['photo']"),
        ("inputs", {7: {"kind": "text"}}, "inputs.7: a key must be a string; put it in quotes."),
        # names that cannot be served
        ("inputs.class", {"kind": "text"}, "inputs.class: a name is letters, digits and underscores, begins with a letter"),
        ("inputs._photo", {"kind": "text"}, "inputs._photo: a name is"),
        ("inputs.1st", {"kind": "text"}, "inputs.1st: a name is"),
        ("tasks.größe", {"kind": "regression"}, "tasks.größe: a name is"),
        ("tasks.error", {"kind": "regression"}, "tasks.error: a name is"),
        ("inputs.embedding", {"kind": "text"}, "inputs.embedding: a name is"),
        # names that stand twice
        ("inputs.rating", {"kind": "text"}, "the name 'rating' is used twice, by inputs.rating and by tasks.rating. Rename one."),
        ("inputs.price", {"kind": "text"}, "the name 'price' is used twice, by inputs.price and by inputs.facts.price."),
        ("inputs.photo_encoder", {"kind": "text"}, "the name 'photo_encoder' is used twice, by inputs.photo and by inputs.photo_encoder."),
        ("inputs.photo_encoder_1", {"kind": "text"}, "'photo_encoder_1' is used twice, by inputs.photo_encoder_1 and by inputs.photo."),
        ("inputs.fusion_2", {"kind": "text"}, "the name 'fusion_2' is used twice, by inputs.fusion_2 and by the fusion."),
        ("inputs.facts.numeric", ["a b", "a_b"], "the name 'a_b' is used twice, by inputs.facts.a b and by inputs.facts.a_b."),
        ("inputs.facts.numeric", ["facts", "facts!"], "the name 'facts' is used twice, by inputs.facts and by inputs.facts.facts!"),
    ],
)  # fmt: skip
def test_names_the_place_and_the_fault(place, value, message):
    with pytest.raises(RecipeError) as caught:
        load_recipe(changed(place, value))
    assert message in str(caught.value)
    assert not str(caught.value).startswith("Recipe")


def test_a_dot_in_a_name_is_refused():
    with pytest.raises(RecipeError, match=r"^inputs\.age\.years: a name is letters, digits and underscores"):
        parts.Recipe(inputs={"age.years": parts.Text()}, tasks={"rating": parts.Regression()})


def test_heads_of_single_inputs_do_not_clash():
    inputs = {"b_c": parts.Text(), "c": parts.Text()}
    with pytest.raises(RecipeError, match="the name 'a_b_c_logits' is used twice"):
        parts.Recipe(inputs=inputs, tasks={"a": parts.Regression(), "a_b": parts.Regression()})


def test_every_fault_is_told_at_once():
    content = changed("training.epochs", 0)
    content["fusion"] = {"units": 0}
    with pytest.raises(RecipeError) as caught:
        load_recipe(content)
    assert "fusion.units: " in str(caught.value)
    assert "training.epochs: " in str(caught.value)


def test_a_part_alone_is_called_by_its_class():
    with pytest.raises(RecipeError, match=r"^Tabular: needs at least one column"):
        parts.Tabular()
    with pytest.raises(RecipeError, match=r"^kind: must be one of .* Did you mean 'gated'\? Received: 'gatd'$"):
        parts.Fusion("gatd")


@pytest.mark.parametrize("pattern", ["(", "(?=a)", r"(a)\1", "*"])
def test_remove_takes_what_re2_takes(pattern):
    with pytest.raises(RecipeError, match=r"`remove` is no RE2 pattern") as caught:
        parts.Text(remove=pattern)
    assert repr(pattern) in str(caught.value)


@pytest.mark.parametrize("pattern", [r"\p{Han}", r"[[:digit:]]+", r"\z", r"https?://\S+"])
def test_remove_takes_patterns_that_only_re2_knows(pattern):
    assert parts.Text(remove=pattern).remove == pattern


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("inputs: {}\ninputs: {}", "the key 'inputs' stands twice"),
        ("inputs: [", "not YAML: "),
        ("- inputs", "expected a mapping. Received: list"),
        ("", "expected a mapping. Received: NoneType"),
        ("? [1]\n: 2", "not YAML: "),
        ("!!map [1]", "not YAML: "),
        ("!!python/object/apply:os.getcwd []", "not YAML: "),
    ],
)
def test_a_file_that_is_no_recipe_is_named(tmp_path, text, message):
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert message in str(caught.value)


def test_faults_in_a_file_begin_with_its_name(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(changed("inputs.class", {"kind": "text"})))
    with pytest.raises(RecipeError) as caught:
        load_recipe(path)
    assert str(caught.value).startswith(f"{path}: inputs.class: a name is")


def test_absent_and_binary_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"none\.yaml: cannot read the recipe: No such file"):
        load_recipe(tmp_path / "none.yaml")
    (tmp_path / "binary.yaml").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(RecipeError, match=r"binary\.yaml: not YAML"):
        load_recipe(tmp_path / "binary.yaml")


def test_without_names_what_it_does_not_know():
    recipe = load_recipe(SOUND)
    with pytest.raises(RecipeError, match=r"no input 'titel'\. Did you mean 'title'\?"):
        recipe.without("titel")
    with pytest.raises(RecipeError, match="inputs: is empty"):
        recipe.without(*recipe.inputs)


def test_options_of_one_kind_are_checked(monkeypatch):
    def fusion(kind, **options):
        return load_recipe(changed("fusion", {"kind": kind, "options": options})).fusion

    assert dict(fusion("self_attention", num_heads=2).options) == {"num_heads": 2}
    for options, message in (
        ({"num_head": 2}, "fusion 'self_attention' has no option 'num_head'. Did you mean 'num_heads'?"),
        ({"num_heads": "2"}, "fusion 'self_attention': option 'num_heads' must be of type int. Received: '2'"),
        ({"num_heads": True}, "must be of type int. Received: True"),
        ({"num_heads": 0}, "must be at least 1. Received: 0"),
    ):
        with pytest.raises(RecipeError) as caught:
            fusion("self_attention", **options)
        assert message in str(caught.value)
    with pytest.raises(RecipeError, match="photo: image encoder 'cnn' has no option 'depth'"):
        load_recipe(changed("inputs.photo.encoder", {"kind": "cnn", "options": {"depth": 3}}))
    # A user's own kind checks for itself.
    monkeypatch.setitem(FUSIONS, "mine", object)
    assert dict(fusion("mine", anything=1.5).options) == {"anything": 1.5}

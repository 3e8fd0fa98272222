"""Views, videos and sequences in a recipe: defaults by shape, and what does not fit is refused."""

import pytest
import yaml

import mm_keras.recipe as parts
from mm_keras.errors import RecipeError


def test_the_default_encoder_follows_the_shape():
    assert parts.Vector().encoder_kind == "mlp"
    assert parts.Vector(steps=5).encoder_kind == "conv"
    assert parts.Video().encoder_kind == "frames"
    # Runs of pieces have no place for word vectors.
    assert [parts.Text().encoder_kind, parts.Text(vectors="glove.txt").encoder_kind] == ["ngrams", "transformer"]
    with pytest.raises(RecipeError, match=r"'ngrams' takes no word vectors\. Received: vectors='glove\.txt'"):
        parts.Text(vectors="glove.txt", encoder="ngrams")


def test_what_is_stored_names_its_encoder():
    """So that a run means the same when another encoder becomes the default."""
    inputs = {"a": parts.Text(), "b": parts.Vector(steps=3), "c": parts.Image(encoder={"size": "tiny"})}
    recipe = parts.Recipe(inputs=inputs, tasks={"t": parts.Classification()})
    content = yaml.safe_load(recipe.to_yaml())
    assert [content["inputs"][n]["encoder"]["kind"] for n in "abc"] == ["ngrams", "conv", "cnn"]
    assert [parts.Image().layout, parts.Image(views=2).layout] == ["image", "views"]
    assert [parts.Vector().layout, parts.Vector(steps=2).layout, parts.Video().layout] == ["vector", "series", "video"]


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: parts.Vector(steps=4, encoder="mlp"), "the encoder 'mlp' takes flat vectors; with `steps`, use"),
        (lambda: parts.Vector(encoder="gru"), "the encoder 'gru' takes sequences; give `steps`, or use one of ['mlp']"),
        (lambda: parts.Vector(steps=4, columns=("a", "b")), "with `steps`, needs a `column` of `.npy` paths or lists"),
        (lambda: parts.Vector(steps=0), "greater than or equal to 1"),
        (lambda: parts.Image(views=0), "greater than or equal to 1"),
        (lambda: parts.Video(encoder="conv2plus1"), "Did you mean 'conv2plus1d'?"),
        (
            lambda: parts.Video(encoder={"kind": "frames", "options": {"pool": "atention"}}),
            "option 'pool' must be one of ['gru', 'attention', 'mean']. Did you mean 'attention'?",
        ),
        (lambda: parts.Video(encoder={"kind": "conv2plus1d", "options": {"pool": "gru"}}), "has no option 'pool'"),
        (lambda: parts.Video(frame=3), "unknown key 'frame'. Did you mean 'frames'?"),
    ],
)
def test_what_does_not_fit_is_refused(make, text):
    with pytest.raises(RecipeError) as caught:
        make()
    assert text in str(caught.value)


def test_they_come_back_from_yaml(tmp_path):
    recipe = parts.Recipe(
        inputs={"a": parts.Image(views=3), "b": parts.Video(encoder="conv2plus1d"), "c": parts.Vector(steps=7)},
        tasks={"kind": parts.Classification()},
    )
    recipe.save(tmp_path / "recipe.yaml")
    assert parts.load_recipe(tmp_path / "recipe.yaml") == recipe

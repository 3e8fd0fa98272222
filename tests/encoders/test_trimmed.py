"""Encoders that take any number of steps give cut rows the answers of padded ones; what cannot is refused."""

import importlib.util
from dataclasses import replace

import numpy as np
import pytest

import mm_keras.recipe as parts
from mm_keras.encoders import build_encoder, build_encoder_parts
from mm_keras.errors import RecipeError
from mm_keras.recipe import TensorInfo, load_recipe
from mm_keras.registry import ANY_LENGTH, ENCODERS

STEPS = 24
TENSORS = {
    "text": TensorInfo(shape=(STEPS,), dtype="int32", vocabulary_size=30),
    "vector": TensorInfo(shape=(STEPS, 4)),
}
CASES = [(modality, kind, {}) for modality, kinds in ANY_LENGTH.items() for kind in sorted(kinds)]
CASES += [("text", "transformer", {"positions": "rotary"}), ("text", "ngrams", {"longest": 1})]


def spec_of(modality, encoder):
    if modality == "text":
        return parts.Text(length=STEPS, encoder=encoder)
    return parts.Vector(steps=STEPS, encoder=encoder)


def shaken(model, seed=0):
    """Gives every weight, and every moving statistic, a value that no initialiser gives."""
    rng = np.random.default_rng(seed)
    for weight in model.weights:
        low = 0.5 if weight.path.endswith("variance") else -0.3
        weight.assign(rng.uniform(low, low + 0.6, weight.shape))
    return model


def batch_of(modality, lengths, seed=1):
    rng = np.random.default_rng(seed)
    if modality == "text":
        batch = rng.integers(1, 30, (len(lengths), STEPS)).astype(np.int32)
    else:
        batch = rng.normal(size=(len(lengths), STEPS, 4)).astype(np.float32)
        batch[..., -1] = 1
        batch[0, 2] = 0  # a missing step inside stays where it is
    for row, length in enumerate(lengths):
        batch[row, length:] = 0
    return batch


@pytest.mark.parametrize(("modality", "kind", "options"), CASES)
def test_cut_rows_get_the_answers_of_padded_ones(modality, kind, options):
    if kind == "hub" and not importlib.util.find_spec("keras_hub"):
        pytest.skip("keras_hub is not installed")
    spec, tensor = spec_of(modality, {"kind": kind, "size": "small", "options": options}), TENSORS[modality]
    whole = shaken(build_encoder("x", spec, tensor))
    cut = build_encoder("x", spec, replace(tensor, trimmed=True))
    assert cut.input.shape[1] is None
    cut.set_weights(whole.get_weights())
    # The longest row fills what is kept, a short one does not, and one is blank.
    for kept in (2, 9):
        batch = batch_of(modality, [kept, (kept + 1) // 2, 0])
        expected, got = whole(batch), cut(batch[:, :kept])
        assert got["tokens"].shape[1] == kept
        np.testing.assert_allclose(got["embedding"], expected["embedding"], rtol=1e-6, atol=1e-6)
        np.testing.assert_array_equal(got["mask"], expected["mask"][:, :kept])
        np.testing.assert_allclose(got["tokens"], expected["tokens"][:, :kept], rtol=1e-6, atol=1e-6)
        assert not np.any(np.asarray(expected["tokens"])[:, kept:])
        assert np.abs(np.asarray(got["embedding"])[0]).max() > 0.01


@pytest.mark.parametrize(("modality", "kind", "options"), CASES)
def test_parts_of_encoders_take_any_number_of_steps_too(modality, kind, options):
    """Fusions that reach into the encoders cut them in parts."""
    if kind == "hub" and not importlib.util.find_spec("keras_hub"):
        pytest.skip("keras_hub is not installed")
    spec = spec_of(modality, {"kind": kind, "size": "tiny", "options": options})
    made = build_encoder_parts("x", spec, replace(TENSORS[modality], trimmed=True))
    state = batch_of(modality, [3, 2])[:, :3]
    for part in made:
        state = part(state)
    assert state["tokens"].shape[1] == 3


def recipe_of(text, bucket=True, **training):
    return parts.Recipe(
        inputs={"title": text, "price": parts.Tabular(numeric=("price",))},
        tasks={"rating": parts.Regression()},
        training=parts.Training(bucket=bucket, **training),
    )


def test_an_encoder_that_is_not_known_to_be_able_is_refused(monkeypatch):
    monkeypatch.setitem(ENCODERS["text"], "mine", "mm_keras.encoders.text:build_text_cnn")
    content = recipe_of(parts.Text(), bucket=False).model_dump()
    content["inputs"]["title"]["encoder"]["kind"] = "mine"
    assert load_recipe(content).bucketed == ()
    content["training"]["bucket"] = True
    known = r"Take one of \['cnn', 'gru', 'hub', 'lstm', 'ngrams', 'transformer'\]"
    with pytest.raises(
        RecipeError, match=rf"training.bucket: inputs.title.encoder 'mine' is not known to answer .*{known}"
    ):
        load_recipe(content)
    monkeypatch.setitem(ANY_LENGTH, "text", {*ANY_LENGTH["text"], "mine"})
    assert load_recipe(content).bucketed == ("title",)


def test_every_encoder_of_sequences_is_declared():
    """A new one of the house must say whether it can; the sounds' look at a clip of one length."""
    assert ANY_LENGTH["text"] == set(ENCODERS["text"])
    assert ANY_LENGTH["vector"] == set(ENCODERS["vector"]) - {"mlp"}


def test_inputs_of_one_length_have_nothing_to_cut():
    content = recipe_of(parts.Text()).model_dump()
    content["inputs"].pop("title")
    with pytest.raises(RecipeError, match=r"training.bucket: needs a text, .*Received: {'price': 'tabular'}"):
        load_recipe(content)
    assert not recipe_of(parts.Text()).without("title").training.bucket
    assert recipe_of(parts.Text()).without("price").bucketed == ("title",)

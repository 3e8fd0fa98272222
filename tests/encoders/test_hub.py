"""KerasHub networks from tiny presets that the test makes, against KerasHub's own preprocessing."""

import json
import shutil

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import png_bytes

import mm_keras.recipe as parts
from mm_keras import explain, export, fit, load, load_run
from mm_keras.encoders import build_encoder
from mm_keras.encoders.blocks import split_blocks
from mm_keras.errors import RecipeError
from mm_keras.model import encoder_parts
from mm_keras.preprocessing import build_preprocessor

keras_hub = pytest.importorskip("keras_hub")
PIECES = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "##s", "green", "apple", "pear", ",", "a", "b", "##c"]
TEXTS = ["Red apples, green", "pear", "abc red", "GREEN " * 9, "b"]
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 32, "intermediate_dim": 48}


def shaken(network, seed):
    rng = np.random.default_rng(seed)
    network.set_weights([w + rng.normal(0, 0.2, w.shape).astype(w.dtype) for w in network.get_weights()])
    return network


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    """Folder of a BERT with two blocks, and the network itself."""
    folder = tmp_path_factory.mktemp("bert")
    (folder / "vocab.txt").write_text("\n".join(PIECES) + "\n")
    network = keras_hub.models.BertBackbone(vocabulary_size=len(PIECES), max_sequence_length=12, **SIZES)
    shaken(network, 1).save_to_preset(str(folder / "preset"))
    tokenizer = keras_hub.models.BertTokenizer(str(folder / "vocab.txt"), lowercase=True)
    tokenizer.save_to_preset(str(folder / "preset"))
    return folder / "preset", network, tokenizer


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """Folders of a ViT and of a CLIP for pictures of 16 pixels, and the networks."""
    folder = tmp_path_factory.mktemp("pictures")
    sizes = {"patch_size": 4, "num_layers": 1, "num_heads": 2, "hidden_dim": 32}
    vit = shaken(keras_hub.models.ViTBackbone(image_shape=(16, 16, 3), mlp_dim=48, **sizes), 2)
    vision = keras_hub.models.CLIPVisionEncoder(
        image_shape=(16, 16, 3), intermediate_dim=48, intermediate_activation="quick_gelu", **sizes
    )
    text = keras_hub.models.CLIPTextEncoder(
        vocabulary_size=20, embedding_dim=32, hidden_dim=32, num_layers=1, num_heads=2, intermediate_dim=48,
        max_sequence_length=8,
    )  # fmt: skip
    clip = shaken(keras_hub.models.CLIPBackbone(vision, text, projection_dim=16), 3)
    for name, network, converter in (
        ("vit", vit, keras_hub.layers.ViTImageConverter(image_size=(16, 16), scale=1 / 127.5, offset=-1)),
        (
            "clip",
            clip,
            keras_hub.layers.CLIPImageConverter(
                image_size=(16, 16), scale=[1 / 68.0, 1 / 66.0, 1 / 70.0], offset=[-1.8, -1.7, -1.4]
            ),
        ),
    ):
        network.save_to_preset(str(folder / name))
        converter.save_to_preset(str(folder / name))
    (folder / "clip" / "tokenizer.json").write_text(json.dumps({"class_name": "CLIPTokenizer", "config": {}}))
    return folder, vit, clip


def text(folder, **encoder):
    return parts.Text(length=10, encoder={"kind": "hub", "size": "tiny", "weights": str(folder), **encoder})


def image(folder, **encoder):
    own = {"kind": "hub", "size": "tiny", "weights": str(folder), **encoder}
    return parts.Image(size=(16, 16), encoder=own)


def test_ids_and_states_are_those_of_kerashub(bert):
    folder, network, tokenizer = bert
    spec = text(folder)
    p = build_preprocessor("title", spec)
    p.adapt(np.array(["whatever"], dtype=object))
    theirs = keras_hub.models.BertTextClassifierPreprocessor(tokenizer, sequence_length=10)(TEXTS)
    ids = p.finish(tf.constant(TEXTS))
    np.testing.assert_array_equal(ids, theirs["token_ids"])
    assert p.finish(tf.constant([""])).numpy().tolist() == [[0] * 10]
    encoder = build_encoder("title", spec, p.tensor)
    trunk = encoder.get_layer("backbone")
    trunk.set_weights(network.get_weights()[: len(trunk.weights)])
    got, mask = (encoder(ids, training=False)[k] for k in ("tokens", "mask"))
    np.testing.assert_array_equal(mask, theirs["padding_mask"])
    expected = network(theirs, training=False)["sequence_output"] * np.asarray(mask)[..., None]
    np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["vit", "clip"])
def test_pixels_and_tokens_are_those_of_kerashub(pictures, name):
    folder, vit, clip = pictures
    spec = image(folder / name)
    p = build_preprocessor("photo", spec)
    p.adapt(None)
    pixels = np.random.default_rng(0).uniform(0, 1, (3, 16, 16, 3)).astype(np.float32)
    converter = keras_hub.layers.ImageConverter.from_preset(str(folder / name))
    network = vit if name == "vit" else clip.vision_encoder
    x = converter(255 * pixels)
    expected = network({"images": x} if name == "clip" else x, training=False)
    encoder = build_encoder("photo", spec, p.tensor)
    encoder.get_layer("backbone").set_weights(network.get_weights())
    np.testing.assert_allclose(encoder(pixels, training=False)["tokens"], expected, rtol=1e-4, atol=1e-4)


def test_pictures_of_another_size_are_resized(pictures):
    spec = parts.Image(size=(20, 12), encoder={"kind": "hub", "size": "tiny", "weights": str(pictures[0] / "vit")})
    p = build_preprocessor("photo", spec)
    p.adapt(None)
    assert build_encoder("photo", spec, p.tensor).output["tokens"].shape == (None, 17, 32)


def both(bert, pictures, **encoder):
    return parts.Recipe(
        inputs={"title": text(bert[0], **encoder), "photo": image(pictures[0] / "clip")},
        tasks={"kind": parts.Classification()},
        training=parts.Training(epochs=1, batch_size=8),
    )


def rows(folder):
    rng = np.random.default_rng(0)
    table = pd.DataFrame({"title": TEXTS * 4, "photo": [f"{i}.png" for i in range(20)], "kind": list("ab") * 10})
    for name in table["photo"]:
        (folder / name).write_bytes(png_bytes(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)))
    table["split"] = ["train"] * 12 + ["validation"] * 8
    table.to_csv(folder / "m.csv", index=False)
    return folder / "m.csv"


@pytest.fixture(scope="module")
def hub_run(bert, pictures, tmp_path_factory):
    """A run whose text encoder starts from a copy of the preset that is deleted afterwards; its last block trains."""
    folder = tmp_path_factory.mktemp("hub")
    shutil.copytree(bert[0], folder / "preset")
    recipe = both((folder / "preset", *bert[1:]), pictures, train="last", blocks=1)
    run = fit(recipe, load(rows(folder), recipe), folder / "run", verbose=False)
    shutil.rmtree(folder / "preset")
    return run


@pytest.mark.slow
def test_a_run_starts_from_the_preset_and_needs_it_no_more(hub_run, bert):
    run = load_run(hub_run.folder)
    trunk = encoder_parts(run.model, "title")[0].get_layer("backbone")
    blocks = split_blocks(trunk)
    frozen = {id(w) for block in blocks[:-1] for layer in block for w in layer.weights}
    assert [layer.name for layer in blocks[-1]] == ["transformer_layer_1"]
    same = [
        (id(w) in frozen, np.array_equal(w, theirs))
        for w, theirs in zip(trunk.weights, bert[1].get_weights(), strict=False)
    ]
    assert {still for is_frozen, still in same if is_frozen} == {True}
    assert {still for is_frozen, still in same if not is_frozen} == {False}
    assert {id(w) for w in trunk.trainable_weights}.isdisjoint(frozen)


@pytest.mark.long
def test_presets_are_exported_and_explained(hub_run, tmp_path):
    assert export(hub_run, tmp_path / "served", litert=("float32",), verbose=False) is not None
    explanation = explain(hub_run, {"title": TEXTS[0]})
    assert np.isfinite(list(explanation.scores.values())).all()


def changed(folder, tmp_path, file, change):
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    content = json.loads((copy / file).read_text())
    change(content)
    (copy / file).write_text(json.dumps(content))
    return copy


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("tokenizer.json", lambda c: c.update(class_name="GPT2Tokenizer"), "GPT2Tokenizer, which TensorFlow Text"),
        ("tokenizer.json", lambda c: c["config"].update(lowercase=False), "is cased"),
        ("tokenizer.json", dict.clear, "expected a class_name and a config"),
        ("config.json", lambda c: c["config"].update(max_sequence_length=8), "`length` must be from 3 to 8"),
    ],
)
def test_what_cannot_be_served_is_refused_by_the_recipe(bert, tmp_path, file, change, says):
    with pytest.raises(RecipeError, match=says):
        text(changed(bert[0], tmp_path, file, change))


def test_other_refusals(bert, pictures, tmp_path):
    with pytest.raises(RecipeError, match="CLIPTokenizer, which TensorFlow Text cannot run"):
        text(pictures[0] / "clip")
    with pytest.raises(RecipeError, match=r"holds no image_converter.json"):
        image(bert[0])
    with pytest.raises(RecipeError, match="takes pictures of 3 channels"):
        parts.Image(channels=1, encoder="hub")
    copy = tmp_path / "other"
    shutil.copytree(bert[0], copy)
    place = copy / "assets" / "tokenizer" / "vocabulary.txt"
    place.write_text("\n".join(PIECES[1:]))
    with pytest.raises(RecipeError, match=r"expected \[PAD\], which pads, in the first line"):
        text(copy)
    place.write_text("\n".join(p for p in PIECES if p != "[SEP]"))
    with pytest.raises(RecipeError, match=r"lacks \['\[SEP\]'\]"):
        text(copy)


def test_weights_of_another_preset(bert, tmp_path):
    copy = tmp_path / "other"
    shutil.copytree(bert[0], copy)
    small = keras_hub.models.BertBackbone(vocabulary_size=5, max_sequence_length=12, **SIZES)
    small.save_weights(copy / "model.weights.h5")
    recipe = parts.Recipe(inputs={"title": text(copy)}, tasks={"kind": parts.Classification()})
    with pytest.raises(RecipeError, match=r"inputs.title.encoder.weights: the preset .* cannot be read"):
        fit(recipe, load(rows(tmp_path), recipe), tmp_path / "run", verbose=False)


def test_precision_is_the_recipes(bert):
    spec = text(bert[0])
    p = build_preprocessor("title", spec)
    p.adapt(np.array(["x"], dtype=object))
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        trunk = build_encoder("title", spec, p.tensor).get_layer("backbone")
    finally:
        keras.config.set_dtype_policy("float32")
    assert trunk.output.dtype == "bfloat16"

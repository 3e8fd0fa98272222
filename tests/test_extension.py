"""A user's own encoders and fusions: registered with one line, trained, stored, loaded in another process, exported."""

import json
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
from conftest import build_run, card_recipe, five_input_examples, five_input_recipe
from keras import layers

import mm_keras.recipe as parts
from mm_keras.data.manifest import load
from mm_keras.encoders import build_encoder
from mm_keras.encoders.masking import MaskedPooling
from mm_keras.errors import DataError, RecipeError
from mm_keras.evaluation.predict import predict
from mm_keras.exporting.served.saved_model import float32_model
from mm_keras.fusion import build_fusion, fusion_level
from mm_keras.recipe import TensorInfo
from mm_keras.registry import ENCODERS, FUSIONS
from mm_keras.training.fit import fit
from mm_keras.training.run import load_run

MODULE = '''
import keras
from keras import layers, ops


class Wave(layers.Layer):
    """A plain layer, without a decorator."""

    def __init__(self, units=24, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = layers.Dense(units)

    def build(self, input_shape):
        self.dense.build(input_shape)

    def call(self, x):
        return ops.sin(self.dense(x))

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


class Strongest(layers.Layer):
    """A fusion as the house's own: the largest of the projected embeddings of the present inputs."""

    level = "embeddings"

    def __init__(self, units, dropout=0.0, **kwargs):
        super().__init__(**kwargs)
        self.units, self.dropout = units, dropout

    def build(self, embeddings_shape, present_shape=None):
        self.maps = {n: layers.Dense(self.units, name=f"map_{n}") for n in sorted(embeddings_shape)}
        for name, dense in self.maps.items():
            dense.build(embeddings_shape[name])

    def call(self, embeddings, present=None):
        return ops.max(ops.stack([self.maps[n](embeddings[n]) for n in sorted(embeddings)]), axis=0)

    def compute_output_shape(self, embeddings_shape, present_shape=None):
        return (next(iter(embeddings_shape.values()))[0], self.units)

    def get_config(self):
        return {**super().get_config(), "units": self.units, "dropout": self.dropout}


def build_deep(inputs, encoder, tensor):
    """A builder that returns the embedding alone."""
    return layers.Dense(16, activation="relu")(Wave(20)(inputs))


READY = layers.Dense(12, activation="tanh")
'''


@pytest.fixture
def mine(tmp_path, monkeypatch):
    """A module of a user's, importable here; the registry is put back afterwards."""
    (tmp_path / "my_layers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    sys.modules.pop("my_layers", None)
    import my_layers

    saved = [(table, dict(table)) for table in (FUSIONS, *ENCODERS.values())]
    yield my_layers
    for table, before in saved:
        table.clear()
        table.update(before)
    sys.modules.pop("my_layers", None)


def encoder_of(entry, kind="vector", shape=(6,), options=None, **info):
    ENCODERS[kind]["mine"] = entry
    part = {"vector": parts.Vector, "text": parts.Text, "image": parts.Image, "audio": parts.Audio}[kind]
    spec = part(encoder={"kind": "mine", "options": options or {}})
    return build_encoder("x", spec, TensorInfo(shape=shape, **info))


def test_a_layer_of_one_vector_is_the_embedding_and_the_only_token(mine):
    x = np.random.default_rng(0).normal(size=(4, 6)).astype(np.float32)
    encoder = encoder_of(layers.Dense(32))
    got = encoder(x)
    kernel, bias = encoder.get_weights()
    np.testing.assert_allclose(got["embedding"], x @ kernel + bias, atol=1e-5)
    np.testing.assert_array_equal(got["tokens"][:, 0], got["embedding"])
    np.testing.assert_array_equal(got["mask"], np.ones((4, 1)))
    assert not np.array_equal(encoder_of(layers.Dense(32)).get_weights()[0], kernel)


def test_each_use_is_a_copy_that_begins_at_the_weights_given(mine):
    trained = layers.Dense(3)
    trained.build((None, 6))
    kernel = np.arange(18, dtype=np.float32).reshape(6, 3)
    trained.set_weights([kernel, np.ones(3, np.float32)])
    one, two = encoder_of(trained), encoder_of(trained)
    np.testing.assert_array_equal(one.get_weights()[0], kernel)
    one.set_weights([0 * kernel, np.zeros(3)])
    np.testing.assert_array_equal(two.get_weights()[0], kernel)
    np.testing.assert_array_equal(trained.get_weights()[0], kernel)
    model = keras.Sequential([keras.Input((6,)), layers.Dense(5), layers.LayerNormalization()])
    x = np.random.default_rng(1).normal(size=(2, 6)).astype(np.float32)
    np.testing.assert_allclose(encoder_of(model)(x)["embedding"], model(x), atol=1e-6)


def test_tokens_are_masked_where_the_input_is_padded(mine):
    ids = np.array([[5, 7, 9, 0], [3, 0, 0, 0], [0, 0, 0, 0]], np.int32)
    text = {"kind": "text", "shape": (4,), "dtype": "int32", "vocabulary_size": 10}
    encoder = encoder_of(keras.Sequential([layers.Embedding(10, 8), layers.Dense(6)]), **text)
    table, kernel, bias = encoder.get_weights()
    steps = table[ids] @ kernel + bias
    mask = (ids > 0).astype(np.float32)
    got = encoder(ids)
    np.testing.assert_array_equal(got["mask"], mask)
    np.testing.assert_allclose(got["tokens"], steps * mask[..., None], atol=1e-6)
    mean = (steps * mask[..., None]).sum(1) / np.maximum(mask.sum(1, keepdims=True), 1)
    top = np.where(mask[..., None] > 0, steps, -np.inf).max(1)
    top = np.where(np.isfinite(top), top, 0)
    np.testing.assert_allclose(got["embedding"], np.concatenate([mean, top], axis=1), atol=1e-6)
    frames = np.ones((1, 4, 3), np.float32)
    frames[:, 2:] = 0
    got = encoder_of(layers.Dense(5), kind="audio", shape=(4, 3))(frames)
    np.testing.assert_array_equal(got["mask"], [[1, 1, 0, 0]])
    halved = encoder_of(layers.Conv1D(5, 2, strides=2), kind="audio", shape=(4, 3))(frames)
    np.testing.assert_array_equal(halved["mask"], [[1, 1]])  # other steps than the input's: none is known as padding


def test_a_map_of_features_is_a_token_for_each_place(mine):
    x = np.random.default_rng(0).normal(size=(2, 6, 4, 3)).astype(np.float32)
    encoder = encoder_of(layers.Conv2D(7, 3, strides=2, padding="same"), kind="image", shape=(6, 4, 3))
    got, places = encoder(x), np.asarray(encoder.layers[1](x)).reshape(2, 6, 7)
    np.testing.assert_allclose(got["tokens"], places, atol=1e-6)
    pooled = MaskedPooling()([places, np.ones((2, 6), np.float32)])
    np.testing.assert_allclose(got["embedding"], pooled, atol=1e-6)


def test_a_class_gets_the_options_of_the_recipe(mine):
    assert encoder_of(mine.Wave, options={"units": 9}).output["embedding"].shape == (None, 9)
    assert encoder_of(mine.build_deep).output["embedding"].shape == (None, 16)
    assert encoder_of("my_layers:READY").output["embedding"].shape == (None, 12)


@pytest.mark.parametrize(
    ("entry", "options", "message"),
    [
        (layers.Dense(3), {"units": 4}, "a layer that is registered as it is takes no options"),
        (layers.Dense, {"unit": 4}, "cannot make a Dense"),
        (layers.Conv1D(3, 2), {}, r"does not take the input \(None, 6\)"),
        (lambda inputs, encoder, tensor: [inputs], {}, "an encoder gives .* Received: list"),
    ],
)
def test_what_is_no_encoder_is_said(mine, entry, options, message):
    with pytest.raises(RecipeError, match=message):
        encoder_of(entry, options=options)


def fusion_of(entry, embeddings, **options):
    FUSIONS["mine"] = entry
    spec = parts.Fusion("mine", units=5, options=options)
    assert fusion_level(spec) == "embeddings"
    layer = build_fusion(spec, name="fusion")
    return layer, layer(embeddings, {n: np.ones((2, 1), np.float32) for n in embeddings})


def test_any_layer_of_a_list_is_a_fusion(mine):
    rng = np.random.default_rng(0)
    one, two = (rng.normal(size=(2, 5)).astype(np.float32) for _ in range(2))
    given = {"b": two, "a": one}
    np.testing.assert_allclose(fusion_of(layers.Add(), given)[1], one + two, rtol=1e-6)
    np.testing.assert_allclose(fusion_of(layers.Subtract, given)[1], one - two, rtol=1e-6)  # in the order of names
    layer, got = fusion_of(mine.Strongest, given)
    expected = np.maximum(layer.maps["a"](one), layer.maps["b"](two))
    np.testing.assert_allclose(got, expected, rtol=1e-5)
    assert layer.name == "fusion"
    inputs = [keras.Input((5,)), keras.Input((5,))]
    model = keras.Model(inputs, layers.Dense(4)(layers.Concatenate()(inputs)))
    np.testing.assert_allclose(fusion_of(model, given)[1], model([one, two]), atol=1e-6)  # its weights too
    _, got = fusion_of(lambda units: keras.layers.Dot(axes=1), given)
    np.testing.assert_allclose(got[:, 0], (one * two).sum(1), rtol=1e-5)
    with pytest.raises(RecipeError, match=r"fusion 'add.*' does not take embeddings \[\(2, 5\), \(2, 3\)\]"):
        fusion_of(layers.Add(), {"a": one, "b": two[:, :3]})
    with pytest.raises(RecipeError, match=r"must give \(batch, units\). Received: \(2, 2, 5\)"):
        fusion_of(layers.Concatenate(axis=0), {"a": one[None], "b": two[None]})
    with pytest.raises(RecipeError, match=r"expected a Keras layer\. Received: int"):
        fusion_of(lambda: 3, given)


def plain_five():
    """All five modalities with plain layers, joined by one."""
    ENCODERS["image"]["mine"] = keras.Sequential([layers.Conv2D(6, 3, strides=2), layers.ReLU()])
    ENCODERS["text"]["mine"] = keras.Sequential([layers.Embedding(200, 12), layers.Dense(12)])
    ENCODERS["audio"]["mine"] = layers.Dense(6, activation="relu")
    ENCODERS["tabular"]["mine"] = layers.Dense(12)
    ENCODERS["vector"]["mine"] = layers.Dense(12)
    FUSIONS["mine"] = layers.Concatenate()
    return five_input_recipe("mine", **dict.fromkeys(("photo", "title", "voice", "facts", "features"), "mine"))


@pytest.mark.slow
def test_a_run_of_plain_layers_loads_where_nothing_is_registered(mine, tmp_path):
    run = build_run(tmp_path / "run", plain_five())
    examples = five_input_examples(3)
    examples[1].pop("photo")
    expected = predict(run, examples)
    for table in [t for t in (FUSIONS, *ENCODERS.values()) if "mine" in t]:
        del table["mine"]
    again = load_run(tmp_path / "run")
    pd.testing.assert_frame_equal(predict(again, examples), expected)
    alone = predict(again, examples[:1])
    numbers = [c for c in alone.columns if alone[c].dtype.kind == "f"]
    np.testing.assert_allclose(alone[numbers], expected[numbers][:1], rtol=1e-5)
    tensors, _ = again.encode(examples)
    for task, values in float32_model(again)(tensors).items():
        np.testing.assert_array_equal(values, run.model(tensors)[task])


def own_recipe(fusion="mine"):
    recipe = card_recipe()
    inputs = {
        **recipe.inputs,
        "word": parts.Text(length=8, vocabulary_size=60, encoder={"kind": "transformer", "size": "tiny"}),
    }
    inputs["card"] = recipe.inputs["card"].model_copy(update={"encoder": parts.Encoder(kind="mine", size="tiny")})
    return parts.Recipe(inputs=inputs, tasks=recipe.tasks, training=recipe.training, fusion=parts.Fusion(fusion))


@pytest.fixture
def own_run(mine, digits_folder, tmp_path):
    """Trained with an encoder and a fusion of the user's module."""
    FUSIONS["mine"] = mine.Strongest
    ENCODERS["tabular"]["mine"] = mine.build_deep
    keras.saving.register_keras_serializable("my_layers")(mine.Wave)  # stands inside of a builder
    return fit(own_recipe(), load(digits_folder / "manifest.csv", own_recipe()), tmp_path / "run", verbose=False)


def in_a_fresh_process(code, *folders):
    code = f"import sys; sys.path[:0] = {[str(f) for f in folders]!r}\nimport mm_keras as mm\n{code}"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_fresh_process_imports_what_the_run_names(own_run, digits_folder, tmp_path):
    module = tmp_path / "my_layers.py"
    assert [part["entry"] for part in json.loads((own_run.folder / "extensions.json").read_text())] == [
        "my_layers:build_deep",
        "my_layers:Strongest",
    ]
    done = in_a_fresh_process(f"mm.load_run({str(own_run.folder)!r})", tmp_path)
    assert "DataError" in done.stderr
    assert "Keras cannot load the model: Could not locate class 'Wave'" in done.stderr
    # A layer inside of a builder is decorated, as the message says.
    decorated = "@keras.saving.register_keras_serializable('my_layers')\nclass Wave"
    module.write_text(module.read_text().replace("class Wave", decorated))
    out = tmp_path / "predicted.csv"
    manifest = digits_folder / "manifest.csv"
    code = f"mm.predict({str(own_run.folder)!r}, {str(manifest)!r}).to_csv({str(out)!r}, index=False)"
    done = in_a_fresh_process(code, tmp_path)
    assert done.returncode == 0, done.stderr[-2000:]
    expected = predict(own_run, manifest)
    got = pd.read_csv(out, dtype={"digit": str}, keep_default_na=False)
    numbers = [c for c in expected.columns if expected[c].dtype.kind == "f"]
    np.testing.assert_allclose(got[numbers].astype(float), expected[numbers], rtol=1e-5, atol=1e-6)
    assert got["digit"].tolist() == expected["digit"].tolist()


def test_what_cannot_be_imported_is_named(own_run, tmp_path, monkeypatch):
    for table in (FUSIONS, ENCODERS["tabular"]):
        del table["mine"]
    described = own_run.folder / "extensions.json"
    whole = json.loads(described.read_text())
    sys.modules.pop("my_layers")
    monkeypatch.setattr(sys, "path", [p for p in sys.path if p != str(tmp_path)])
    with pytest.raises(DataError) as caught:
        load_run(own_run.folder)
    said = str(caught.value)
    assert 'was trained with mm_keras.registry.ENCODERS["tabular"]["mine"] = .. my_layers:build_deep' in said
    assert f"(it stood in {tmp_path / 'my_layers.py'}), which cannot be imported: No module named 'my_layers'" in said
    assert "PYTHONPATH" in said
    described.write_text(json.dumps([{**whole[0], "entry": None}, whole[1]]))
    with pytest.raises(DataError, match="something that no other process can import: it was made in a notebook"):
        load_run(own_run.folder)


def test_what_would_not_load_is_told_before_training(mine, digits_folder, tmp_path):
    class Inner(layers.Layer):
        """Neither decorated nor registered, inside of a builder."""

        def call(self, x):
            return x

    data = load(digits_folder / "manifest.csv", card_recipe())
    for inside, why in ((Inner, "Could not locate class 'Inner'"), (lambda: layers.Lambda(lambda x: x * 2), "ambda")):
        ENCODERS["tabular"]["mine"] = lambda inputs, encoder, tensor, inside=inside: inside()(inputs)
        recipe = card_recipe()
        card = recipe.inputs["card"].model_copy(update={"encoder": parts.Encoder(kind="mine")})
        recipe = recipe.model_copy(update={"inputs": {"card": card}})
        with pytest.raises(RecipeError, match=f"the model could not be loaded again: .*{why}"):
            fit(recipe, data, tmp_path / "run", verbose=False)
        assert not (tmp_path / "run").exists()


@pytest.mark.slow
def test_ones_own_parts_are_exported(own_run, mine, tmp_path):
    """The export raises where the SavedModel or a LiteRT file differs from the model."""
    from mm_keras.exporting.export import export

    assert export(own_run, tmp_path / "served", litert=("float32",), verbose=False).path.is_dir()


@pytest.mark.long
def test_plain_layers_are_exported(mine, tmp_path):
    from test_contract import RealRows

    from mm_keras.exporting.export import export

    run = build_run(tmp_path / "run", plain_five())
    bundle = export(run, tmp_path / "served", RealRows(five_input_examples(24)), litert=("float32",), verbose=False)
    assert bundle.path.is_dir()

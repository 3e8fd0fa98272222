"""The forms that a network takes for conversion give the numbers of the trained one."""

import keras
import numpy as np
import pytest
from conftest import build_run, five_input_examples, five_input_recipe
from served_rows import ListRows

import mm_keras as mm
import mm_keras.recipe as parts
from mm_keras.data.catalog.planted import make_distractor
from mm_keras.encoders.transformer import RotaryAttention
from mm_keras.exporting.litert.attention import quantisable_attention
from mm_keras.exporting.litert.conversion import unrolled_model
from mm_keras.exporting.litert.normalisation import quantisable_normalisation
from mm_keras.exporting.litert.phone.files import write_vocabularies
from mm_keras.exporting.litert.phone.tokenizer import load_tokenizers
from mm_keras.exporting.schema import build_schema
from mm_keras.registry import FUSIONS


@pytest.mark.parametrize("attention", [keras.layers.MultiHeadAttention, RotaryAttention])
def test_attention_without_the_constant_equals_that_of_keras(attention):
    rng = np.random.default_rng(0)
    inputs, mask = keras.Input((5, 8)), keras.Input((1, 5), dtype="bool")
    output = attention(2, 4, dropout=0.1)(inputs, inputs, attention_mask=mask)
    model = keras.Model([inputs, mask], output)
    x = 3 * rng.standard_normal((4, 5, 8)).astype(np.float32)
    keep = np.array([[1, 1, 1, 1, 1], [1, 1, 0, 0, 0], [0, 0, 1, 0, 0], [0, 0, 0, 0, 0]], bool)[:, None]
    wanted = np.asarray(model([x, keep]))
    with quantisable_attention(model):
        found = np.asarray(model([x, keep]))
    np.testing.assert_allclose(found, wanted, atol=2e-6)
    assert "_compute_attention" not in vars(model.layers[-1])
    np.testing.assert_array_equal(model([x, keep]), wanted)


NORMS = [{}, {"epsilon": 1e-6}, {"center": False}, {"scale": False, "axis": 2}, {"axis": 1}]


@pytest.mark.parametrize("options", NORMS)
def test_normalisation_without_a_variance_is_exact(options):
    rng = np.random.default_rng(0)
    model = keras.Sequential([keras.Input((5, 8)), keras.layers.LayerNormalization(**options)])
    model.set_weights([rng.normal(1, 0.5, w.shape) for w in model.get_weights()])
    x = rng.standard_normal((4, 5, 8)).astype(np.float32) * 10.0 ** rng.integers(-3, 3, (4, 5, 1))
    x[1, 2], x[2, 3] = 0, 7  # nothing to normalise
    shape = (5, 1) if options.get("axis") == 1 else (8,)
    layer, axis, before = model.layers[-1], options.get("axis", -1), np.asarray(model(x))
    weights = zip((layer.gamma, layer.beta), (1.0, 0.0), strict=True)
    gamma, beta = (none if w is None else np.asarray(w, np.float64).reshape(shape) for w, none in weights)
    y = x - x.mean(axis, keepdims=True, dtype=np.float64)
    y /= np.sqrt(np.mean(y**2, axis, keepdims=True) + layer.epsilon)
    wanted = y * gamma + beta
    with quantisable_normalisation(model):
        found = np.asarray(model(x))
    # Keras's own way is no closer: it subtracts two large squares.
    np.testing.assert_allclose(found, wanted, atol=2e-4 if axis == 1 else 5e-6)
    assert "call" not in vars(layer)
    np.testing.assert_array_equal(model(x), before)


@pytest.mark.parametrize(("name", "kind"), [("title", "gru"), ("title", "lstm"), ("voice", "conv_gru")])
def test_an_unrolled_network_equals_the_rolled_one_at_any_length(name, kind, tmp_path):
    recipe = five_input_recipe(**{name: kind})
    run = build_run(tmp_path, recipe.without(*(n for n in recipe.inputs if n != name)))
    rng, steps = np.random.default_rng(0), run.tensors[name].shape[0]
    short = np.arange(steps) < np.arange(steps + 1)[:, None]  # lengths 0 to all
    if name == "title":
        tensor = rng.integers(1, 20, short.shape).astype(np.int32) * short
    else:
        tensor = (rng.normal(size=(*short.shape, 16)) * short[..., None]).astype(np.float32)
    other = unrolled_model(run, run.model)
    assert other is not run.model
    for task, wanted in run.model({name: tensor}, training=False).items():
        np.testing.assert_allclose(other({name: tensor}, training=False)[task], wanted, rtol=1e-5, atol=1e-6)


# Untrained, a mean over normalised vectors is so much the same in all rows that its labels say nothing of int8.
TRAINED = ("bottleneck", "self_attention")


# One of each make; the others, of the same layers, are exported by `make test-long` and by benchmarks/exports.py.
MADE = {"central", "self_attention", "decision_evidence"}
SLOW, LONG = pytest.mark.slow, pytest.mark.long


@pytest.mark.parametrize("fusion", [pytest.param(f, marks=SLOW if f in MADE else LONG) for f in sorted(FUSIONS)])
def test_every_fusion_is_exported(fusion, tmp_path):
    """Of tokens of pictures and words and of a vector; to a fusion, sounds and sequences are no others."""
    check_export(five_input_recipe(fusion).without("voice", "features"), tmp_path, litert=("float32",))


@pytest.mark.long
@pytest.mark.parametrize("fusion", sorted(set(FUSIONS) - set(TRAINED)))
def test_every_fusion_is_exported_as_int8(fusion, tmp_path):
    check_export(five_input_recipe(fusion).without("voice", "features"), tmp_path, litert=("int8",))


@pytest.mark.parametrize("fusion", [pytest.param("bottleneck", marks=LONG), pytest.param("self_attention", marks=SLOW)])
def test_int8_of_a_trained_fusion_loses_less_than_a_point(fusion, tmp_path):
    manifest = make_distractor(tmp_path, rows=3000)
    recipe = mm.load_recipe(tmp_path / "recipe.yaml")
    training = recipe.training.model_copy(update={"epochs": 8})
    recipe = recipe.model_copy(update={"fusion": parts.Fusion(fusion, units=32), "training": training})
    data = mm.load(manifest, recipe)
    run = mm.fit(recipe, data, tmp_path / "run", verbose=False)
    bundle = mm.export(run, tmp_path / "served", data.test, int8_max_drop=0.01, verbose=False)
    parity = bundle.parity.set_index(["artefact", "measure"])
    drop = parity.loc[("LiteRT int8", "accuracy drop")]
    assert (drop["rows"], drop["tolerance"]) == (400, 0.01)
    assert float(drop["note"].split(" -> ")[1]) > 0.95
    assert parity.loc[("LiteRT int8", "other labels than float"), "worst"] <= 0.02


@pytest.mark.slow
def test_int8_of_a_loop_reads_texts_longer_than_any_row(tmp_path):
    """Words of one digit calibrate it, a line of four is read: each step of the loop has ranges of its own."""
    from ai_edge_litert.interpreter import Interpreter

    manifest = mm.make_digits(tmp_path, rows=600)
    word = parts.Text(length=12, vocabulary_size=60, encoder={"kind": "gru", "size": "tiny"})
    training = parts.Training(epochs=8, batch_size=32, learning_rate=0.004, seed=7)
    recipe = parts.Recipe(inputs={"word": word}, tasks={"digit": parts.Classification()}, training=training)
    data = mm.load(manifest, recipe)
    run = mm.fit(recipe, data, tmp_path / "run", verbose=False)
    bundle = mm.export(run, tmp_path / "served", data.test, litert=("int8",), int8_max_drop=0.1, verbose=False)
    names, rng = "zero one two three four five six seven eight nine".split(), np.random.default_rng(0)
    tensors, _ = run.encode([{"word": " ".join(rng.choice(names, 4))} for _ in range(60)])
    tensors = np.asarray(tensors["word"])
    assert (tensors > 0).sum(axis=1).mean() > 10
    runner = Interpreter(str(bundle.path / "litert" / "int8.tflite")).get_signature_runner("serving_default")
    found = np.concatenate([runner(word=row[None])["digit"] for row in tensors])
    wanted = np.asarray(run.model({"word": tensors}, training=False)["digit"])
    # Measured: 0.003, and 0.044 without rows of full length; other labels 2 % and 38 %.
    assert np.abs(found - wanted).mean() <= 0.012
    assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() >= 0.85


ROTARY = {"kind": "transformer", "options": {"positions": "rotary"}}
FRAMES = {"kind": "transformer", "options": {"patch_bands": 99, "patch_frames": 3}}
PERIODIC, PIECEWISE = ({"kind": "transformer", "options": {"numbers": n, "bins": 6}} for n in ("periodic", "piecewise"))
ENCODERS = [
    {"title": "gru"},
    {"photo": "vit", "title": "lstm", "voice": "conv_gru", "facts": "transformer"},
    {"photo": "convnext", "title": ROTARY, "voice": "transformer", "facts": PIECEWISE},
    {"photo": {"kind": "vit", "options": {"patch": 5}}, "title": "bytes", "voice": FRAMES, "facts": PERIODIC},
]


def with_bytes(recipe):
    title = parts.Text(tokens="bytes", length=20, encoder={"kind": "transformer", "size": "tiny"})
    return recipe.model_copy(update={"inputs": {**recipe.inputs, "title": title}})


def test_the_schema_says_what_bytes_are(tmp_path):
    run = build_run(tmp_path, with_bytes(five_input_recipe()).without("photo", "voice", "facts", "features"))
    schema = build_schema(run)
    assert schema["inputs"]["title"]["meaning"] == "text in UTF-8; its first 20 bytes"
    assert schema["tensors"]["title"]["meaning"].startswith("each byte of the UTF-8 plus 1, 0 pads")
    assert schema["tensors"]["title"]["preprocessing"]["tokens"] == "bytes"
    assert write_vocabularies(tmp_path, run.preprocessors) == {"title": "vocab.json"}
    assert load_tokenizers(tmp_path)["title"]("é") == [0xC3 + 1, 0xA9 + 1] + [0] * 18
    tensors, _ = run.encode([{"title": "é"}])
    assert tensors["title"][0].tolist() == [0xC3 + 1, 0xA9 + 1] + [0] * 18


@pytest.mark.parametrize(
    "encoders", [pytest.param(e, id=str(i), marks=(SLOW if i == 2 else LONG)) for i, e in enumerate(ENCODERS)]
)
def test_encoders_are_exported(encoders, tmp_path):
    recipe = five_input_recipe("concat", **{n: None if e == "bytes" else e for n, e in encoders.items()})
    check_export(with_bytes(recipe) if encoders["title"] == "bytes" else recipe, tmp_path)


@LONG
@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
def test_a_model_in_mixed_precision_is_served_in_float32(precision, tmp_path):
    before = keras.config.dtype_policy()
    recipe = five_input_recipe("gated")
    training = recipe.training.model_copy(update={"precision": precision})
    keras.config.set_dtype_policy(precision)
    try:
        bundle = check_export(recipe.model_copy(update={"training": training}), tmp_path)
        assert keras.config.dtype_policy().name == precision
    finally:
        keras.config.set_dtype_policy(before)
    assert f"float32 of {precision}" in set(bundle.parity["artefact"])


def check_export(recipe, folder, litert=("float32", "int8")):
    """Exports random weights without labels.

    int8 may give other labels than float in three rows of ten: untrained, the classes lie close together, and how many
    rows cross a border depends on the machine. A broken conversion gives other labels in two of three.
    """
    run = build_run(folder / "run", recipe)
    fields = {f for p in run.preprocessors.values() for f in p.raw_specs}
    examples = [{f: v for f, v in e.items() if f in fields} for e in five_input_examples(60, seed=3)]
    rows = ListRows(examples, {"category": [""] * 60, "rating": [np.nan] * 60})
    bundle = mm.export(run, folder / "served", rows, litert=litert, int8_max_drop=0.3, verbose=False)
    assert bundle.parity["passed"].all()
    return bundle

"""What a phone gets: every kind of LiteRT file, the signature that takes pixels and samples, and code to call it."""

import json
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import tensorflow as tf
from conftest import build_run, five_input_examples, five_input_recipe, moving_examples, png_bytes
from served_rows import ListRows

import mm_keras as mm
from mm_keras.errors import ExportError
from mm_keras.exporting.child import Child
from mm_keras.exporting.litert.conversion import KINDS
from mm_keras.exporting.litert.device import device_rows, device_specs, from_device, wav_file
from mm_keras.exporting.litert.flatbuffer import litert_ops
from mm_keras.preprocessing.raw import raw_batch


def unlabelled(examples):
    return ListRows(examples, {"category": [""] * len(examples), "rating": [np.nan] * len(examples)})


@pytest.fixture(scope="module")
def phone_run(tmp_path_factory):
    """Picture, text, sound and table; no loops, so that it converts in seconds."""
    return build_run(tmp_path_factory.mktemp("run"), five_input_recipe("concat").without("features"))


def phone_examples(count, seed):
    return [{f: v for f, v in e.items() if f != "features"} for e in five_input_examples(count, seed)]


@pytest.fixture(scope="module")
def bundle(phone_run, tmp_path_factory):
    out = tmp_path_factory.mktemp("served") / "phone"
    rows = unlabelled(phone_examples(24, seed=3))
    return mm.export(phone_run, out, rows, litert=("float32", "int8_io"), int8_max_drop=0.3, verbose=False)


def run_on_device(folder, kind, signature, values):
    """Runs a file row by row in a process that has only NumPy and LiteRT, as a stand-in for the phone."""
    np.savez(folder / "values.npz", **values)
    code = (
        "import sys, numpy as np\n"
        "from ai_edge_litert.interpreter import Interpreter\n"
        "from mm_keras.exporting.litert.check import block_tensorflow, run_rows\n"
        "block_tensorflow()\n"
        f"runner = Interpreter({str(folder / kind)!r} + '.tflite').get_signature_runner({signature!r})\n"
        f"values = dict(np.load({str(folder / 'values.npz')!r}))\n"
        f"np.savez({str(folder / 'results.npz')!r}, **run_rows(runner, values))\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    return dict(np.load(folder / "results.npz"))


def phone_values(run, count, seed):
    """What camera, microphone and app give, made here by hand; and the same as files, for the server."""
    rng = np.random.default_rng(seed)
    words = [e["title"] for e in phone_examples(count, seed)]
    pixels = rng.integers(1, 256, (count, 16, 16, 3), dtype=np.uint8)
    samples = (0.3 * rng.standard_normal((count, 4000))).astype(np.float32)
    price, colours = rng.normal(100, 20, count).astype(np.float32), ["red", "no colour", "", "green"]
    known = run.preprocessors["facts"].state["categories"]["colour"]
    pixels[1], samples[2], price[3] = 0, 0, np.nan  # missing
    colour = [colours[i % 4] for i in range(count)]
    ids = [-1 if not c else known.index(c) + 1 if c in known else 0 for c in colour]
    device = {
        "photo": pixels, "voice": samples, "price": price, "weight": rng.normal(1, 0.1, count).astype(np.float32),
        "colour": np.array(ids, np.int32),
    }  # fmt: skip
    raw = {
        "photo": np.array([png_bytes(p) if p.any() else b"" for p in pixels], object),
        "voice": np.array([wav_file(s, 8000) for s in samples], object),
        "title": np.array([w.encode() for w in words], object),
        "price": price, "weight": device["weight"], "colour": np.array([c.encode() for c in colour], object),
    }  # fmt: skip
    return device, words, raw


@pytest.mark.slow
def test_the_phone_answers_as_the_server_does(phone_run, bundle, tmp_path):
    """Pixels, samples and ids of the shipped tokenizer, against files through the C++ loader."""
    device, words, raw = phone_values(phone_run, 6, seed=8)
    job = {"path": str(bundle.path), "requests": [("serving_default", raw)]}
    with Child("loader", "mm_keras.exporting.served.check", job, tmp_path) as child:
        (served,) = child.wait()["results"]
    assert list(served["error"]) == [b""] * 6
    sys.path.insert(0, str(bundle.path / "litert"))
    try:
        import tokenizer
    finally:
        sys.path.pop(0)
    tokenize = tokenizer.load_tokenizers(bundle.path / "litert")["title"]
    device["title"] = np.array([tokenize(w) for w in words], np.int32)
    for file in ("float32.tflite", "int8_io.tflite"):
        shutil.copy(bundle.path / "litert" / file, tmp_path)
    found = run_on_device(tmp_path, "float32", "device", device)
    coarse = run_on_device(tmp_path, "int8_io", "device", device)
    for name in ("category", "rating"):
        np.testing.assert_allclose(found[name], served[name], rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(coarse[name], served[name], atol=0.15 * np.abs(served[name]).max())
    # The fields arrive: one changed alone changes the answer.
    for name in ("photo", "colour"):
        other = {**device, name: device[name][::-1].copy()}
        moved = run_on_device(tmp_path, "float32", "device", other)["rating"] - found["rating"]
        assert np.abs(moved).max() > 1e-4, name


@pytest.mark.slow
def test_the_schema_tells_an_app_what_to_pass(bundle):
    schema = json.loads((bundle.path / "schema.json").read_text())
    device = schema["device"]
    assert device["photo"]["shape"] == [1, 16, 16, 3]
    assert (device["photo"]["dtype"], device["photo"]["range"], device["photo"]["blank"]) == ("uint8", [0, 255], 0)
    assert device["voice"] | {"meaning": ""} == {
        "input": "voice", "dtype": "float32", "shape": [1, 4000], "range": [-1.0, 1.0], "blank": 0, "meaning": "",
    }  # fmt: skip
    assert (device["price"]["shape"], device["price"]["blank"]) == ([1], "NaN")
    assert (device["colour"]["dtype"], device["colour"]["blank"], device["colour"]["range"][0]) == ("int32", -1, -1)
    for kind in ("float32", "int8_io"):
        inputs = schema["litert"][kind]["device"]["inputs"]
        assert inputs == {f: {k: d[k] for k in ("dtype", "shape")} for f, d in device.items()}
    integers = schema["litert"]["int8_io"]
    assert integers["inputs"]["photo"]["dtype"] == integers["outputs"]["category"]["dtype"] == "int8"
    assert integers["inputs"]["photo"]["scale"] == pytest.approx(1 / 255, rel=0.2)
    assert integers["inputs"]["title"]["dtype"] == "int32"


@pytest.mark.slow
def test_the_examples_name_the_inputs_and_never_count_them(bundle):
    schema = json.loads((bundle.path / "schema.json").read_text())
    for file in ("Example.kt", "Example.swift"):
        text = (bundle.path / "litert" / file).read_text()
        for name in (*schema["device"], "category", "rating"):
            assert f'"{name}"' in text, name
        assert '"device"' in text
        assert "float32.tflite" in text
        assert not re.search(r"getInputTensor|runForMultiple|toInputAt|output\(at:|\{\{|%\}", text)
        assert text.count("{") == text.count("}")
        assert text.count("(") == text.count(")")


@pytest.mark.slow
def test_a_file_is_joined_without_a_second_copy_of_the_weights(bundle):
    for kind in ("float32", "int8_io"):
        blob = (bundle.path / "litert" / f"{kind}.tflite").read_bytes()
        assert not any(op.startswith("CUSTOM") for op in litert_ops(blob))
        assert "RFFT2D" in litert_ops(blob)
    assert "QUANTIZE" in litert_ops(blob)
    weights = 371_000
    size = (bundle.path / "litert" / "float32.tflite").stat().st_size
    assert size < 1.4 * weights


@pytest.mark.slow
def test_two_conversions_give_the_same_bytes(phone_run, bundle, tmp_path):
    rows = unlabelled(phone_examples(24, seed=3))
    again = mm.export(phone_run, tmp_path / "again", rows, litert="float32", verbose=False)
    for name in ("float32.tflite", "vocab.json", "Example.kt"):
        assert (again.path / "litert" / name).read_bytes() == (bundle.path / "litert" / name).read_bytes()


@pytest.mark.slow
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_what_a_device_gives_makes_the_tensors_of_the_server(channels, tmp_path, moving_run):
    """Of every layout, in TensorFlow; the files are compared by the export itself."""
    recipe = five_input_recipe()
    photo = recipe.inputs["photo"].model_copy(update={"channels": channels})
    runs = [build_run(tmp_path / "run", recipe.model_copy(update={"inputs": {**recipe.inputs, "photo": photo}}))]
    examples = [five_input_examples(6, seed=2)]
    if channels == 3:
        runs, examples = [*runs, moving_run], [*examples, moving_examples(8, seed=2)]
    for run, rows in zip(runs, examples, strict=True):
        for row in rows:  # one field after the other is missing
            row[list(row)[rows.index(row) % len(row)]] = None
        values, wanted = device_rows(run, raw_batch(run.preprocessors, rows))
        specs = device_specs(run.preprocessors)
        assert {f: (v.shape[1:], v.dtype) for f, v in values.items()} == {
            f: (tuple(s.shape[1:]), s.dtype.as_numpy_dtype) for f, s in specs.items()
        }
        found = from_device(run.preprocessors, {f: tf.constant(v) for f, v in values.items()})
        assert found.keys() == wanted.keys()
        for name, tensor in wanted.items():
            np.testing.assert_allclose(found[name], tensor, atol=2e-5, err_msg=name)
            assert np.any(tensor), name


@pytest.mark.slow
def test_every_kind_is_exported_of_inputs_that_move(moving_run, tmp_path):
    """Full int8 of empty views, films and sequences divided by zero when no calibration row lacked them."""
    rows = unlabelled(moving_examples(24))
    bundle = mm.export(moving_run, tmp_path / "moving", rows, litert=KINDS, int8_max_drop=0.3, verbose=False)
    assert bundle.parity["passed"].all()
    assert {f"LiteRT {k}" for k in KINDS} <= set(bundle.parity["artefact"])
    assert len(list((bundle.path / "litert").glob("*.tflite"))) == 5


def test_an_onnx_file_needs_its_extra(phone_run, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "tf2onnx", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ExportError, match=r"pip install mm_keras\[onnx\]"):
        mm.export(phone_run, tmp_path / "out", unlabelled(phone_examples(4, 0)), litert=(), onnx=True, verbose=False)
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_onnx_equals_the_model(tmp_path):
    """Loops, attention and GELU; any number of rows, by names, in onnxruntime."""
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("tf2onnx")
    recipe = five_input_recipe("self_attention", title="gru", photo="vit", voice="transformer")
    run = build_run(tmp_path / "run", recipe)
    rows = unlabelled(five_input_examples(20, seed=3))
    bundle = mm.export(run, tmp_path / "out", rows, litert=(), onnx=True, verbose=False)
    checks = bundle.parity[bundle.parity["artefact"] == "ONNX"]
    assert set(checks["subsets"]) == {31}
    assert (checks["worst"] < 1e-5).all()
    schema = json.loads((bundle.path / "schema.json").read_text())["onnx"]
    session = onnxruntime.InferenceSession(str(bundle.path / schema["file"]))
    tensors, _ = run.encode(rows.examples[:3])
    names = [o.name for o in session.get_outputs()]
    found = dict(zip(names, session.run(names, {n: np.asarray(t) for n, t in tensors.items()}), strict=True))
    for name, wanted in run.model(tensors, training=False).items():
        np.testing.assert_allclose(found[name], wanted, rtol=1e-4, atol=1e-5)
    assert set(mm.verify(bundle.path)["artefact"]) == {"SavedModel", "ONNX"}


@pytest.mark.slow
def test_an_op_that_onnx_lacks_is_refused_by_name(tmp_path):
    pytest.importorskip("tf2onnx")
    module = tf.Module()
    spec = tf.TensorSpec([None, 3], tf.float32, name="x")
    function = tf.function(lambda x: {"y": tf.math.bessel_i0e(x)}, autograph=False).get_concrete_function(x=spec)
    tf.saved_model.save(module, str(tmp_path / "odd"), signatures={"serving_default": function})
    job = {"saved_model": str(tmp_path / "odd"), "file": str(tmp_path / "odd.onnx")}
    with Child("the ONNX converter", "mm_keras.exporting.onnx.convert", job, tmp_path) as child:
        with pytest.raises(ExportError, match=r"ONNX has no op for these of the model: \['BesselI0e'\]"):
            child.wait()


@pytest.mark.slow
def test_an_op_that_litert_lacks_is_refused_by_name(tmp_path):
    spec = tf.TensorSpec([1, 3], tf.float32, name="x")
    for name, function in (("odd", lambda x: {"y": tf.math.bessel_i0e(x)}), ("front", lambda x: {"x": x})):
        traced = tf.function(function, autograph=False).get_concrete_function(x=spec)
        tf.saved_model.save(tf.Module(), str(tmp_path / name), signatures={"serving_default": traced})
    job = {
        "saved_model": str(tmp_path / "odd"), "front": str(tmp_path / "front"), "kind": "float16",
        "file": str(tmp_path / "odd.tflite"), "calibration": {},
    }  # fmt: skip
    with Child("the converter", "mm_keras.exporting.litert.convert", job, tmp_path) as child:
        with pytest.raises(ExportError, match=r"no op for these of the float16 model: \['tf.BesselI0e'\]"):
            child.wait()

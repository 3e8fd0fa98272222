"""The signature `explain`: a served model that says why, with the numbers that `explain` gives."""

import json

import numpy as np
import pytest
import tensorflow as tf
from conftest import five_input_examples
from served_rows import ListRows

import mm_keras as mm
from mm_keras.explanation.subjects import run_engine
from mm_keras.exporting.sample import encode_raw
from mm_keras.exporting.served.explained import explained_outputs, reference_maps
from mm_keras.exporting.server.predictor import Predictor
from mm_keras.preprocessing.raw import raw_batch


@pytest.fixture(scope="module")
def raw(five_input_run):
    examples = [*five_input_examples(4, seed=31), {"title": "red"}]
    return raw_batch(five_input_run.preprocessors, examples)


@pytest.mark.slow
def test_the_graph_gives_what_the_methods_give(five_input_run, raw):
    tensors, _ = encode_raw(five_input_run, raw)
    engine = run_engine(five_input_run, five_input_run.model)
    served = tf.function(lambda given: explained_outputs(five_input_run, engine, given)[1], autograph=False)(tensors)
    for name, wanted in reference_maps(five_input_run, engine, tensors).items():
        scale = np.abs(wanted).max()
        np.testing.assert_allclose(served[name], wanted, atol=1e-5 * scale, err_msg=name)
    examples = five_input_examples(4, seed=31)
    one = mm.explain(five_input_run, examples[1], method="gradient_x_input")
    for name in ("photo", "facts", "features"):
        np.testing.assert_allclose(served[f"category_{name}_map"][1], one.maps[name], rtol=1e-3, atol=1e-6)
    words = [w.decode() for w in served["title_tokens"][1].numpy() if w]
    assert words == list(one.names["title"])
    np.testing.assert_allclose(served["category_title_map"][1][: len(words)], one.maps["title"], rtol=1e-3, atol=1e-6)
    cam = mm.explain(five_input_run, examples[1], method="gradcam").maps["photo"]
    place = np.unravel_index(served["category_photo_cam"][1].numpy().argmax(), served["category_photo_cam"].shape[1:])
    ratio = cam.shape[0] / served["category_photo_cam"].shape[1]
    assert np.abs(np.array(np.unravel_index(cam.argmax(), cam.shape)) / ratio - place).max() <= 1
    missing = [k for k in served if k.endswith("_map") and "title" not in k]
    assert all(not np.any(served[k][4]) for k in missing)  # the last row has a title alone


@pytest.mark.slow
def test_it_is_served_and_proven(five_input_run, raw, tmp_path):
    rows = ListRows(five_input_examples(40, seed=5), {"category": ["a"] * 40, "rating": [1.0] * 40})
    first = mm.export(five_input_run, tmp_path / "one", rows, litert=(), explain=True, verbose=False)
    checks = json.loads((first.path / "parity.json").read_text())["checks"]
    apart = [c for c in checks if (c["signature"], c["measure"]) == ("explain", "difference")]
    assert len(apart) == 6 * 20  # all inputs and each alone; two tasks, five inputs, map and score
    assert max(c["value"] for c in apart) < 1e-4
    schema = json.loads((first.path / "schema.json").read_text())
    predictor = Predictor(first.path)
    clean = predictor.predict("explain", raw)
    assert set(clean) == {n for n, o in schema["outputs"].items() if "explain" in o["signatures"]}
    for name, values in clean.items():
        assert len(values.shape) == len(schema["outputs"][name]["shape"]), name
    plain = predictor.predict("serving_default", raw)
    for name in plain:
        if plain[name].dtype != object:
            np.testing.assert_allclose(clean[name], plain[name], rtol=1e-5, atol=1e-6)
    bad = dict(raw) | {"photo": raw["photo"].copy()}
    bad["photo"][2] = b"\x89PNG broken"
    told = predictor.predict("explain", bad)
    assert told["error"][2].startswith(b"photo: ")
    assert not told["category_photo_map"][2].any()
    for name, values in told.items():
        np.testing.assert_array_equal(np.delete(values, 2, 0), np.delete(clean[name], 2, 0), err_msg=name)
    predictor.close()
    proven = mm.verify(first.path).set_index(["signature", "measure"]).loc[("explain", "difference")]
    assert set(proven["subsets"]) == {6}
    assert set(proven["output"]) == {c["output"] for c in apart}


@pytest.mark.long
def test_saving_again_gives_the_same_graph(five_input_run, tmp_path):
    rows = ListRows(five_input_examples(40, seed=5), {"category": ["a"] * 40, "rating": [1.0] * 40})
    one, other = (
        mm.export(five_input_run, tmp_path / "one", rows, litert=(), explain=True, verbose=False) for _ in range(2)
    )
    assert (one.path / "saved_model.pb").read_bytes() == (other.path / "saved_model.pb").read_bytes()

import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import five_input_examples
from served_rows import ListRows

import mm_keras as mm
from mm_keras.errors import ExportError
from mm_keras.exporting.child import Child
from mm_keras.exporting.saved_model import save_saved_model
from mm_keras.preprocessing.raw import raw_batch


@pytest.fixture(scope="module")
def rows(five_input_run):
    """Rows labelled by the model itself, but for one in ten: an untrained model has no accuracy of its own."""
    examples = five_input_examples(100, seed=5)
    tensors, _ = five_input_run.encode(examples)
    outputs = {n: v.numpy() for n, v in five_input_run.model(tensors, training=False).items()}
    labels = list(five_input_run.tasks["category"].decode(outputs["category"])["category"])
    labels[::10] = [""] * 10
    return ListRows(examples, {"category": labels, "rating": [float(v) + 1 for v in outputs["rating"][:, 0]]})


@pytest.fixture(scope="module")
def bundle(five_input_run, rows, tmp_path_factory):
    # The labels are the untrained model's own, so every row that int8 moves across a border costs accuracy.
    return mm.export(
        five_input_run, tmp_path_factory.mktemp("served") / "pets", rows, int8_max_drop=0.05, verbose=False
    )


@pytest.fixture(scope="module")
def parity(bundle):
    return json.loads((bundle.path / "parity.json").read_text())


def test_the_version_folder_is_complete(bundle):
    files = {str(f.relative_to(bundle.path)) for f in bundle.path.rglob("*") if f.is_file()}
    assert files >= {
        "saved_model.pb", "variables/variables.index", "litert/float32.tflite", "litert/int8.tflite",
        "litert/vocab.json", "litert/characters.tsv",
        "litert/tokenizer.py", "litert/WordPiece.java", "parity.json", "schema.json", "recipe.yaml",
    }  # fmt: skip
    assert bundle.path.name == "1"
    assert bundle.version == 1
    assert [p.name for p in bundle.path.parent.iterdir()] == ["1"]
    assert [p.name for p in bundle.path.parent.parent.iterdir()] == ["pets"]
    assert bundle.path.stat().st_mode & 0o055 == 0o055  # a server under another account reads it


def test_every_subset_is_compared_in_every_artefact(parity):
    checks = pd.DataFrame(parity["checks"])
    apart = checks[checks["measure"] == "difference"]
    for artefact, signature, tolerance in [
        ("SavedModel", "tensors", 1e-5),
        ("SavedModel", "serving_default", 1e-5),
        ("LiteRT float32", "serving_default", 1e-4),
    ]:
        for output in ("category", "rating"):
            is_own = (apart[["artefact", "signature", "output"]] == [artefact, signature, output]).all(axis=1)
            own = apart[is_own]
            assert len(own) == len({tuple(s) for s in own["subset"]}) == 31
            assert (own["value"] <= tolerance).all()
            assert (own["tolerance"] == tolerance).all()
    assert checks["passed"].all()
    assert parity["passed"]


def test_int8_is_judged_on_labelled_rows_only(parity):
    (accuracy,) = [c for c in parity["checks"] if c["measure"] == "accuracy drop"]
    assert accuracy["rows"] == 90
    assert accuracy["note"].startswith("1.0000 -> ")
    (growth,) = [c for c in parity["checks"] if c["measure"] == "rmse growth"]
    assert growth["rows"] == 100


def test_the_bundle_shows_its_proof(bundle):
    text = repr(bundle)
    assert "litert/int8.tflite" in text
    assert "accuracy drop" in text
    assert "LiteRT float32" in text
    assert set(bundle.parity["artefact"]) == {"SavedModel", "LiteRT float32", "LiteRT int8"}
    assert bundle.parity["passed"].all()


def test_the_checkpoint_holds_the_weights_once(bundle, five_input_run):
    weights = sum(w.numpy().nbytes for w in five_input_run.model.weights)
    stored = sum(f.stat().st_size for f in (bundle.path / "variables").iterdir())
    assert weights < stored < 1.15 * weights


def test_the_schema_names_what_is_served(bundle, five_input_run):
    schema = json.loads((bundle.path / "schema.json").read_text())
    assert list(schema["inputs"]) == ["photo", "title", "voice", "price", "weight", "colour", "features"]
    assert schema["inputs"]["features"]["shape"] == [None, 6]
    assert schema["inputs"]["price"]["blank"] == "NaN"
    assert set(schema["outputs"]) == {"category", "category_label", "category_classes", "rating", "error"}
    assert schema["litert"]["int8"]["inputs"]["photo"] == {"shape": [1, 16, 16, 3], "dtype": "float32"}
    assert schema["litert"]["float32"]["outputs"]["category"] == {"shape": [1, 3], "dtype": "float32"}
    words = json.loads((bundle.path / "litert" / schema["vocabularies"]["title"]).read_text())["title"]
    assert words["vocabulary"] == five_input_run.preprocessors["title"].state["vocabulary"]
    assert schema["classes"] == {"category": ["a", "b", "c"]}
    assert mm.load_recipe(bundle.path / "recipe.yaml") == five_input_run.recipe


def test_a_bundle_is_inspected_without_tensorflow(bundle):
    code = (
        "import json, sys; from mm_keras.exporting.inspection import inspect_bundle\n"
        f"found = inspect_bundle({str(bundle.path.parent)!r})\n"
        "print(json.dumps([found, sorted({'tensorflow', 'keras'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, loaded = json.loads(done.stdout)
    assert loaded == []
    assert found["version"] == 1
    assert found["versions"] == [1]
    assert list(found["signatures"]) == ["serving_default", "tensors"]
    assert "error" not in found["signatures"]["tensors"]["outputs"]
    assert found["files"]["litert/int8.tflite"] == found["litert"]["int8"]["bytes"]
    assert "CONV_2D" in found["litert"]["float32"]["ops"]
    assert "ParseTensor" not in found["saved_model_ops"]
    assert "DecodePng" in found["saved_model_ops"]
    assert found["parity"]["passed"]
    assert len(found["parity"]["worst"]) == len(bundle.parity)


def bad_requests(clean):
    """`{(input, what): (raw batch with a bad row 1, is it an error)}`."""
    photo, voice = clean["photo"][1], clean["voice"][1]
    scratched = photo[:60] + bytes(255 - b for b in photo[60:90]) + photo[90:]
    values = {
        ("photo", "cut"): ("photo", photo[: len(photo) // 2], True),
        ("photo", "corrupt"): ("photo", scratched, True),
        ("photo", "a sound"): ("photo", voice, True),
        ("photo", "empty"): ("photo", b"", False),
        ("voice", "cut"): ("voice", voice[: len(voice) // 2], True),
        ("voice", "corrupt"): ("voice", b"RIFF" + bytes(200), True),
        ("voice", "a picture"): ("voice", photo, True),
        ("voice", "empty"): ("voice", b"", False),
        ("title", "not UTF-8"): ("title", b"\xff\xfe red", False),
        ("title", "empty"): ("title", b"", False),
        ("facts", "infinite"): ("price", np.float32(np.inf), True),
        ("facts", "missing cell"): ("price", np.float32(np.nan), False),
        ("features", "some missing"): ("features", np.float32([np.nan, 1, 2, 3, 4, 5]), True),
        ("features", "all missing"): ("features", np.full(6, np.nan, np.float32), False),
    }
    requests = {}
    for key, (field, value, is_error) in values.items():
        changed = clean[field].copy()
        changed[1] = value
        requests[key] = ({**clean, field: changed}, is_error)
    return requests


@pytest.fixture(scope="module")
def served(bundle, five_input_run, tmp_path_factory):
    """Answers of the exported model through the C++ loader: clean, with each bad value, with bad values only."""
    examples = five_input_examples(3, seed=9)
    clean = raw_batch(five_input_run.preprocessors, examples)
    bad = bad_requests(clean)
    everything = {
        "photo": np.array([b"no", b"", b"\x89PNG"], object), "title": np.array([b"", b"\xff", b"red"], object),
        "voice": np.array([b"RIFF", b"x", b"y"], object), "price": np.full(3, np.inf, np.float32),
        "weight": np.full(3, np.inf, np.float32), "colour": np.array([b"", b"\xff", b"none"], object),
        "features": np.full((3, 6), np.inf, np.float32),
    }  # fmt: skip
    tensors, _ = five_input_run.encode(examples)
    requests = [("serving_default", clean), ("tensors", tensors), ("serving_default", everything)]
    requests += [("serving_default", raw) for raw, _ in bad.values()]
    job = {"path": str(bundle.path), "requests": requests}
    with Child("loader", "mm_keras.exporting.check_saved_model", job, tmp_path_factory.mktemp("cpp")) as child:
        results = child.wait()["results"]
    return results[0], results[1], results[2], {k: (r, bad[k][1]) for k, r in zip(bad, results[3:], strict=True)}


def test_both_signatures_answer_as_the_keras_model_in_cpp(served, five_input_run):
    raw, tensors, _, _ = served
    reference = five_input_run.model(five_input_run.encode(five_input_examples(3, seed=9))[0], training=False)
    labels = np.array([b"a", b"b", b"c"], object)
    for outputs in (raw, tensors):
        for name in ("category", "rating"):
            np.testing.assert_allclose(outputs[name], reference[name], rtol=1e-5, atol=1e-6)
        assert list(outputs["category_label"]) == list(labels[reference["category"].numpy().argmax(-1)])
        assert (outputs["category_classes"] == labels).all()
        assert outputs["category_classes"].shape == (3, 3)
    assert list(raw["error"]) == [b"", b"", b""]
    assert "error" not in tensors


def test_a_bad_value_is_named_and_its_neighbours_do_not_move(served):
    clean, _, _, bad = served
    for (name, what), (outputs, is_error) in bad.items():
        expected = [b"", f"{name}: undecodable; ".encode() if is_error else b"", b""]
        assert list(outputs["error"]) == expected, (name, what)
        for key in ("category", "rating", "category_label"):
            np.testing.assert_array_equal(outputs[key][[0, 2]], clean[key][[0, 2]], err_msg=f"{name} {what} {key}")
        assert np.isfinite(outputs["category"]).all()
    for name, empty, broken in [("photo", "empty", "cut"), ("voice", "empty", "a picture")]:
        np.testing.assert_array_equal(bad[name, empty][0]["category"], bad[name, broken][0]["category"])


def test_a_batch_of_bad_rows_still_answers(served):
    outputs = served[2]
    assert np.isfinite(outputs["category"]).all()
    assert np.isfinite(outputs["rating"]).all()
    assert outputs["error"][0].decode() == (
        "photo: undecodable; voice: undecodable; facts: undecodable; features: undecodable; "
    )
    assert outputs["error"][1].decode() == "voice: undecodable; facts: undecodable; features: undecodable; "


def test_a_bundle_that_holds_the_model_fails_in_cpp(five_input_run, tmp_path, monkeypatch):
    """The negative control: loaded in Python such a bundle runs, so only the C++ loader tells."""

    class Attached(tf.Module):
        def __setattr__(self, name, value):
            super().__setattr__(name, five_input_run.model if name == "weights" else value)

    monkeypatch.setattr(tf, "Module", Attached)
    save_saved_model(tmp_path / "attached", five_input_run, five_input_run.model)
    tensors, _ = five_input_run.encode(five_input_examples(1))
    job = {"path": str(tmp_path / "attached"), "requests": [("tensors", tensors)]}
    with Child("the loader", "mm_keras.exporting.check_saved_model", job, tmp_path) as child:
        with pytest.raises(ExportError, match=r"running the signature 'tensors'[\s\S]*Could not find variable"):
            child.wait()

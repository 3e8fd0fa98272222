import json
import subprocess
import sys

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import five_input_examples

import mm_keras as mm
from mm_keras.errors import ExportError
from mm_keras.exporting.child import Child
from mm_keras.exporting.served.saved_model import save_saved_model
from mm_keras.preprocessing.raw import raw_batch


@pytest.fixture(scope="module")
def parity(five_input_bundle):
    return json.loads((five_input_bundle.path / "parity.json").read_text())


def test_the_version_folder_is_complete(five_input_bundle):
    files = {str(f.relative_to(five_input_bundle.path)) for f in five_input_bundle.path.rglob("*") if f.is_file()}
    assert files >= {
        "saved_model.pb", "variables/variables.index", "litert/float32.tflite", "litert/int8.tflite",
        "litert/vocab.json", "litert/characters.tsv", "litert/tokenizer.py", "litert/WordPiece.java",
        "parity.json", "schema.json", "recipe.yaml", "model_card.md", "provenance.json",
        "checksums.json", "kept.npz", "litert/kept.npz", "requests/serving_default.json",
        "assets.extra/tf_serving_warmup_requests",
    }  # fmt: skip
    assert five_input_bundle.path.name == "1"
    assert five_input_bundle.version == 1
    assert sorted(p.name for p in five_input_bundle.path.parent.iterdir()) == ["1", "serving"]
    assert [p.name for p in five_input_bundle.path.parent.parent.iterdir()] == ["pets"]
    assert five_input_bundle.path.stat().st_mode & 0o055 == 0o055  # a server under another account reads it


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


def test_the_bundle_shows_its_proof(five_input_bundle):
    text = repr(five_input_bundle)
    assert "litert/int8.tflite" in text
    assert "accuracy drop" in text
    assert "LiteRT float32" in text
    assert set(five_input_bundle.parity["artefact"]) == {"SavedModel", "LiteRT float32", "LiteRT int8"}
    assert five_input_bundle.parity["passed"].all()


def test_the_checkpoint_holds_the_weights_once(five_input_bundle, five_input_run):
    weights = sum(w.numpy().nbytes for w in five_input_run.model.weights)
    stored = sum(f.stat().st_size for f in (five_input_bundle.path / "variables").iterdir())
    assert weights < stored < 1.15 * weights


def test_the_schema_names_what_is_served(five_input_bundle, five_input_run):
    schema = json.loads((five_input_bundle.path / "schema.json").read_text())
    assert list(schema["inputs"]) == ["photo", "title", "voice", "price", "weight", "colour", "features"]
    assert schema["inputs"]["features"]["shape"] == [None, 6]
    assert schema["inputs"]["price"]["blank"] == "NaN"
    used = {f"{name}_used" for name in five_input_run.recipe.inputs}
    labels = {"category", "category_label", "category_classes"}
    assert set(schema["outputs"]) == {*labels, "rating", "error", "embedding", *used}
    assert schema["outputs"]["embedding"]["shape"] == [None, 16]
    assert schema["inputs"]["photo"]["limits"] == {"bytes": 2**26, "pixels": 2**26}
    assert schema["inputs"]["price"]["limits"] == {}
    kinds = {f: i["value"] for f, i in schema["inputs"].items()}
    assert (kinds["photo"], kinds["title"], kinds["price"], kinds["features"]) == ("file", "text", "number", "numbers")
    assert schema["litert"]["int8"]["inputs"]["photo"] == {"shape": [1, 16, 16, 3], "dtype": "float32"}
    assert schema["litert"]["float32"]["outputs"]["category"] == {"shape": [1, 3], "dtype": "float32"}
    words = json.loads((five_input_bundle.path / "litert" / schema["vocabularies"]["title"]).read_text())["title"]
    assert words["vocabulary"] == five_input_run.preprocessors["title"].state["vocabulary"]
    assert schema["classes"] == {"category": ["a", "b", "c"]}
    assert mm.load_recipe(five_input_bundle.path / "recipe.yaml") == five_input_run.recipe


def test_a_bundle_is_inspected_without_tensorflow(five_input_bundle):
    code = (
        "import json, sys; from mm_keras.exporting.inspection import inspect\n"
        f"found = inspect({str(five_input_bundle.path.parent)!r})\n"
        "print(json.dumps([found, sorted({'tensorflow', 'keras'} & set(sys.modules))]))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found, loaded = json.loads(done.stdout)
    assert loaded == []
    assert found["version"] == 1
    assert found["versions"] == [1]
    assert list(found["signatures"]) == ["serving_default", "tensors", "embedding"]
    assert "error" not in found["signatures"]["tensors"]["outputs"]
    assert list(found["signatures"]["embedding"]["outputs"])[:2] == ["error", "embedding"]
    assert found["provenance"]["versions"]["mm_keras"]
    assert found["files"]["litert/int8.tflite"] == found["litert"]["int8"]["bytes"]
    assert "CONV_2D" in found["litert"]["float32"]["ops"]
    assert "ParseTensor" not in found["saved_model_ops"]
    assert "DecodePng" in found["saved_model_ops"]
    assert found["parity"]["passed"]
    assert len(found["parity"]["worst"]) == len(five_input_bundle.parity)


CODING = "cut, corrupt or of another coding than PCM of 8 to 32 bits or float of 32"
PICTURE = "cut, corrupt or over 67108864 pixels"


def bad_requests(clean):
    """`{(input, what): (raw batch with a bad row 1, why it is bad)}`."""
    photo, voice = clean["photo"][1], clean["voice"][1]
    scratched = photo[:60] + bytes(255 - b for b in photo[60:90]) + photo[90:]
    values = {
        ("photo", "cut"): ("photo", photo[: len(photo) // 2], PICTURE),
        ("photo", "corrupt"): ("photo", scratched, PICTURE),
        ("photo", "a sound"): ("photo", voice, "not a JPEG, PNG, GIF or BMP"),
        ("photo", "empty"): ("photo", b"", ""),
        ("voice", "cut"): ("voice", voice[: len(voice) // 2], CODING),
        ("voice", "corrupt"): ("voice", b"RIFF" + bytes(200), "not a WAV file"),
        ("voice", "a picture"): ("voice", photo, "not a WAV file"),
        ("voice", "empty"): ("voice", b"", ""),
        ("title", "not UTF-8"): ("title", b"\xff\xfe red", ""),
        ("title", "empty"): ("title", b"", ""),
        ("title", "too long"): ("title", b"red " * 2**18 + b"x", "over 1048576 bytes"),
        ("facts", "infinite"): ("price", np.float32(np.inf), "a number is infinite, or too large"),
        ("facts", "missing cell"): ("price", np.float32(np.nan), ""),
        ("features", "some missing"): (
            "features",
            np.float32([np.nan, 1, 2, 3, 4, 5]),
            "some of its numbers are NaN, infinite or too large",
        ),
        ("features", "all missing"): ("features", np.full(6, np.nan, np.float32), ""),
    }
    requests = {}
    for key, (field, value, why) in values.items():
        changed = clean[field].copy()
        changed[1] = value
        requests[key] = ({**clean, field: changed}, why)
    return requests


@pytest.fixture(scope="module")
def served(five_input_bundle, five_input_run, tmp_path_factory):
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
    job = {"path": str(five_input_bundle.path), "requests": requests}
    with Child("loader", "mm_keras.exporting.served.check", job, tmp_path_factory.mktemp("cpp")) as child:
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
    for (name, what), (outputs, why) in bad.items():
        expected = [b"", f"{name}: {why}; ".encode() if why else b"", b""]
        blank = why or what in ("empty", "all missing")
        assert outputs[f"{name}_used"].tolist() == [True, not blank, True], (name, what)
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
    named = [[part.split(":")[0] for part in text.decode().split("; ")[:-1]] for text in outputs["error"]]
    assert named == [["photo", "voice", "facts", "features"], ["voice", "facts", "features"], [
        "photo", "voice", "facts", "features",
    ]]  # fmt: skip
    assert outputs["photo_used"].tolist() == [False] * 3
    assert outputs["title_used"].tolist() == [False, True, True]


@pytest.mark.slow
def test_a_bundle_that_holds_the_model_fails_in_cpp(five_input_run, tmp_path, monkeypatch):
    """The negative control: loaded in Python such a bundle runs, so only the C++ loader tells."""

    class Attached(tf.Module):
        def __setattr__(self, name, value):
            super().__setattr__(name, five_input_run.model if name == "weights" else value)

    monkeypatch.setattr(tf, "Module", Attached)
    save_saved_model(tmp_path / "attached", five_input_run, five_input_run.model)
    tensors, _ = five_input_run.encode(five_input_examples(1))
    job = {"path": str(tmp_path / "attached"), "requests": [("tensors", tensors)]}
    with Child("the loader", "mm_keras.exporting.served.check", job, tmp_path) as child:
        with pytest.raises(ExportError, match=r"running the signature 'tensors'[\s\S]*Could not find variable"):
            child.wait()

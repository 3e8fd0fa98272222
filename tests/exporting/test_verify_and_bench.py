"""A bundle proven again where it is now, told about, and timed."""

import json
import shutil

import numpy as np
import pytest
import tensorflow as tf
from typer.testing import CliRunner

from mm_keras.cli import app
from mm_keras.errors import DataError, ExportError
from mm_keras.exporting.bench import bench
from mm_keras.exporting.origin import write_checksums
from mm_keras.exporting.verify import verify
from mm_keras.training.run import load_run


@pytest.fixture
def copy(five_input_bundle, tmp_path):
    shutil.copytree(five_input_bundle.path, tmp_path / "pets" / "3")
    return tmp_path / "pets" / "3"


@pytest.mark.slow
def test_a_copy_is_proven_again(copy):
    found = verify(copy.parent)
    assert found["passed"].all()
    apart = found[found["measure"] == "difference"]
    assert set(apart["artefact"]) == {"SavedModel", "LiteRT float32", "LiteRT int8"}
    assert set(apart[apart["artefact"] == "SavedModel"]["signature"]) == {"serving_default", "tensors", "embedding"}
    assert set(apart[apart["artefact"] != "SavedModel"]["signature"]) == {"serving_default", "device"}
    assert (apart["subsets"] == 31).all()
    assert (apart[apart["artefact"] != "LiteRT int8"]["tolerance"] == 1e-4).all()


def test_a_changed_file_is_named(copy):
    file = copy / "litert" / "int8.tflite"
    file.write_bytes(file.read_bytes()[:-1] + b"?")
    (copy / "model_card.md").unlink()
    with pytest.raises(ExportError, match=r"litert/int8\.tflite is changed, model_card\.md is absent\."):
        verify(copy)


@pytest.mark.slow
def test_another_model_is_caught_even_under_its_own_checksums(copy):
    with np.load(copy / "kept.npz") as file:
        arrays = {k: file[k] for k in file.files}
    for key in arrays:
        if key.startswith("outputs/"):
            arrays[key] = arrays[key] * 1.01
    np.savez(copy / "kept.npz", **arrays)
    write_checksums(copy)
    with pytest.raises(ExportError, match="differs from the trained model on this machine") as caught:
        verify(copy)
    lines = [line.split() for line in str(caught.value).splitlines()[2:]]
    assert {(" ".join(w for w in line if w in ("SavedModel", "LiteRT", "float32", "int8"))) for line in lines
            if "NO" in line} == {"SavedModel", "LiteRT float32"}  # fmt: skip


@pytest.mark.slow
def test_each_variant_is_timed(five_input_bundle):
    found = bench(five_input_bundle.path, batches=(1, 4), seconds=0.05)
    assert found["variant"].tolist() == ["SavedModel"] * 4 + ["LiteRT float32", "LiteRT int8"]
    assert found["batch"].tolist() == [1, 4, 1, 4, 1, 1]
    assert (found["calls"] >= 3).all()
    assert (found["p50"] <= found["p90"]).all()
    assert (found["p90"] <= found["p99"]).all()
    np.testing.assert_allclose(found["rows_per_second"], 1000 * found["batch"] / found["p50"])


def test_the_commands(five_input_bundle):
    runner = CliRunner()
    result = runner.invoke(app, ["inspect", str(five_input_bundle.path), "--no-latency"], env={"COLUMNS": "200"})
    assert result.exit_code == 0, result.output
    text = " ".join(result.output.split())
    for word in ("signature embedding", "67108864 bytes", "DecodePng", "CONV_2D", "recipe sha256", "wrong flags"):
        assert word in text, word
    result = runner.invoke(app, ["inspect", str(five_input_bundle.path), "--no-latency", "--json"])
    found = json.loads(result.output)
    assert found["latency"] is None
    assert found["limits"]["voice"]["seconds_used"] == 0.5


@pytest.mark.slow
def test_the_commands_that_run_the_bundle(five_input_bundle):
    runner = CliRunner()
    for arguments, words in (
        (["verify"], ["every file is what was written"]),
        (["bench", "--batch", "1", "--seconds", "0.05"], ["LiteRT int8", "rows_per_second"]),
        (["inspect"], ["latency on this machine", "LiteRT float32"]),
    ):
        result = runner.invoke(app, [arguments[0], str(five_input_bundle.path), *arguments[1:]])
        assert result.exit_code == 0, result.output
        assert all(word in " ".join(result.output.split()) for word in words), result.output


def test_a_run_of_another_format_says_what_to_do(five_input_run, tmp_path):
    shutil.copytree(five_input_run.folder, tmp_path / "run")
    info = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "format" not in info  # as those were that said nothing; they load
    for number, advice in ((2, "Upgrade it: pip install --upgrade mm_keras"), (0, "pip install mm_keras==0.0.9")):
        newer = info | {"format": number, "versions": {"mm_keras": "0.0.9"}}
        (tmp_path / "run" / "run.json").write_text(json.dumps(newer))
        with pytest.raises(DataError, match=rf"a run of format {number}, written by mm_keras 0\.0\.9.*{advice}"):
            load_run(tmp_path / "run")


def test_the_saved_model_needs_no_python_of_ours(five_input_bundle):
    """What a TensorFlow of its own reads: no registered class of mm_keras or Keras stands in the graph's objects."""
    from tensorflow.core.protobuf import saved_model_pb2

    saved = saved_model_pb2.SavedModel.FromString((five_input_bundle.path / "saved_model.pb").read_bytes())
    kinds = {n.WhichOneof("kind") for n in saved.meta_graphs[0].object_graph_def.nodes}
    assert kinds <= {"user_object", "function", "bare_concrete_function", "variable", "constant", "captured_tensor"}
    users = {n.user_object.identifier for n in saved.meta_graphs[0].object_graph_def.nodes if n.HasField("user_object")}
    assert users <= {"_generic_user_object", "trackable_list_wrapper", "signature_map"}
    assert tf.__version__.split(".")[:2] == saved.meta_graphs[0].meta_info_def.tensorflow_version.split(".")[:2]

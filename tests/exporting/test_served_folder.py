"""What lies in and beside a version folder: the same bytes each time, and files that their readers take."""

import json

import numpy as np
import pytest
import tensorflow as tf
import yaml
from conftest import build_run, five_input_examples, five_input_recipe
from served_rows import two_vector_rows, two_vector_run

import mm_keras as mm
from mm_keras.errors import ExportError
from mm_keras.exporting.inspection import inspect
from mm_keras.exporting.kept import kept_request, load_kept, save_kept
from mm_keras.exporting.origin import write_checksums, wrong_files
from mm_keras.exporting.served.canonical import make_canonical
from mm_keras.exporting.served.saved_model import save_saved_model
from mm_keras.exporting.served.settings import allowed_batch_sizes, write_requests, write_serving
from mm_keras.exporting.served.warmup import BATCHES, read_warmup, write_warmup
from mm_keras.preprocessing.raw import raw_batch

ROWS = two_vector_rows(120, seed=1)


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    """A run of two vectors, and its bundle without LiteRT files."""
    run = two_vector_run(tmp_path_factory.mktemp("two"))
    return run, mm.export(run, tmp_path_factory.mktemp("served") / "two_vectors", ROWS, litert=(), verbose=False)


def files(folder):
    return {f.relative_to(folder).as_posix(): f.read_bytes() for f in sorted(folder.rglob("*")) if f.is_file()}


@pytest.mark.slow
def test_saving_again_gives_the_same_bytes(five_input_run, tmp_path):
    """The second one of a process, too, whose counters stand elsewhere."""
    save_saved_model(tmp_path / "a", five_input_run, five_input_run.model)
    tf.function(lambda x: x + 1).get_concrete_function(tf.TensorSpec([None]))
    save_saved_model(tmp_path / "b", five_input_run, five_input_run.model)
    first, second = files(tmp_path / "a"), files(tmp_path / "b")
    assert first.keys() == second.keys() >= {"saved_model.pb", "fingerprint.pb", "variables/variables.index"}
    assert [f for f in first if first[f] != second[f]] == []


def test_tables_and_loops_save_alike(tmp_path):
    """Tables are named at random, and the arguments of a loop's condition after a counter."""
    found = []
    for name in ("a", "b"):
        table = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["x", "y"], [1, 2]), -1)
        module = tf.Module()
        second = tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(["x", "y"], [10, 20]), -1)
        module.table, module.second, module.other = table, second, tf.Variable(3)

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
        def look(names, m=module):
            numbers = tf.map_fn(
                lambda n: m.table.lookup(n) + m.second.lookup(n) + m.other, names, fn_output_signature=tf.int32
            )
            return {"numbers": numbers}

        signatures = {"serving_default": look.get_concrete_function()}
        tf.saved_model.save(module, str(tmp_path / name), signatures=signatures)
        make_canonical(tmp_path / name)
        found.append(files(tmp_path / name))
        loaded = tf.saved_model.load(str(tmp_path / name)).signatures["serving_default"]
        assert loaded(names=tf.constant(["y", "z"]))["numbers"].numpy().tolist() == [25, 1]
    assert found[0] == found[1]


@pytest.mark.slow
def test_two_exports_of_a_run_differ_in_nothing(two):
    run, bundle = two
    other = mm.export(run, bundle.path.parent, ROWS, litert=(), verbose=False)
    assert other.version == bundle.version + 1
    first, second = files(bundle.path), files(other.path)
    assert first.keys() == second.keys()
    assert [f for f in first if first[f] != second[f]] == []


def test_the_warm_up_is_what_tensorflow_serving_reads(tmp_path):
    api = pytest.importorskip("tensorflow_serving.apis.prediction_log_pb2")
    raw = {"photo": np.array([b"a\x00", b"bc"], object), "facts": np.float32([[1, np.nan], [2, 3]])}
    write_warmup(tmp_path, "pets", {"serving_default": raw, "embedding": raw})
    records = list(tf.data.TFRecordDataset(str(tmp_path / "assets.extra/tf_serving_warmup_requests")))
    logs = [api.PredictionLog.FromString(r.numpy()) for r in records]
    assert [log.SerializeToString(deterministic=True) for log in logs] == [r.numpy() for r in records]
    spec = [log.predict_log.request.model_spec for log in logs]
    assert [(s.name, s.signature_name) for s in spec] == [
        ("pets", "serving_default"), ("pets", "serving_default"), ("pets", "embedding"), ("pets", "embedding"),
    ]  # fmt: skip
    photos = [tf.make_ndarray(log.predict_log.request.inputs["photo"]).tolist() for log in logs[:2]]
    assert photos == [[b"a\x00"], [b"a\x00", b"bc"] * 4]
    played = list(read_warmup(tmp_path))
    assert [len(feed["facts"]) for _, _, feed in played] == [*BATCHES, *BATCHES]
    np.testing.assert_array_equal(played[1][2]["facts"], np.tile(raw["facts"], (4, 1)))


def test_batches_grow_while_they_pay():
    assert allowed_batch_sizes({1: 10.0, 2: 19.0, 4: 39.0}) == [1]
    assert allowed_batch_sizes({1: 10.0, 2: 21.0, 4: 20.0}) == [1, 2, 4]  # one slow measurement in between
    assert allowed_batch_sizes({1: 10.0, 2: 18.0, 4: 20.0, 8: 36.1, 16: 90.0}) == [1, 2, 4, 8]
    assert allowed_batch_sizes({}) == []


def test_the_settings_are_read_by_their_readers(tmp_path):
    out = tmp_path / "Two_vectors"
    out.mkdir()
    write_serving(out, {"milliseconds": {1: 1.0, 2: 1.1, 4: 1.2, 8: 3.0}, "machine": "here"})
    write_serving(out, {"milliseconds": {"1": 1.0, "2": 1.1, "4": 1.2, "8": 3.0}, "machine": "here"})
    found = files(out / "serving")
    assert set(found) == {"models.config", "batching.config", "docker-compose.yml", "kserve.yaml", "measured.json"}
    assert json.loads(found["measured.json"])["milliseconds"]["4"] == 1.2
    text = found["batching.config"].decode()
    assert text.splitlines()[1:] == [
        "max_batch_size { value: 4 }", "batch_timeout_micros { value: 2000 }", "max_enqueued_batches { value: 100 }",
        "num_batch_threads { value: 4 }", "allowed_batch_sizes: 1", "allowed_batch_sizes: 2", "allowed_batch_sizes: 4",
    ]  # fmt: skip
    (service,) = yaml.safe_load(found["docker-compose.yml"])["services"].items()
    assert service[0] == "two-vectors"
    assert {v["target"] for v in service[1]["volumes"]} == {"/models/Two_vectors", "/serving"}
    assert all(port.startswith("127.0.0.1:") for port in service[1]["ports"])
    assert yaml.safe_load(found["kserve.yaml"])["metadata"]["name"] == "two-vectors"
    api = pytest.importorskip("tensorflow_serving.config.model_server_config_pb2")
    from google.protobuf import text_format

    config = text_format.Parse(found["models.config"].decode(), api.ModelServerConfig())
    (model,) = config.model_config_list.config
    assert (model.name, model.base_path) == ("Two_vectors", "/models/Two_vectors")
    assert model.model_version_policy.latest.num_versions == 1


def test_sample_requests_hold_a_row_as_rest_takes_it(tmp_path):
    raw = {"photo": np.array([b"\xff\x00"], object), "shots": np.array([[b"a", b""]], object),
           "price": np.float32([np.nan]), "series": np.float32([[[1, 2]]])}  # fmt: skip
    write_requests(tmp_path, "pets", raw)
    body = json.loads((tmp_path / "requests/embedding.json").read_text())
    assert body["signature_name"] == "embedding"
    (row,) = body["instances"]
    assert row["photo"] == {"b64": "/wA="}
    assert row["shots"] == [{"b64": "YQ=="}, {"b64": ""}]
    assert np.isnan(row["price"])
    assert row["series"] == [[1.0, 2.0]]


@pytest.mark.slow
def test_kept_rows_come_back_as_they_were(two, moving_run, tmp_path):
    run, bundle = two
    kept = load_kept(bundle.path)
    assert list(kept["outputs"]) == [("left", "right"), ("left",), ("right",)]
    assert set(kept["outputs"]["left",]) == {"kind", "embedding"}
    wanted = run.model({"left": kept["tensors"]["left"], "right": 0 * kept["tensors"]["right"]}, training=False)
    np.testing.assert_allclose(kept["outputs"]["left",]["kind"], wanted["kind"], atol=1e-6)
    assert np.isnan(kept_request(kept, ("left",))["right"]).all()

    from conftest import moving_examples

    raw = raw_batch(moving_run.preprocessors, moving_examples(3))
    save_kept(tmp_path, raw, {}, moving_run.preprocessors, [], [], {})
    found = load_kept(tmp_path)["raw"]
    assert found.keys() == raw.keys()
    for field, values in raw.items():
        assert found[field].dtype == values.dtype
        np.testing.assert_array_equal(found[field], values)


def test_checksums_name_what_changed(tmp_path):
    (tmp_path / "sub").mkdir()
    for name in ("a", "b", "sub/c"):
        (tmp_path / name).write_text(name)
    write_checksums(tmp_path)
    assert wrong_files(tmp_path) == {}
    (tmp_path / "a").write_text("A")
    (tmp_path / "b").unlink()
    (tmp_path / "new").write_text("")
    assert wrong_files(tmp_path) == {"a": "changed", "b": "absent", "new": "added"}


def test_the_card_tells_where_it_comes_from(two):
    _, bundle = two
    text = (bundle.path / "model_card.md").read_text()
    origin = json.loads((bundle.path / "provenance.json").read_text())
    assert origin["recipe_sha256"] in text
    assert origin["weights_sha256"] in text
    assert text.startswith("# two_vectors\n")
    assert "It was not scored before the export" in text
    assert "| `left` | float32 |" in text
    assert "SavedModel" in text


def test_a_bundle_of_a_newer_format_says_what_to_do(two, tmp_path):
    import shutil

    copy = tmp_path / "1"
    shutil.copytree(two[1].path, copy)
    origin = json.loads((copy / "provenance.json").read_text())
    (copy / "provenance.json").write_text(json.dumps(origin | {"format": 99}))
    with pytest.raises(ExportError, match=r"has format 99, of mm_keras .* reads up to 1\. Upgrade it: pip install"):
        inspect(copy)


def test_a_fusion_of_decisions_embeds_as_its_logits(tmp_path):
    recipe = five_input_recipe("decision_mean").without("photo", "voice", "features")
    run = build_run(tmp_path / "run", recipe)
    save_saved_model(tmp_path / "served", run, run.model)
    served = tf.saved_model.load(str(tmp_path / "served")).signatures["embedding"]
    raw = raw_batch(run.preprocessors, [{k: e[k] for k in ("title", "price")} for e in five_input_examples(2)])
    found = served(**{k: tf.constant(v) for k, v in raw.items()})["embedding"].numpy()
    tensors, _ = run.encode([{k: e[k] for k in ("title", "price")} for e in five_input_examples(2)])
    outputs = run.model(tensors, training=False)
    assert found.shape == (2, 4)
    exponents = np.exp(run.model.get_layer("category_temperature")(found[:, :3]))
    np.testing.assert_allclose(exponents / exponents.sum(1, keepdims=True), outputs["category"], rtol=1e-5)

"""The client against a server made of the real stubs over the C++ loader, and against servers that misbehave."""

import base64
import http.client
import json
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, HTTPServer

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from conftest import five_input_examples, png_bytes

import mm_keras as mm
from mm_keras.errors import (
    DataError,
    DeadlineExceeded,
    ExportError,
    InvalidRequest,
    ModelNotFound,
    ServerFault,
    ServerUnavailable,
    ServingError,
)
from mm_keras.exporting.server.server import Server

grpc = pytest.importorskip("grpc")
predict_pb2 = pytest.importorskip("tensorflow_serving.apis.predict_pb2")


@pytest.fixture(scope="module")
def server(five_input_bundle):
    with Server(five_input_bundle.path.parent) as running:
        yield running


@pytest.fixture(params=["rest", "grpc"])
def client(request, server, five_input_bundle):
    with mm.Client(getattr(server, request.param), five_input_bundle.path, batch_size=2) as made:
        yield made


def test_the_answer_is_that_of_predict(client, five_input_run, tmp_path):
    examples = five_input_examples(5, seed=21)
    (tmp_path / "photo.png").write_bytes(examples[0]["photo"])
    examples[0]["photo"] = tmp_path / "photo.png"
    examples[1] = {"title": "red 青い \ud800", "price": None}
    examples[2]["photo"] = b"neither"
    examples[3]["photo"] = np.random.default_rng(0).integers(1, 256, (9, 9, 3), dtype=np.uint8)
    examples[4]["price"] = float("inf")
    wanted, found = mm.predict(five_input_run, examples), client.predict(examples)
    assert found.columns.tolist() == wanted.columns.tolist()
    pd.testing.assert_frame_equal(found, wanted, check_dtype=False, rtol=1e-5, atol=1e-6)
    assert found["error"].tolist()[2:] == [
        "photo: not a JPEG, PNG, GIF or BMP; ", "", "facts: a number is infinite, or too large; ",
    ]  # fmt: skip
    assert client.is_ready()


def test_one_example_a_table_and_embeddings(client, five_input_run, five_input_bundle):
    example = five_input_examples(1, seed=3)[0]
    assert client.predict(example).equals(client.predict(pd.DataFrame([example])))
    found = client.embed([example, {}])
    assert (found.shape, found.dtype) == ((2, 16), np.float32)
    layer = five_input_run.model.get_layer("fusion")
    import keras

    embed = keras.Model(five_input_run.model.input, layer.output)
    np.testing.assert_allclose(found, embed(five_input_run.encode([example, {}])[0]), rtol=1e-4, atol=1e-5)


def test_what_the_client_itself_refuses(client, server, five_input_bundle, tmp_path):
    with pytest.raises(DataError, match=r"unknown field 'titel'\. Did you mean 'title'"):
        client.predict({"titel": "red"})
    with pytest.raises(DataError, match="cannot read"):
        client.predict({"photo": "no/such/file.png"})
    with pytest.raises(DataError, match="no examples"):
        client.predict([])
    with pytest.raises(ExportError, match="not an export of mm_keras"):
        mm.Client(server.rest, tmp_path)
    (tmp_path / "schema.json").write_bytes((five_input_bundle.path / "schema.json").read_bytes())
    with pytest.raises(ExportError, match="give it as `model`"):
        mm.Client(server.rest, tmp_path / "schema.json")
    assert mm.Client(server.rest, tmp_path / "schema.json", model="pets").is_ready()
    (tmp_path / "schema.json").write_text("{}")
    with pytest.raises(ExportError, match="not the schema of a bundle"):
        mm.Client(server.rest, tmp_path / "schema.json", model="pets")


def test_what_the_server_refuses_is_told_by_type(client):
    row = {"title": np.array([b"red"], object)}
    for call in (
        lambda: client.call(row),
        lambda: client.call({**row, "nothing": np.zeros(1)}, "serving_default"),
        lambda: client.call(row, "no_such_signature"),
        lambda: client.call({k: np.zeros((1, 2), np.float32) for k in client.schema["inputs"]}),
    ):
        with pytest.raises(InvalidRequest) as caught:
            call()
        assert isinstance(caught.value, ServingError)
        assert caught.value.code in (400, 412, "INVALID_ARGUMENT", "FAILED_PRECONDITION")


@pytest.mark.parametrize("kind", ["rest", "grpc"])
def test_another_model_or_version_is_not_found(server, five_input_bundle, kind):
    for options in ({"model": "dogs"}, {"version": 9}):
        with mm.Client(getattr(server, kind), five_input_bundle.path, **options) as other:
            assert not other.is_ready()
            with pytest.raises(ModelNotFound, match=r"Servable not found for request: (Latest\(dogs|Spec.*pets, 9)"):
                other.predict({})
    with mm.Client(getattr(server, kind), five_input_bundle.path, version=1) as same:
        assert same.predict({})["error"].tolist() == [""]


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.mark.parametrize("interface", ["REST", "gRPC"])
def test_a_port_that_is_taken_is_told(server, five_input_bundle, interface):
    port = int({"REST": server.rest, "gRPC": server.grpc}[interface].rpartition(":")[2])
    with pytest.raises(ExportError, match=rf"{interface} cannot listen on 127\.0\.0\.1:{port}"):
        Server(five_input_bundle.path, **{f"{interface.lower()}_port": port})


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_without_a_server_it_is_tried_again_and_then_told(five_input_bundle, scheme):
    with mm.Client(f"{scheme}://127.0.0.1:{free_port()}", five_input_bundle.path, retries=2) as client:
        assert not client.is_ready()
        began = time.monotonic()
        with pytest.raises(ServerUnavailable):
            client.predict({})
        assert time.monotonic() - began > 0.5 * 0.1 + 0.5 * 0.2  # two waits, the second twice as long


@pytest.mark.parametrize("scheme", ["http", "grpc"])
def test_a_server_that_keeps_silent_is_left_at_the_deadline(five_input_bundle, scheme):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        address = f"{scheme}://127.0.0.1:{silent.getsockname()[1]}"
        with mm.Client(address, five_input_bundle.path, timeout=0.7) as client:
            began = time.monotonic()
            with pytest.raises(DeadlineExceeded):
                client.predict({})
            assert 0.6 < time.monotonic() - began < 5


@pytest.fixture
def scripted():
    """A REST server that gives the answers of a list, in order, and keeps the bodies it got."""
    answers, bodies = [], []

    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_):
            pass

        def do_POST(self):
            bodies.append((self.path, json.loads(self.rfile.read(int(self.headers["Content-Length"])))))
            status, content = answers.pop(0)
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

    running = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=running.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{running.server_address[1]}", answers, bodies
    running.shutdown()
    running.server_close()
    thread.join()


def test_rest_speaks_as_the_documentation_says(scripted, five_input_bundle):
    """The request, columnar, bytes as `b64`, NaN; an answer as TF Serving prints it; busy ones are tried again."""
    address, answers, bodies = scripted
    outputs = {"embedding": [[0.5] * 16], "error": [""], **{f"{n}_used": [True] for n in ("photo", "title")}}
    fine = json.dumps({"outputs": outputs}).encode()
    answers += [(503, b'{"error": "busy"}'), (429, b"not JSON"), (200, fine)]
    photo = png_bytes(np.ones((2, 2, 3), np.uint8))
    with mm.Client(address, five_input_bundle.path) as client:
        np.testing.assert_array_equal(client.embed({"photo": photo, "title": "é"}), np.full((1, 16), 0.5))
        path, body = bodies[2]
        assert len(bodies) == 3
        assert path == "/v1/models/pets:predict"
        assert body["signature_name"] == "embedding"
        assert body["inputs"]["photo"] == [{"b64": base64.b64encode(photo).decode()}]
        assert base64.b64decode(body["inputs"]["title"][0]["b64"]).decode() == "é"
        assert np.isnan(body["inputs"]["price"][0])
        for status, content, kind in (
            (400, b'{"error": "wrong"}', InvalidRequest),
            (500, b"oh", ServerFault),
            (504, b"{}", DeadlineExceeded),
            (404, b'{"error": "Servable not found"}', ModelNotFound),
            (200, b"<html>", ServerFault),
            (200, b'{"predictions": []}', ServerFault),
        ):
            answers.append((status, content))
            with pytest.raises(kind):
                client.predict({})
        assert len(bodies) == 9  # none of them was tried again


def test_grpc_tries_again_what_is_unavailable(five_input_bundle):
    from concurrent.futures import ThreadPoolExecutor

    from tensorflow_serving.apis import prediction_service_pb2_grpc

    codes = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.RESOURCE_EXHAUSTED, None, grpc.StatusCode.INTERNAL]
    seen = []

    class Flaky(prediction_service_pb2_grpc.PredictionServiceServicer):
        def Predict(self, request, context):
            seen.append(dict(context.invocation_metadata()).get("authorization"))
            if code := codes.pop(0):
                context.abort(code, "later")
            answer = predict_pb2.PredictResponse()
            answer.outputs["embedding"].CopyFrom(tf.make_tensor_proto(np.ones((1, 16), np.float32)))
            return answer

    flaky = grpc.server(ThreadPoolExecutor(2))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Flaky(), flaky)
    port = flaky.add_insecure_port("127.0.0.1:0")
    flaky.start()
    try:
        options = {"headers": {"Authorization": "Bearer x"}}
        with mm.Client(f"grpc://127.0.0.1:{port}", five_input_bundle.path, **options) as client:
            np.testing.assert_array_equal(client.embed({}), np.ones((1, 16)))
            assert seen == ["Bearer x"] * 3
            with pytest.raises(ServerFault, match="INTERNAL: later"):
                client.embed({})
    finally:
        flaky.stop(None).wait()


def rest(server, method, path, body=None):
    connection = http.client.HTTPConnection(server.rest.removeprefix("http://"), timeout=30)
    text = body if body is None or isinstance(body, str) else json.dumps(body)
    connection.request(method, path, text)
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def test_the_server_takes_and_gives_the_documented_json(server, five_input_bundle):
    sample = json.loads((five_input_bundle.path / "requests/serving_default.json").read_text())
    status, rows = rest(server, "POST", "/v1/models/pets:predict", sample)
    assert status == 200
    (row,) = rows["predictions"]
    assert row["category_label"] in ("a", "b", "c")
    assert row["category_classes"] == ["a", "b", "c"]
    assert row["photo_used"] is True
    assert sum(row["category"]) == pytest.approx(1, abs=1e-5)
    columns = {k: [v] for k, v in sample["instances"][0].items()}
    status, found = rest(server, "POST", "/v1/models/pets/versions/1:predict", {"inputs": columns})
    assert (status, found["outputs"]["category"]) == (200, [row["category"]])
    text = {**sample["instances"][0], "title": "plain words"}
    assert rest(server, "POST", "/v1/models/pets:predict", {"instances": [text, text]})[0] == 200

    status, found = rest(server, "GET", "/v1/models/pets")
    assert (status, found["model_version_status"][0]["state"]) == (200, "AVAILABLE")
    status, found = rest(server, "GET", "/v1/models/pets/metadata")
    inputs = found["metadata"]["signature_def"]["signature_def"]["serving_default"]["inputs"]
    assert inputs["photo"]["dtype"] == "DT_STRING"
    assert [d["size"] for d in inputs["features"]["tensor_shape"]["dim"]] == ["-1", "6"]

    ragged = {"instances": [sample["instances"][0] | {"features": [1.0]}, sample["instances"][0]]}
    for method, path, body, wanted in (
        ("POST", "/v1/models/pets:predict", "{", 400),
        ("POST", "/v1/models/pets:predict", {}, 400),
        ("POST", "/v1/models/pets:predict", {"instances": []}, 400),
        ("POST", "/v1/models/pets:predict", {"instances": [1]}, 400),
        ("POST", "/v1/models/pets:predict", ragged, 400),
        ("POST", "/v1/models/pets:predict", {"inputs": {**columns, "photo": [{"b64": "%%"}]}}, 400),
        ("POST", "/v1/models/pets:predict", {"inputs": {**columns, "price": ["x"]}}, 400),
        ("POST", "/v1/models/dogs:predict", sample, 404),
        ("GET", "/v1/models/pets/versions/2", None, 404),
        ("GET", "/v2/pets", None, 400),
    ):
        status, found = rest(server, method, path, body)
        assert (status, list(found)) == (wanted, ["error"]), (path, body, found)


def test_the_real_stubs_filter_outputs_and_read_metadata(server):
    from tensorflow_serving.apis import get_model_metadata_pb2, prediction_service_pb2_grpc

    with grpc.insecure_channel(server.grpc.removeprefix("grpc://")) as channel:
        stub = prediction_service_pb2_grpc.PredictionServiceStub(channel)
        request = predict_pb2.PredictRequest()
        request.model_spec.name = "pets"
        blank = {"photo": b"", "title": b"", "voice": b"", "colour": b"", "price": np.nan, "weight": np.nan}
        for key, value in blank.items():
            tensor = tf.make_tensor_proto([value], None if isinstance(value, bytes) else tf.float32)
            request.inputs[key].CopyFrom(tensor)
        request.inputs["features"].CopyFrom(tf.make_tensor_proto(np.full((1, 6), np.nan, np.float32)))
        request.output_filter.append("category_label")
        answer = stub.Predict(request)
        assert list(answer.outputs) == ["category_label"]
        assert answer.model_spec.version.value == 1
        request.output_filter.append("nothing")
        with pytest.raises(grpc.RpcError) as caught:
            stub.Predict(request)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        asked = get_model_metadata_pb2.GetModelMetadataRequest(metadata_field=["signature_def"])
        asked.model_spec.name = "pets"
        found = get_model_metadata_pb2.SignatureDefMap()
        stub.GetModelMetadata(asked).metadata["signature_def"].Unpack(found)
        assert {"serving_default", "tensors", "embedding"} <= set(found.signature_def)


@pytest.mark.slow
def test_without_the_extra_grpc_says_what_to_install(five_input_bundle):
    code = (
        "import sys; sys.modules['tensorflow_serving'] = None\n"
        "import mm_keras as mm\n"
        f"try: mm.Client('grpc://127.0.0.1:1', {str(five_input_bundle.path)!r})\n"
        "except mm.ExportError as error: print(error)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert "pip install mm_keras[serving]" in done.stdout, done.stderr

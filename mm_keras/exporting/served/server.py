"""A small server of one bundle on 127.0.0.1, with the interfaces of TF Serving: to try, to test, to develop against.

It runs the C++ loader that TF Serving runs, but forms no batches, reloads nothing and serves nobody but this machine.
"""

import base64
import json
import re
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import tensorflow as tf
import tensorflow_text  # noqa: F401 (registers its ops)
from tensorflow.core.framework import types_pb2

from mm_keras.exporting.inspection import version_folder
from mm_keras.exporting.quiet import quiet

HOST = "127.0.0.1"
_PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+))?(?P<verb>:predict|/metadata|)")
# As gRPC numbers its statuses, and what TF Serving's REST interface makes of them.
_STATUS = {"INVALID_ARGUMENT": (3, 400), "DEADLINE_EXCEEDED": (4, 504), "NOT_FOUND": (5, 404)}
_STATUS |= {"RESOURCE_EXHAUSTED": (8, 429), "FAILED_PRECONDITION": (9, 412), "INTERNAL": (13, 500)}


class Refusal(Exception):
    """A call that is answered with an error.

    Args:
        status: Name of the gRPC status.
        text: What is wrong.
    """

    def __init__(self, status, text):
        super().__init__(text)
        self.status, self.text = status, text


class Predictor:
    """One version, loaded in C++.

    Args:
        bundle: A version folder, or a base folder, of which the newest version is loaded.
    """

    def __init__(self, bundle):
        folder = version_folder(bundle).resolve()
        self.model, self.version = folder.parent.name, int(folder.name) if folder.name.isdecimal() else 1
        self.session = tf.compat.v1.Session(graph=tf.Graph())
        with quiet(), self.session.graph.as_default():
            meta = tf.compat.v1.saved_model.loader.load(self.session, ["serve"], str(folder))
        self.signatures = dict(meta.signature_def)

    def close(self):
        """Frees the model."""
        self.session.close()

    def check_name(self, model, version=None):
        """Raises `Refusal` when another model or version is asked for."""
        if model != self.model or version not in (None, 0, self.version):
            asked = f"Specific({model}, {version})" if version else f"Latest({model})"
            raise Refusal("NOT_FOUND", f"Servable not found for request: {asked}")

    def signature(self, name):
        """Returns a `SignatureDef`; the empty name means `serving_default`."""
        name = name or "serving_default"
        if name not in self.signatures:
            raise Refusal("INVALID_ARGUMENT", f"Serving signature key {name!r} not found.")
        return self.signatures[name]

    def predict(self, signature, inputs, wanted=()):
        """Runs a signature on `{input: array}`; returns `{output: array}`.

        Args:
            signature: Its name.
            inputs: Arrays with the batch axis first.
            wanted: The outputs to return. Defaults to all.

        Raises:
            Refusal: When an input or output is unknown or absent, or the graph refuses its shape or type.
        """
        info = self.signature(signature)
        extra, absent = sorted(inputs.keys() - info.inputs.keys()), sorted(info.inputs.keys() - inputs.keys())
        if extra or absent:
            text = f"input size does not match signature. Sent extra: {extra}. Missing but required: {absent}."
            raise Refusal("INVALID_ARGUMENT", text)
        if unknown := sorted(set(wanted) - info.outputs.keys()):
            raise Refusal("INVALID_ARGUMENT", f"output tensor alias not found in signature: {unknown}")
        fetches = {k: o.name for k, o in info.outputs.items() if not wanted or k in wanted}
        try:
            return self.session.run(fetches, {info.inputs[k].name: v for k, v in inputs.items()})
        except tf.errors.OpError as error:
            names = {number: name for name, (number, _) in _STATUS.items()}
            raise Refusal(names.get(error.error_code, "INTERNAL"), error.message) from None
        except (TypeError, ValueError) as error:  # how the session refuses a wrong shape or type
            raise Refusal("INVALID_ARGUMENT", str(error)) from None


class Server:
    """Serves a bundle over REST, and over gRPC where tensorflow-serving-api is installed.

    Args:
        bundle: A version folder, or a base folder, of which the newest version is served.
        rest_port: Of REST. Defaults to a free one.
        grpc_port: Of gRPC. Defaults to a free one.

    Attributes:
        rest: The address of REST, `"http://127.0.0.1:PORT"`.
        grpc: The address of gRPC, `"grpc://127.0.0.1:PORT"`, or `None` without tensorflow-serving-api.
        model: Name of the model.
    """

    def __init__(self, bundle, rest_port=0, grpc_port=0):
        self.predictor = Predictor(bundle)
        self.model = self.predictor.model
        self._http = _Http((HOST, rest_port), _Handler)
        self._http.predictor = self.predictor
        self.rest = f"http://{HOST}:{self._http.server_address[1]}"
        self._grpc, port = _grpc_server(self.predictor, grpc_port)
        self.grpc = f"grpc://{HOST}:{port}" if self._grpc else None
        self._thread = threading.Thread(target=self._http.serve_forever, daemon=True)
        self._thread.start()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def wait(self):
        """Serves until the process is interrupted."""
        self._thread.join()

    def close(self):
        """Ends both services and frees the model."""
        self._http.shutdown()
        self._http.server_close()
        if self._grpc:
            self._grpc.stop(None).wait()
        self.predictor.close()


def _grpc_server(predictor, port):
    """Returns `(started server, its port)`, or `(None, None)` without tensorflow-serving-api."""
    try:
        import grpc
        from tensorflow_serving.apis import (
            get_model_metadata_pb2,
            get_model_status_pb2,
            model_service_pb2_grpc,
            predict_pb2,
            prediction_service_pb2_grpc,
        )
    except ImportError:
        return None, None

    def answered(method):
        def run(self, request, context):
            spec = request.model_spec
            try:
                predictor.check_name(spec.name, spec.version.value or None)
                return method(self, request)
            except Refusal as refusal:
                context.abort(getattr(grpc.StatusCode, refusal.status), refusal.text)

        return run

    class Predictions(prediction_service_pb2_grpc.PredictionServiceServicer):
        @answered
        def Predict(self, request):
            try:
                inputs = {k: tf.make_ndarray(v) for k, v in request.inputs.items()}
            except (TypeError, ValueError) as error:
                raise Refusal("INVALID_ARGUMENT", str(error)) from None
            signature = request.model_spec.signature_name
            outputs = predictor.predict(signature, inputs, tuple(request.output_filter))
            answer = predict_pb2.PredictResponse()
            answer.model_spec.name, answer.model_spec.version.value = predictor.model, predictor.version
            answer.model_spec.signature_name = signature or "serving_default"
            for key, values in outputs.items():
                answer.outputs[key].CopyFrom(
                    tf.make_tensor_proto(values, tf.string if values.dtype == object else None)
                )
            return answer

        @answered
        def GetModelMetadata(self, request):
            return _metadata(predictor, get_model_metadata_pb2)

    class Models(model_service_pb2_grpc.ModelServiceServicer):
        @answered
        def GetModelStatus(self, request):
            answer = get_model_status_pb2.GetModelStatusResponse()
            state = get_model_status_pb2.ModelVersionStatus.AVAILABLE
            answer.model_version_status.add(version=predictor.version, state=state)
            return answer

    options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1), ("grpc.so_reuseport", 0)]
    server = grpc.server(ThreadPoolExecutor(8), options=options)
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(Predictions(), server)
    model_service_pb2_grpc.add_ModelServiceServicer_to_server(Models(), server)
    port = server.add_insecure_port(f"{HOST}:{port}")
    server.start()
    return server, port


def _metadata(predictor, messages):
    answer, signatures = messages.GetModelMetadataResponse(), messages.SignatureDefMap()
    answer.model_spec.name, answer.model_spec.version.value = predictor.model, predictor.version
    for name, info in predictor.signatures.items():
        signatures.signature_def[name].CopyFrom(info)
    answer.metadata["signature_def"].Pack(signatures)
    return answer


class _Http(ThreadingHTTPServer):
    daemon_threads, allow_reuse_address, request_queue_size = True, False, 128


class _Handler(BaseHTTPRequestHandler):
    """TF Serving's REST interface: status, metadata, and predictions in rows or in columns."""

    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def do_GET(self):
        self._answer(self._get)

    def do_POST(self):
        self._answer(self._post)

    def _answer(self, method):
        try:
            status, content = 200, method(self.server.predictor)
        except Refusal as refusal:
            status, content = _STATUS[refusal.status][1], {"error": refusal.text}
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _asked(self, predictor, verbs):
        found = _PATH.fullmatch(self.path)
        if not found or found["verb"] not in verbs:
            raise Refusal("INVALID_ARGUMENT", f"Malformed request: {self.command} {self.path}")
        predictor.check_name(found["model"], int(found["version"]) if found["version"] else None)
        return found["verb"]

    def _get(self, predictor):
        if self._asked(predictor, ("", "/metadata")) == "/metadata":
            spec = {"name": predictor.model, "signature_name": "", "version": str(predictor.version)}
            signatures = {name: _signature_json(info) for name, info in predictor.signatures.items()}
            return {"model_spec": spec, "metadata": {"signature_def": {"signature_def": signatures}}}
        status = {"error_code": "OK", "error_message": ""}
        return {"model_version_status": [{"version": str(predictor.version), "state": "AVAILABLE", "status": status}]}

    def _post(self, predictor):
        # Read first, whatever is wrong: the connection serves the next request.
        text = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self._asked(predictor, (":predict",))
        try:
            body = json.loads(text)
        except ValueError as error:
            raise Refusal("INVALID_ARGUMENT", f"JSON Parse error: {error}") from None
        if not isinstance(body, dict) or ("instances" in body) == ("inputs" in body):
            raise Refusal("INVALID_ARGUMENT", "expected an object with either `instances` or `inputs`")
        signature = body.get("signature_name", "serving_default")
        info = predictor.signature(signature if isinstance(signature, str) else str(signature))
        columns = _columns(info, body["instances"]) if "instances" in body else body["inputs"]
        if not isinstance(columns, dict):
            columns = {name: columns for name in list(info.inputs)[:1]} if len(info.inputs) == 1 else {}
        arrays = {k: _to_array(k, v, info.inputs[k]) for k, v in columns.items() if k in info.inputs}
        surplus = {k: None for k in columns if k not in info.inputs}
        outputs = predictor.predict(signature, arrays | surplus)
        found = {k: _to_json(k, v) for k, v in outputs.items()}
        if "inputs" in body:
            return {"outputs": found if len(found) > 1 else next(iter(found.values()))}
        rows = [dict(zip(found, values, strict=True)) for values in zip(*found.values(), strict=True)]
        return {"predictions": rows if len(found) > 1 else [next(iter(r.values())) for r in rows]}


def _columns(info, rows):
    if not isinstance(rows, list) or not rows:
        raise Refusal("INVALID_ARGUMENT", "`instances` must be a list of one row at least")
    if not all(isinstance(row, dict) for row in rows) or (len(info.inputs) == 1 and "b64" in rows[0]):
        if len(info.inputs) > 1:
            raise Refusal("INVALID_ARGUMENT", "each of `instances` must be an object with all inputs")
        return {name: rows for name in info.inputs}
    if any(row.keys() != rows[0].keys() for row in rows):
        raise Refusal("INVALID_ARGUMENT", "all `instances` must have the same inputs")
    return {key: [row[key] for row in rows] for key in rows[0]}


def _to_array(name, values, info):
    dtype = tf.dtypes.as_dtype(info.dtype)
    try:
        if dtype == tf.string:
            return _strings(values)
        return np.array(values, dtype.as_numpy_dtype)
    except (TypeError, ValueError) as error:
        raise Refusal("INVALID_ARGUMENT", f"input {name!r}: expected {dtype.name}: {error}") from None


def _strings(values):
    """Returns an object array of bytes of nested lists; a string is text, or `{"b64": ...}`."""
    if isinstance(values, str):
        return np.array(values.encode(errors="surrogatepass"), object)
    if isinstance(values, dict) and values.keys() == {"b64"}:
        return np.array(base64.b64decode(values["b64"], validate=True), object)
    if not isinstance(values, list):
        raise TypeError(f"{type(values).__name__} is no string")
    parts = [_strings(v) for v in values]
    if len({part.shape for part in parts}) > 1:
        raise ValueError("rows of different lengths")
    array = np.empty((len(parts), *(parts[0].shape if parts else ())), object)
    for i, part in enumerate(parts):
        array[i] = part[()] if part.ndim == 0 else part
    return array


def _to_json(name, values):
    """Returns nested lists; the bytes of an output whose name ends in `_bytes` are in base64, others are text."""
    if values.dtype != object:
        return values.tolist()

    def one(value):
        if isinstance(value, np.ndarray):
            return [one(v) for v in value]
        if name.endswith("_bytes"):
            return {"b64": base64.b64encode(value).decode()}
        return value.decode(errors="replace")

    return one(values)


def _signature_json(info):
    def tensors(found):
        return {
            key: {
                "dtype": types_pb2.DataType.Name(t.dtype),
                "tensor_shape": {
                    "dim": [{"size": str(d.size), "name": ""} for d in t.tensor_shape.dim],
                    "unknown_rank": t.tensor_shape.unknown_rank,
                },
                "name": t.name,
            }
            for key, t in found.items()
        }

    return {"inputs": tensors(info.inputs), "outputs": tensors(info.outputs), "method_name": info.method_name}

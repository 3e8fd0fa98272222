"""TF Serving's REST interface, as a server answers it."""

import base64
import json
import re
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import tensorflow as tf
from tensorflow.core.framework import types_pb2

from mm_keras.exporting.server.predictor import STATUS, Refusal

_PATH = re.compile(r"/v1/models/(?P<model>[^/:]+)(?:/versions/(?P<version>\d+))?(?P<verb>:predict|/metadata|)")


class RestServer(ThreadingHTTPServer):
    """Answers for one `Predictor`.

    Args:
        address: `(host, port)`; port 0 takes a free one.
        predictor: The `Predictor`.
    """

    daemon_threads, allow_reuse_address, request_queue_size = True, False, 128

    def __init__(self, address, predictor):
        super().__init__(address, _Handler)
        self.predictor = predictor


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
            status, content = STATUS[refusal.status][1], {"error": refusal.text}
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

"""`mm.Client`: calls a served model over REST or gRPC; takes the examples that `predict` takes, gives its table."""

import base64
import http.client
import json
import random
import time
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import urlsplit

import numpy as np
import pandas as pd
import tensorflow as tf

from mm_keras.errors import (
    DataError,
    DeadlineExceeded,
    ExportError,
    InvalidRequest,
    ModelNotFound,
    ServerFault,
    ServerUnavailable,
)
from mm_keras.exporting.inspection import version_folder
from mm_keras.exporting.origin import FORMAT
from mm_keras.preprocessing.raw import raw_batch

# The first wait before a call is tried again, seconds; each further one is twice as long, up to the deadline.
FIRST_WAIT = 0.1


class Client:
    """Calls a served model.

    Args:
        address: `"http://HOST:PORT"` or `"https://..."` for REST; `"grpc://HOST:PORT"` or `"grpcs://..."` (TLS) for
            gRPC, which needs `pip install mm_keras[serving]`.
        schema: The bundle, or its `schema.json`.
        model: Name of the served model. Defaults to the name of the bundle's base folder.
        version: Its version. Defaults to the one that the server holds for the newest.
        timeout: Seconds that one request may take, all its attempts together.
        retries: How often a request is tried again when there is no server, or it is too busy.
        batch_size: Most examples in one request.
        headers: `{name: value}` sent with every request, for instance of authorisation.

    Raises:
        ExportError: When `schema` is none, the address has another form, or what gRPC needs is not installed.

    Example:
        >>> import mm_keras as mm
        >>> mm.Client("ftp://127.0.0.1", "saved_models/digits")
        Traceback (most recent call last):
        ...
        mm_keras.errors.ExportError: expected an address http://HOST:PORT or grpc://HOST:PORT. Received: 'ftp://127.0.0.1'
    """

    def __init__(
        self, address, schema, *, model=None, version=None, timeout=30.0, retries=3, batch_size=32, headers=None
    ):
        parts = urlsplit(address)
        if parts.scheme not in _TRANSPORTS or not parts.hostname:
            raise ExportError(
                f"expected an address http://HOST:PORT or grpc://HOST:PORT. Received: {address!r}"
            ) from None
        self.schema, name = _read_schema(schema)
        self.model, self.version = model or name, version
        if not self.model:
            raise ExportError("the name of the served model is not known from schema.json alone: give it as `model`.")
        self.timeout, self.retries, self.batch_size = timeout, retries, batch_size
        self._fields = _fields(self.schema)
        self._transport = _TRANSPORTS[parts.scheme](parts, self.model, version, headers or {})

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()

    def close(self):
        """Closes the connection."""
        self._transport.close()

    def predict(self, examples):
        """Predicts examples; any input may be missing.

        Args:
            examples: One example `{field: value}`, a sequence of them, or a DataFrame with fields for columns. A
                picture or sound is bytes or a path, as for `mm_keras.predict`.

        Returns:
            DataFrame, one line an example: `id`, each task's prediction, for classes also the probability of each, and
            `error`: empty, or what was wrong with the row. A bad value counts as missing and is named.

        Raises:
            DataError: On an unknown field, an absent file, or a value of the wrong kind.
            ServingError: When the call fails; of its subclasses the one that says how.
        """
        outputs = self._in_batches("serving_default", examples)
        columns, count = {}, len(outputs["error"])
        for task, spec in self._tasks().items():
            values = outputs[task]
            if task in self.schema["classes"]:
                columns[task] = _texts(outputs[f"{task}_label"])
                columns[f"{task}_probability"] = values.max(axis=-1)
                columns |= {f"{task}_{c}": values[:, i] for i, c in enumerate(self.schema["classes"][task])}
            else:
                columns[task] = values.reshape(count, *spec["shape"][1:])[:, 0]
        table = pd.DataFrame(columns).assign(error=_texts(outputs["error"]))
        table.insert(0, "id", [str(i) for i in range(count)])
        return table

    def embed(self, examples):
        """Returns the joint embeddings, float32 `(examples, units)`; takes and raises what `predict` does."""
        return self._in_batches("embedding", examples)["embedding"]

    def call(self, inputs, signature="serving_default"):
        """Calls a signature with arrays as they are.

        Args:
            inputs: `{input: array (rows, ...)}`; strings are an object array of bytes.
            signature: Its name.

        Returns:
            `{output: array (rows, ...)}`.

        Raises:
            ServingError: When the call fails.
        """
        return self._attempts(lambda left: self._transport.predict(signature, inputs, self.schema, left))

    def is_ready(self):
        """Tells whether the server answers and the model is loaded."""
        try:
            return self._transport.is_ready(self.timeout)
        except (ServerUnavailable, DeadlineExceeded, ModelNotFound):
            return False

    def _tasks(self):
        outputs = self.schema["outputs"]
        names = [n for n, o in outputs.items() if "tensors" in o["signatures"] and o["dtype"] == "float32"]
        return {n: outputs[n] for n in names}

    def _in_batches(self, signature, examples):
        if isinstance(examples, pd.DataFrame):
            examples = examples.to_dict("records")
        examples = [examples] if isinstance(examples, dict) else list(examples)
        if not examples:
            raise DataError("no examples to predict.")
        results = []
        for start in range(0, len(examples), self.batch_size):
            results.append(self.call(raw_batch(self._fields, examples[start : start + self.batch_size]), signature))
        return {name: np.concatenate([r[name] for r in results]) for name in results[0]}

    def _attempts(self, attempt):
        """Runs `attempt(seconds left)` until it answers, the deadline passes or the retries are used up."""
        end, wait = time.monotonic() + self.timeout, FIRST_WAIT
        for turn in range(self.retries + 1):
            try:
                return attempt(max(end - time.monotonic(), 1e-3))
            except ServerUnavailable:
                # Not all clients at once: each waits between half and the whole of it.
                pause = wait * random.SystemRandom().uniform(0.5, 1.0)
                if turn == self.retries or time.monotonic() + pause >= end:
                    raise
                time.sleep(pause)
                wait *= 2
        return None


def _read_schema(schema):
    """Returns `(schema, name of the model or None)`."""
    path = Path(schema)
    if path.is_file():
        name, file = None, path
        if path.parent.name.isdecimal():
            name = path.parent.resolve().parent.name
    else:
        folder = version_folder(path)
        name, file = folder.resolve().parent.name, folder / "schema.json"
    content = json.loads(file.read_text(encoding="utf-8"))
    if not {"inputs", "outputs", "tensors", "classes"} <= content.keys():
        raise ExportError(f"{file}: not the schema of a bundle.")
    if content.get("format", 0) > FORMAT:
        raise ExportError(f"{file}: has format {content['format']}; this mm_keras reads up to {FORMAT}. Upgrade it.")
    return content, name


@dataclass(frozen=True)
class _Input:
    """What `raw_batch` asks of a preprocessor, read from a schema."""

    spec: SimpleNamespace
    raw_specs: dict
    blank: dict
    reads_files: bool
    parts: int


def _fields(schema):
    """Returns `{input: _Input}`."""
    found = {}
    for name, tensor in schema["tensors"].items():
        own = {f: s for f, s in schema["inputs"].items() if s["input"] == name}
        specs = {f: tf.TensorSpec(s["shape"][1:], s["dtype"]) for f, s in own.items()}
        limits = {k: v for s in own.values() for k, v in s["limits"].items()}
        blank = {f: _blank(specs[f]) for f in own}
        parts = limits.get("frames_used") or limits.get("files") or 1
        kind = SimpleNamespace(kind=tensor["modality"], steps=limits.get("steps_used"))
        reads = any(s["value"] in ("file", "files") for s in own.values())
        found[name] = _Input(kind, specs, blank, reads, parts)
    return found


def _blank(spec):
    if spec.dtype == tf.string:
        return b""
    return np.full([1 if d is None else d for d in spec.shape], np.nan, np.float32)[()]


def _texts(values):
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


class _Rest:
    """TF Serving's REST interface, in its columnar form.

    Reference:
        https://www.tensorflow.org/tfx/serving/api_rest, "Predict API" and "JSON mapping".
    """

    def __init__(self, parts, model, version, headers):
        self.headers = {**headers, "Content-Type": "application/json"}
        secure = parts.scheme == "https"
        self.connection = http.client.HTTPSConnection if secure else http.client.HTTPConnection
        self.host, self.port = parts.hostname, parts.port or (443 if secure else 8501)
        self.path = f"{parts.path.rstrip('/')}/v1/models/{model}" + (f"/versions/{version}" if version else "")

    def close(self):
        pass  # each request has a connection of its own

    def predict(self, signature, inputs, schema, timeout):
        body = {"signature_name": signature, "inputs": {k: _to_json(v) for k, v in inputs.items()}}
        answer = self._request("POST", f"{self.path}:predict", timeout, json.dumps(body))
        try:
            found = answer["outputs"]
            dtypes = {k: schema["outputs"][k]["dtype"] for k in found}
        except (KeyError, TypeError):
            raise ServerFault(f"expected `outputs` as the schema names them. Received: {str(answer)[:200]}") from None
        return {k: np.array(v, object if dtypes[k] == "string" else dtypes[k]) for k, v in found.items()}

    def is_ready(self, timeout):
        states = self._request("GET", self.path, timeout).get("model_version_status", [])
        return any(s.get("state") == "AVAILABLE" for s in states)

    def _request(self, method, path, timeout, body=None):
        connection = self.connection(self.host, self.port, timeout=timeout)
        try:
            connection.request(method, path, body, self.headers)
            response = connection.getresponse()
            content = response.read()
        except TimeoutError:
            raise DeadlineExceeded(f"{self.host}:{self.port} gave no answer in {timeout:.1f} s") from None
        except (OSError, http.client.HTTPException) as error:
            raise ServerUnavailable(f"{self.host}:{self.port}: {error or type(error).__name__}") from None
        finally:
            connection.close()
        if response.status != 200:
            raise _http_error(response.status, content)
        try:
            return json.loads(content)
        except ValueError:
            raise ServerFault(f"the answer is no JSON: {content[:200]!r}", response.status) from None


def _http_error(status, content):
    try:
        text = json.loads(content)["error"]
    except (ValueError, KeyError, TypeError):
        text = content[:500].decode(errors="replace")
    kinds = {404: ModelNotFound, 408: DeadlineExceeded, 504: DeadlineExceeded, 429: ServerUnavailable}
    kinds[503] = ServerUnavailable
    return kinds.get(status, InvalidRequest if 400 <= status < 500 else ServerFault)(text, status)


def _to_json(values):
    values = np.asarray(values)
    if values.dtype != object:
        return values.tolist()
    return [_to_json(v) if isinstance(v, np.ndarray) else {"b64": base64.b64encode(v).decode()} for v in values]


class _Grpc:
    """TF Serving's `PredictionService` and `ModelService`."""

    def __init__(self, parts, model, version, headers):
        try:
            import grpc
            from tensorflow_serving.apis import (
                get_model_status_pb2,
                model_service_pb2_grpc,
                predict_pb2,
                prediction_service_pb2_grpc,
            )
        except ImportError as error:
            raise ExportError(f"gRPC needs tensorflow-serving-api: pip install mm_keras[serving] ({error})") from None
        self.grpc, self.request, self.status = grpc, predict_pb2.PredictRequest, get_model_status_pb2
        self.model, self.version = model, version
        self.headers = [(k.lower(), v) for k, v in headers.items()]
        target = f"{parts.hostname}:{parts.port or 8500}"
        # TF Serving itself sets no limit to a message; gRPC's own, 4 MiB, is less than a batch of photos.
        options = [("grpc.max_send_message_length", -1), ("grpc.max_receive_message_length", -1)]
        if parts.scheme == "grpcs":
            self.channel = grpc.secure_channel(target, grpc.ssl_channel_credentials(), options)
        else:
            self.channel = grpc.insecure_channel(target, options)
        self.predictions = prediction_service_pb2_grpc.PredictionServiceStub(self.channel)
        self.models = model_service_pb2_grpc.ModelServiceStub(self.channel)

    def close(self):
        self.channel.close()

    def predict(self, signature, inputs, schema, timeout):
        request = self.request()
        self._name(request)
        request.model_spec.signature_name = signature
        for key, values in inputs.items():
            values = np.asarray(values)
            tensor = tf.make_tensor_proto(values, tf.string if values.dtype == object else None)
            request.inputs[key].CopyFrom(tensor)
        answer = self._call(self.predictions.Predict, request, timeout)
        return {key: tf.make_ndarray(value) for key, value in answer.outputs.items()}

    def is_ready(self, timeout):
        request = self.status.GetModelStatusRequest()
        self._name(request)
        answer = self._call(self.models.GetModelStatus, request, timeout)
        available = self.status.ModelVersionStatus.AVAILABLE
        return any(s.state == available for s in answer.model_version_status)

    def _name(self, request):
        request.model_spec.name = self.model
        if self.version:
            request.model_spec.version.value = self.version

    def _call(self, method, request, timeout):
        try:
            return method(request, timeout=timeout, metadata=self.headers)
        except self.grpc.RpcError as error:
            raise _grpc_error(error.code().name, error.details()) from None


def _grpc_error(name, details):
    kinds = {
        "UNAVAILABLE": ServerUnavailable,
        "RESOURCE_EXHAUSTED": ServerUnavailable,
        "DEADLINE_EXCEEDED": DeadlineExceeded,
        "NOT_FOUND": ModelNotFound,
        "INVALID_ARGUMENT": InvalidRequest,
        "FAILED_PRECONDITION": InvalidRequest,
        "UNAUTHENTICATED": InvalidRequest,
        "PERMISSION_DENIED": InvalidRequest,
        "OUT_OF_RANGE": InvalidRequest,
    }
    return kinds.get(name, ServerFault)(f"{name}: {details}", name)


_TRANSPORTS = {"http": _Rest, "https": _Rest, "grpc": _Grpc, "grpcs": _Grpc}

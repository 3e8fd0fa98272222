"""`mm.Client`: calls a served model over REST or gRPC; takes the examples that `predict` takes, gives its table."""

import random
import time
from urllib.parse import urlsplit

import numpy as np
import pandas as pd

from mm_keras.errors import DataError, DeadlineExceeded, ExportError, ModelNotFound, ServerUnavailable
from mm_keras.exporting.client.fields import read_schema, served_inputs
from mm_keras.exporting.client.rest import Rest
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
            raise ExportError(f"expected an address http://HOST:PORT or grpc://HOST:PORT. Received: {address!r}")
        self.schema, name = read_schema(schema)
        self.model, self.version = model or name, version
        if not self.model:
            raise ExportError("the name of the served model is not known from schema.json alone: give it as `model`.")
        self.timeout, self.retries, self.batch_size = timeout, retries, batch_size
        self._fields = served_inputs(self.schema)
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
                if own := self.schema.get("abstention", {}).get(task):
                    columns[f"{task}_abstained"] = values.max(axis=-1) < own["threshold"]
                columns |= {f"{task}_{c}": values[:, i] for i, c in enumerate(self.schema["classes"][task])}
            else:
                for name in (task, *self._bounds(task)):
                    columns[name] = outputs[name].reshape(count, *spec["shape"][1:])[:, 0]
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
        bounds = {end for n in names for end in self._bounds(n)}
        return {n: outputs[n] for n in names if n not in bounds}

    def _bounds(self, task):
        """Returns the names of the ends of a regression's interval; a bundle of an older mm_keras has none."""
        return [f"{task}_{end}" for end in ("low", "high")] if task in self.schema.get("intervals", {}) else []

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
        end = time.monotonic() + self.timeout
        for turn in range(self.retries):
            # Not all clients at once: each waits between half and the whole of it.
            pause = FIRST_WAIT * 2**turn * random.SystemRandom().uniform(0.5, 1.0)
            try:
                return attempt(max(end - time.monotonic(), 1e-3))
            except ServerUnavailable:
                if time.monotonic() + pause >= end:
                    raise
            time.sleep(pause)
        return attempt(max(end - time.monotonic(), 1e-3))


def _texts(values):
    return [v.decode() if isinstance(v, bytes) else str(v) for v in values]


def _grpc(*args):
    try:
        from mm_keras.exporting.client.grpc import Grpc
    except ImportError as error:
        raise ExportError(f"gRPC needs tensorflow-serving-api: pip install mm_keras[serving] ({error})") from None
    return Grpc(*args)


_TRANSPORTS = {"http": Rest, "https": Rest, "grpc": _grpc, "grpcs": _grpc}

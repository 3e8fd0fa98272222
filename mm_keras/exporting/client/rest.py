"""TF Serving's REST interface, as a client speaks it."""

import base64
import http.client
import json

import numpy as np

from mm_keras.errors import DeadlineExceeded, InvalidRequest, ModelNotFound, ServerFault, ServerUnavailable


class Rest:
    """Calls over REST, in its columnar form.

    Args:
        parts: The address, as `urlsplit` gives it.
        model: Name of the model.
        version: Its version, or `None` for the newest.
        headers: `{name: value}` of every request.

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

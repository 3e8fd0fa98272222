"""How to run a bundle: settings of TF Serving, with batch sizes measured on this model, and sample requests."""

import base64
import json
import os
import re
import tempfile
from pathlib import Path

IMAGE = "tensorflow/serving:2.20.0"
BATCH_SIZES = (1, 2, 4, 8, 16, 32, 64)
# A larger batch must answer this many times the rows of any smaller one in a second.
WORTH = 1.1


def allowed_batch_sizes(milliseconds):
    """Returns the batch sizes that TF Serving may form: up to the largest one that answers a tenth more rows a second.

    Args:
        milliseconds: `{batch size: of one call}`, sizes doubling.

    Example:
        >>> allowed_batch_sizes({1: 10.0, 2: 11.0, 4: 14.0, 8: 27.9})
        [1, 2, 4]
    """
    best, most = 0.0, 0
    for size in sorted(milliseconds):
        rate = size / milliseconds[size]
        if rate >= WORTH * best:
            most = size
        best = max(best, rate)
    return [size for size in sorted(milliseconds) if size <= most]


def write_serving(out, measured):
    """Writes `<out>/serving/`: what depends on the machine that exported, and on where the model is run.

    TF Serving looks only at folders whose names are numbers, so it lies beside the versions; those stay as they were
    written, byte by byte. Each file is replaced in one step.

    Args:
        out: The base folder of the served model.
        measured: What was measured: `{"milliseconds": {batch size: of one call}, ...}`.
    """
    out = Path(out)
    folder, name = out / "serving", out.name
    folder.mkdir(exist_ok=True)
    sizes = allowed_batch_sizes({int(k): v for k, v in measured["milliseconds"].items()}) or [1]
    label = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-") or "model"
    files = {
        "models.config": _MODELS.format(name=name),
        "batching.config": _batching(sizes),
        "docker-compose.yml": _COMPOSE.format(name=name, label=label, image=IMAGE),
        "kserve.yaml": _KSERVE.format(name=name, label=label, tag=IMAGE.rpartition(":")[2]),
        "measured.json": json.dumps(measured, indent=1),
    }
    for file, text in files.items():
        _replace(folder / file, text)


def write_requests(folder, name, raw):
    """Writes `requests/`: one real row for REST, for each signature that takes raw values, and how to send it.

    Args:
        folder: The version folder.
        name: Name of the served model.
        raw: `{field: array (rows, ...)}` as a client sends them.
    """
    place = Path(folder) / "requests"
    place.mkdir()
    row = {field: _json_value(values[0]) for field, values in raw.items()}
    for signature in ("serving_default", "embedding"):
        body = {"signature_name": signature, "instances": [row]}
        (place / f"{signature}.json").write_text(json.dumps(body, indent=1), encoding="utf-8")
    (place / "README.md").write_text(_CALLS.format(name=name), encoding="utf-8")


def _json_value(value):
    """Returns a value in the form of TF Serving's REST interface: bytes in base64, NaN as it takes it."""
    if isinstance(value, bytes):
        return {"b64": base64.b64encode(value).decode()}
    return [_json_value(v) for v in value] if getattr(value, "ndim", 0) else value.item()


def _batching(sizes):
    lines = [
        f"max_batch_size {{ value: {sizes[-1]} }}",
        "batch_timeout_micros { value: 2000 }",
        "max_enqueued_batches { value: 100 }",
        "num_batch_threads { value: 4 }",
        *(f"allowed_batch_sizes: {size}" for size in sizes),
    ]
    return "\n".join(["# Sizes at which this model answers more rows a second, see measured.json.", *lines, ""])


def _replace(file, text):
    handle, temporary = tempfile.mkstemp(dir=file.parent, prefix=".")
    with os.fdopen(handle, "w", encoding="utf-8") as opened:
        opened.write(text)
    Path(temporary).chmod(0o644)
    Path(temporary).replace(file)


_MODELS = """\
# The newest version is served; to pin one: specific {{ versions: 1 }}
model_config_list {{
  config {{
    name: "{name}"
    base_path: "/models/{name}"
    model_platform: "tensorflow"
    model_version_policy {{ latest {{ num_versions: 1 }} }}
  }}
}}
"""
_COMPOSE = """\
# docker compose up, in this folder: gRPC on 127.0.0.1:8500, REST on 127.0.0.1:8501
services:
  {label}:
    image: {image}
    command:
      - --model_config_file=/serving/models.config
      - --enable_batching=true
      - --batching_parameters_file=/serving/batching.config
    ports: ["127.0.0.1:8500:8500", "127.0.0.1:8501:8501"]
    volumes:
      - type: bind
        source: ..
        target: /models/{name}
        read_only: true
      - type: bind
        source: .
        target: /serving
        read_only: true
    restart: unless-stopped
"""
_KSERVE = """\
# The folder that holds the versions, copied to a volume: kubectl apply -f kserve.yaml
apiVersion: serving.kserve.io/v1beta1
kind: InferenceService
metadata:
  name: {label}
spec:
  predictor:
    model:
      modelFormat:
        name: tensorflow
      protocolVersion: v1
      runtimeVersion: {tag}
      storageUri: pvc://models/{name}
"""
_CALLS = """\
One real row, as TF Serving takes it over REST:

```bash
curl -d @requests/serving_default.json http://127.0.0.1:8501/v1/models/{name}:predict
curl -d @requests/embedding.json http://127.0.0.1:8501/v1/models/{name}:predict
```

Over gRPC the same, from Python, `pip install mm_keras[serving]`:

```python
import mm_keras as mm

client = mm.Client("grpc://127.0.0.1:8500", "schema.json", model="{name}")
client.predict([{{}}])  # every field left out: a row without any input
```
"""

"""Latency and size of every LiteRT file beside the SavedModel; writes benchmarks/results/litert.csv.

usage: python benchmarks/litert_files.py [--size tiny small ..] [--epochs 10] [--calls 300] [--csv FILE] [--out FILE]

Trains the built-in digits with encoders of one size, exports all forms, and calls them by turns, one example at a time
and one thread each, in one process: a slow moment of the machine meets all of them.

signature  `raw` takes files and texts (the SavedModel alone), `device` pixels, samples and ids (LiteRT alone),
           `tensors` what both give the network
ms, p95    median and 95th percentile of a call
faster     median of the SavedModel, over the file's: `device` is compared with `raw`
bytes      of the file, or of the SavedModel with its weights
share      of the float32 file's bytes
"""

import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ["TF_NUM_INTRAOP_THREADS"] = os.environ["TF_NUM_INTEROP_THREADS"] = "1"

import numpy as np
import pandas as pd
from measuring import HERE, parser, result, row, write
from served_calls import litert_call, session_call

KINDS = ("float32", "float16", "dynamic", "int8", "int8_io")


def make_bundle(home, size, epochs):
    """Trains and exports; returns `(run, bundle)`."""
    import mm_keras as mm

    recipe = mm.load_recipe(mm.make_digits(home / "digits").parent / "recipe.yaml")
    inputs = {
        n: {**s.model_dump(), "encoder": {**s.encoder.model_dump(), "size": size}} for n, s in recipe.inputs.items()
    }
    training = {**recipe.training.model_dump(), "epochs": epochs}
    recipe = mm.load_recipe({**recipe.model_dump(), "inputs": inputs, "training": training})
    run = mm.fit(recipe, mm.load(home / "digits" / "manifest.csv", recipe), home / "run", verbose=False)
    return run, mm.export(run, home / "served", run.rows("test"), litert=KINDS, int8_max_drop=0.02, verbose=False)


def saved_model_calls(path):
    """Returns `{signature: function of named values}` through the C++ loader."""
    tasks = ("digit", "magnitude")
    return {name: session_call(path, key, tasks) for name, key in (("raw", "serving_default"), ("tensors", "tensors"))}


def litert_calls(file):
    """Returns `{signature: function of named values}`."""
    return {name: litert_call(file, key) for name, key in (("device", "device"), ("tensors", "serving_default"))}


def measure(run, bundle, count):
    """Returns the DataFrame."""
    from mm_keras.exporting.litert.device import device_rows
    from mm_keras.preprocessing.raw import raw_batch

    rows = run.rows("test")
    raw = raw_batch(run.preprocessors, [rows.example(i) for i in range(32)])
    device, tensors = device_rows(run, raw)
    values = {"raw": raw, "device": device, "tensors": tensors}
    files = {k: bundle.path / "litert" / f"{k}.tflite" for k in KINDS}
    calls = {("SavedModel", s): c for s, c in saved_model_calls(bundle.path).items()}
    calls |= {(k, s): c for k, f in files.items() for s, c in litert_calls(f).items()}
    del calls["int8_io", "tensors"]  # it takes integers
    times = {key: [] for key in calls}
    for turn in range(count + 20):
        for key, call in calls.items():
            one = {n: v[turn % 32 : turn % 32 + 1] for n, v in values[key[1]].items()}
            start = time.perf_counter()
            call(one)
            times[key].append(1000 * (time.perf_counter() - start))
    saved = [bundle.path / "saved_model.pb", *(bundle.path / "variables").iterdir()]
    sizes = {k: f.stat().st_size for k, f in files.items()} | {"SavedModel": sum(f.stat().st_size for f in saved)}
    lines = []
    for (form, signature), ms in times.items():
        other = ("SavedModel", "raw" if signature == "device" else signature)
        lines.append({
            "form": form, "signature": signature, "ms": round(np.median(ms[20:]), 4),
            "p95": round(np.percentile(ms[20:], 95), 4),
            "faster": round(np.median(times[other][20:]) / np.median(ms[20:]), 2), "bytes": sizes[form],
            "share": round(sizes[form] / sizes["float32"], 3),
        })  # fmt: skip
    return pd.DataFrame(lines)


def ratios_of(size, table):
    """Returns the rows of one size: times over the SavedModel's, bytes over those of float32."""
    rows = {}
    for line in table.to_dict("records"):
        form, signature = line["form"], line["signature"]
        if form in ("float32", "int8"):
            where = f"LiteRT {form}, {signature}, over the SavedModel, {size}"
            rows[where] = row(1.0 / line["faster"], goal=1.0)
        if form == "int8" and signature == "tensors":
            rows[f"LiteRT int8, bytes over float32, {size}"] = row(line["share"])
    return rows


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--size", nargs="+", choices=["tiny", "small", "base"], default=["tiny", "small"])
    arguments.add_argument("--epochs", type=int, default=10)
    arguments.add_argument("--calls", type=int, default=300)
    arguments.add_argument("--csv", type=Path, default=HERE / "results" / "litert.csv")
    options = arguments.parse_args()
    tables, ratios = [], {}
    for size in options.size:
        with tempfile.TemporaryDirectory() as home:
            run, bundle = make_bundle(Path(home), size, options.epochs)
            table = measure(run, bundle, options.calls)
            table.insert(0, "size", size)
            table.insert(1, "parameters", run.model.count_params())
            print(table.to_string(index=False), flush=True)
            tables.append(table)
            ratios |= ratios_of(size, table)
    options.csv.parent.mkdir(parents=True, exist_ok=True)
    pd.concat(tables).to_csv(options.csv, index=False)
    lines = pd.concat(tables).to_dict("records")
    write(result("litert", ratios, measured={"forms": lines}), options.out)


if __name__ == "__main__":
    main()

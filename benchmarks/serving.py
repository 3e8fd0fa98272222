"""Latency, throughput and load of an exported bundle on this machine.

usage: python benchmarks/serving.py [--rounds 30] [--load-seconds 60] [--threads 8] [--quick] [--out FILE]

The built-in digits are trained for two epochs and exported. All is run side by side in one go: the compared calls
alternate, medians are compared, so what else the machine does falls on both. Measured are

- by hand: the raw signature at batch 1 against a `tf.function` of the same architecture that one would write by hand
  (`handmade/digits_data.py`), both as SavedModels that the C++ loader reads. Ours also says which inputs were used, and
  what is wrong with a bad value; by hand, a bad value ends the call;

- raw: the raw signature at batch 1 against decoding by the same graph in `tf.function`, then the `tensors` signature;
- batching: rows a second at batch 32 against a loop of single calls;
- first: the first request of a fresh process, after the stored warm-up was played, against the median of those after;
- LiteRT: one call against the SavedModel's, and the size of each file against float32;
- load: threads that call `mm-keras serve` over gRPC: errors, latencies, and the server's memory.

`--quick` measures `by hand` and the float32 LiteRT file alone. Last line: JSON.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
from handmade import keras_model
from handmade.digits_data import Digits
from handmade.sizes import Sizes
from measuring import alternate, milliseconds, paired_ratio, parser, result, row, write
from served_calls import litert_call, session_call

import mm_keras as mm
from mm_keras.exporting.bench import bench
from mm_keras.exporting.inspection import inspect
from mm_keras.exporting.kept import load_kept


def make_bundle(folder, quick=False):
    """Trains the built-in digits briefly and exports them; returns `(bundle, run)`."""
    manifest = mm.make_digits(folder / "digits")
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml")
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 2})})
    run = mm.fit(recipe, mm.load(manifest, recipe), folder / "run", verbose=False)
    kinds = {"litert": ("float32",)} if quick else {"int8_max_drop": 0.2}
    return mm.export(run, folder / "saved_models" / "digits", verbose=False, **kinds).path, run


def repeated(feed, size):
    """Returns the rows of a feed, repeated to `size` rows."""
    rows = np.resize(np.arange(len(next(iter(feed.values())))), size)
    return {k: v[rows] for k, v in feed.items()}


def measure_by_hand(folder, bundle, run, rounds):
    """The raw signature at batch 1 against a hand-written `tf.function`."""
    digits = Digits(folder / "digits" / "manifest.csv", run.preprocessors["word"].state["vocabulary"])
    sizes = Sizes(vocabulary=len(digits.vocabulary), features=digits.columns["card"].shape[1])
    digits.export(keras_model.build(sizes), folder / "by_hand")
    one = repeated(load_kept(bundle)["raw"], 1)
    calls = {"raw": session_call(bundle), "by hand": session_call(folder / "by_hand")}
    # A call is short: several make a round.
    times, _ = alternate({n: lambda c=c: [c(one) for _ in range(10)] for n, c in calls.items()}, rounds, warm=3)
    return paired_ratio(times, "raw", "by hand"), milliseconds(times, per=10)


def measure_litert(bundle, rounds):
    """The float32 LiteRT file against the SavedModel's `tensors`, both at batch 1 and on one thread."""
    with np.load(Path(bundle) / "kept.npz") as kept:
        one = {k.removeprefix("tensors/"): kept[k][:1] for k in kept.files if k.startswith("tensors/")}
    calls = {
        "LiteRT": litert_call(Path(bundle) / "litert" / "float32.tflite"),
        "tensors": session_call(bundle, "tensors", ("digit", "magnitude"), is_single=True),
    }
    times, _ = alternate({n: lambda c=c: [c(one) for _ in range(20)] for n, c in calls.items()}, rounds, warm=3)
    return paired_ratio(times, "LiteRT", "tensors"), milliseconds(times, per=20)


def measure_calls(bundle, run, rounds):
    """Ratios of raw to decode and tensors, and of batch 32 to a loop."""
    import tensorflow as tf

    from mm_keras.exporting.server.predictor import Predictor

    predictor, raw = Predictor(bundle), load_kept(bundle)["raw"]
    one, many = repeated(raw, 1), repeated(raw, 32)

    def decode_then_tensors():
        tensors, _ = run.preprocess({k: tf.convert_to_tensor(v) for k, v in one.items()})
        predictor.predict("tensors", {k: t.numpy() for k, t in tensors.items()})

    rows = [{k: v[i : i + 1] for k, v in many.items()} for i in range(32)]
    alone = {"raw": lambda: predictor.predict("serving_default", one), "decode and tensors": decode_then_tensors}
    times, _ = alternate(alone, rounds, warm=3)
    several = {
        "batch of 32": lambda: predictor.predict("serving_default", many),
        "loop of 32": lambda: [predictor.predict("serving_default", single) for single in rows],
    }
    batched, _ = alternate(several, max(rounds // 3, 5), warm=3)
    predictor.close()
    ratios = {
        "raw over decode and tensors": row(paired_ratio(times, "raw", "decode and tensors"), goal=1.25),
        "loop of single rows over batch of 32": row(paired_ratio(batched, "loop of 32", "batch of 32"), "higher", 4.0),
    }
    return ratios, milliseconds(times) | milliseconds(batched)


FIRST = """
import json, sys, time, statistics
from pathlib import Path
from mm_keras.exporting.kept import load_kept
from mm_keras.exporting.server.predictor import Predictor
from mm_keras.exporting.served.warmup import read_warmup
folder = Path(sys.argv[1])
stored, raw = list(read_warmup(folder)), load_kept(folder)["raw"]
predictor, one = Predictor(folder), {k: v[:1] for k, v in raw.items()}
for _, signature, feed in stored:
    predictor.predict(signature, feed)
taken = []
for _ in range(51):
    start = time.perf_counter()
    predictor.predict("serving_default", one)
    taken.append(1000 * (time.perf_counter() - start))
print(json.dumps([taken[0], statistics.median(taken[1:])]))
"""


def measure_first(bundle, rounds=5):
    """The first request after the warm-up, in fresh processes; medians over them."""
    found = []
    for _ in range(rounds):
        done = subprocess.run([sys.executable, "-c", FIRST, str(bundle)], capture_output=True, text=True, check=True)
        found.append(json.loads(done.stdout.splitlines()[-1]))
    first, later = (statistics.median(side) for side in zip(*found, strict=True))
    return {"first_ms": first, "later_ms": later, "first_ratio": first / later}


def measure_variants(bundle):
    """LiteRT against the SavedModel's `tensors` at batch 1, and sizes against float32."""
    timed = bench(bundle, batches=(1,), seconds=2.0, threads=1)
    saved = timed[(timed["variant"] == "SavedModel") & (timed["signature"] == "tensors")]["p50"].iloc[0]
    found = {"saved_model_tensors_ms": saved, "litert": {}}
    files = inspect(bundle)["litert"]
    for line in timed[timed["variant"] != "SavedModel"].to_dict("records"):
        kind = line["variant"].removeprefix("LiteRT ")
        found["litert"][kind] = {"ms": line["p50"], "against_saved_model": line["p50"] / saved}
        if "float32" in files:
            found["litert"][kind]["size_against_float32"] = files[kind]["bytes"] / files["float32"]["bytes"]
    return found


def resident_mb(pid):
    """Returns the memory that a process holds, in MB."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmRSS"))


def measure_load(bundle, seconds, threads):
    """Clients in threads against a server in a process of its own; memory after a tenth of the time and at the end."""
    command = [sys.executable, "-c", "from mm_keras.cli import main; main()", "serve", str(bundle)]
    server = subprocess.Popen([*command, "--rest-port", "0", "--grpc-port", "0"], stdout=subprocess.PIPE, text=True)
    try:
        server.stdout.readline()
        address, raw = server.stdout.readline().strip(), load_kept(bundle)["raw"]
        if not address.startswith("grpc://"):
            raise SystemExit(f"the load test needs gRPC: {address}")
        taken, errors, end = [[] for _ in range(threads)], [], time.monotonic() + seconds

        def work(own):
            with mm.Client(address, bundle, retries=0) as client:
                batch = repeated(raw, 1)
                while time.monotonic() < end:
                    try:
                        start = time.perf_counter()
                        client.call(batch)
                        own.append(time.perf_counter() - start)
                    except mm.ServingError as error:
                        errors.append(str(error))

        workers = [threading.Thread(target=work, args=(own,)) for own in taken]
        for worker in workers:
            worker.start()
        time.sleep(seconds / 10)
        before, most = resident_mb(server.pid), 0.0
        while time.monotonic() < end:
            time.sleep(min(1.0, seconds / 20))
            most = max(most, resident_mb(server.pid))
        for worker in workers:
            worker.join()
        after = resident_mb(server.pid)
    finally:
        server.terminate()
        server.wait()
    every = np.concatenate([np.array(own) for own in taken])
    return {
        "threads": threads,
        "seconds": seconds,
        "requests": len(every),
        "errors": len(errors),
        "requests_per_second": len(every) / seconds,
        "p50_ms": 1000 * float(np.percentile(every, 50)),
        "p99_ms": 1000 * float(np.percentile(every, 99)),
        "memory_mb": {"after_a_tenth": before, "most": max(most, after), "end": after},
        "memory_growth": max(most, after) / before - 1,
    }


def litert_rows(found):
    """Returns the rows of what `measure_variants` found, but for float32, which `measure_litert` measures."""
    rows, others = {}, {kind: v for kind, v in found.items() if kind != "float32"}
    for kind, v in others.items():
        rows[f"LiteRT {kind} over the SavedModel"] = row(v["against_saved_model"])
        if "size_against_float32" in v:
            rows[f"LiteRT {kind}, bytes over float32"] = row(v["size_against_float32"])
    return rows


def main():
    """Measures and prints."""
    arguments = parser(__doc__)
    arguments.add_argument("--rounds", type=int, default=30)
    arguments.add_argument("--load-seconds", type=float, default=60.0)
    arguments.add_argument("--threads", type=int, default=8)
    arguments.add_argument("--quick", action="store_true")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        folder = Path(folder)
        bundle, run = make_bundle(folder, options.quick)
        by_hand, by_hand_ms = measure_by_hand(folder, bundle, run, options.rounds)
        lite, lite_ms = measure_litert(bundle, options.rounds)
        ratios = {
            "raw request over a tf.function by hand": row(by_hand),
            "LiteRT float32 over the SavedModel": row(lite, goal=1.0),
        }
        measured = {"ms of a session": by_hand_ms | lite_ms}
        if not options.quick:
            found, measured["ms of mm-keras serve"] = measure_calls(bundle, run, options.rounds)
            ratios |= found
            measured |= (variants := measure_variants(bundle))
            ratios |= litert_rows(variants["litert"])
            measured |= (first := measure_first(bundle))
            ratios["first request over those after"] = row(first["first_ratio"], goal=2.0)
            measured["load"] = load = measure_load(bundle, options.load_seconds, options.threads)
            ratios["memory under load over that at its start"] = row(1 + load["memory_growth"], goal=1.05)
            print(f"load: {load['requests']} requests, {load['errors']} errors")
    write(result("serving", ratios, measured=measured), options.out)


if __name__ == "__main__":
    main()

"""Latency, throughput and load of an exported bundle on this machine.

usage: python benchmarks/serving.py [--bundle saved_models/digits] [--rounds 30] [--load-seconds 60] [--threads 8]

Without a bundle one of the built-in digits is trained for two epochs and exported. All is run side by side in one go:
the compared calls alternate, medians are compared, so what else the machine does falls on both. Printed are

- raw: the raw signature at batch 1 against decoding by the same graph in `tf.function`, then the `tensors` signature;
- batching: rows a second at batch 32 against a loop of single calls;
- first: the first request of a fresh process, after the stored warm-up was played, against the median of those after;
- LiteRT: one call against the SavedModel's, and the size of each file against float32;
- load: threads that call `mm-keras serve` over gRPC: errors, latencies, and the server's memory.

Last line: JSON.
"""

import argparse
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

import mm_keras as mm
from mm_keras.exporting.bench import bench
from mm_keras.exporting.inspection import inspect, version_folder
from mm_keras.exporting.kept import load_kept


def make_bundle(folder):
    """Trains the built-in digits briefly and exports them; returns `(bundle, run)`."""
    manifest = mm.make_digits(folder / "digits")
    recipe = mm.load_recipe(manifest.parent / "recipe.yaml")
    recipe = recipe.model_copy(update={"training": recipe.training.model_copy(update={"epochs": 2})})
    run = mm.fit(recipe, mm.load(manifest, recipe), folder / "run", verbose=False)
    return mm.export(run, folder / "saved_models" / "digits", verbose=False, int8_max_drop=0.2).path, run


def repeated(feed, size):
    """Returns the rows of a feed, repeated to `size` rows."""
    rows = np.resize(np.arange(len(next(iter(feed.values())))), size)
    return {k: v[rows] for k, v in feed.items()}


def seconds_of(call):
    """Returns how long one call takes."""
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def alternate(first, second, rounds):
    """Runs both in turn; returns the two medians in seconds."""
    for _ in range(3):
        first(), second()
    pairs = [(seconds_of(first), seconds_of(second)) for _ in range(rounds)]
    return tuple(statistics.median(side) for side in zip(*pairs, strict=True))


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
    raw_s, parts_s = alternate(lambda: predictor.predict("serving_default", one), decode_then_tensors, rounds)
    batch_s, loop_s = alternate(
        lambda: predictor.predict("serving_default", many),
        lambda: [predictor.predict("serving_default", row) for row in rows],
        max(rounds // 3, 5),
    )
    predictor.close()
    return {
        "raw_ms": 1000 * raw_s,
        "decode_and_tensors_ms": 1000 * parts_s,
        "raw_ratio": raw_s / parts_s,
        "batch32_rows_per_second": 32 / batch_s,
        "loop_rows_per_second": 32 / loop_s,
        "batching_ratio": loop_s / batch_s,
    }


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
                        own.append(seconds_of(lambda: client.call(batch)))
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


def main():
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bundle", type=Path)
    parser.add_argument("--run", type=Path, help="the run of --bundle")
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--load-seconds", type=float, default=60.0)
    parser.add_argument("--threads", type=int, default=8)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        if options.bundle:
            bundle, run = version_folder(options.bundle), mm.load_run(options.run)
        else:
            bundle, run = make_bundle(Path(folder))
        found = measure_calls(bundle, run, options.rounds)
        print(f"raw against decode and tensors, batch 1      {found['raw_ratio']:.2f}  (at most 1.25)", flush=True)
        print(f"batch 32 against a loop of single calls      {found['batching_ratio']:.1f}  (at least 4)", flush=True)
        found |= measure_first(bundle)
        print(f"first request after warm-up against median   {found['first_ratio']:.2f}  (at most 2)", flush=True)
        found |= measure_variants(bundle)
        for kind, v in found["litert"].items():
            size = v.get("size_against_float32", float("nan"))
            text = f"{v['against_saved_model']:.2f} of the SavedModel's time, {size:.2f} of float32's bytes"
            print(f"LiteRT {kind}: {text}", flush=True)
        found["load"] = load = measure_load(bundle, options.load_seconds, options.threads)
        times = f"p50 {load['p50_ms']:.1f} ms, p99 {load['p99_ms']:.1f} ms"
        memory = f"memory {100 * load['memory_growth']:+.1f} %  (no error, within 5 %)"
        print(f"load: {load['requests']} requests, {load['errors']} errors, {times}, {memory}")
    print(json.dumps(found))


if __name__ == "__main__":
    main()

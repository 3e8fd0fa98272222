"""`mm_keras.prepare` and training from its shards: speed, memory, and kills.

    python benchmarks/prepare.py files --rows 100000     # against plain reading and decoding, all cores
    python benchmarks/prepare.py memory                  # peak RSS at 1e4, 1e5 and 1e6 rows
    python benchmarks/prepare.py kills --count 20        # SIGKILL at random moments; are the shards byte-identical?

Each prints one line of JSON for each measurement and a verdict. Every measured thing is a process of its own.
"""

import argparse
import io
import json
import os
import random
import resource
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from measuring import result, row, write

CORES = len(os.sched_getaffinity(0))
PHOTOS = "inputs: {photo: {kind: image, size: [64, 64]}}\ntasks: {kind: {kind: classification}}\n"
FACTS = """inputs:
  facts: {kind: tabular, numeric: [a, b, c], categorical: [colour], encoder: {size: tiny}}
  title: {kind: text, length: 8, vocabulary_size: 300, encoder: {kind: cnn, size: tiny}}
fusion: {kind: concat, units: 16}
tasks: {kind: {kind: classification}}
training: {epochs: EPOCHS, batch_size: 1000, modality_dropout: 0.0}
"""

PLAIN_TF = """
import sys, time, tensorflow as tf
paths = [line.split(",")[0] for line in open(sys.argv[1] + "/m.csv").read().split()[1:]]
began = time.perf_counter()
data = tf.data.Dataset.from_tensor_slices([sys.argv[1] + "/" + p for p in paths])
data = data.map(lambda p: tf.size(tf.io.decode_jpeg(tf.io.read_file(p))), num_parallel_calls=tf.data.AUTOTUNE)
count = sum(len(b) for b in data.batch(1000).as_numpy_iterator())
print(count / (time.perf_counter() - began))
"""
PLAIN_PILLOW = """
import io, os, sys, time
from concurrent.futures import ProcessPoolExecutor
from PIL import Image
def load(path):
    with open(path, "rb") as file:
        return len(Image.open(io.BytesIO(file.read())).tobytes())
if __name__ == "__main__":
    paths = [sys.argv[1] + "/" + line.split(",")[0] for line in open(sys.argv[1] + "/m.csv").read().split()[1:]]
    began = time.perf_counter()
    with ProcessPoolExecutor(int(sys.argv[3])) as pool:
        count = sum(n > 0 for n in pool.map(load, paths, chunksize=250))
    print(count / (time.perf_counter() - began))
"""
PREPARE = """
import sys, time
from mm_keras import prepare
began = time.perf_counter()
shards = prepare(sys.argv[1] + "/m.csv", sys.argv[1] + "/recipe.yaml", sys.argv[2], processes=int(sys.argv[3]) or None)
count = sum(shards.rows.values())
print(count / (time.perf_counter() - began))
"""
FIT = """
import resource, sys
import mm_keras as mm
recipe = mm.load_recipe(sys.argv[1] + "/recipe.yaml")
mm.fit(recipe, mm.load(sys.argv[2], recipe), sys.argv[2] + "_run", verbose=False)
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
"""
RSS = """
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024)
"""


def call(code, *arguments):
    """Runs a program in a process of its own; returns the floats that it prints."""
    env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "CUDA_VISIBLE_DEVICES": "-1"}
    with tempfile.NamedTemporaryFile("w", suffix=".py") as script:  # which the processes of a pool import
        script.write(code)
        script.flush()
        command = [sys.executable, script.name, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, env=env, check=False)
    if done.returncode:
        raise SystemExit(done.stderr[-3000:])
    return [float(line) for line in done.stdout.split()]


def write_photos(folder, rows, side=128):
    """Writes JPEGs of about 6 KB, a thousand a folder, 200 different ones, with a manifest and a recipe."""
    from PIL import Image

    if (folder / "m.csv").is_file():
        return
    rng, kinds = np.random.default_rng(0), []
    for _ in range(200):
        rough = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).resize((side, side))
        pixels = np.clip(np.asarray(rough) + rng.normal(0, 12, (side, side, 3)), 0, 255).astype(np.uint8)
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG", quality=80)
        kinds.append(file.getvalue())
    with_rows = ["photo,kind"]
    for number in range(rows):
        name = f"{number // 1000:04}/{number}.jpg"
        if number % 1000 == 0:
            (folder / f"{number // 1000:04}").mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(kinds[number % 200])
        with_rows.append(f"{name},{'ab'[number % 2]}")
    (folder / "recipe.yaml").write_text(PHOTOS)
    (folder / "m.csv").write_text("\n".join(with_rows))
    print(json.dumps({"rows": rows, "mean bytes": round(sum(map(len, kinds)) / 200)}), flush=True)


def measure_files(folder, rows, rounds):
    """Rows a second of `prepare`, and of plain reading and decoding, by turns."""
    source = folder / f"photos{rows}"
    write_photos(source, rows)
    seen = {"tf.data": [], "Pillow, processes": [], "prepare": []}
    busy = {name: [] for name in seen}
    for turn in range(rounds):
        shutil.rmtree(folder / "out", ignore_errors=True)
        programs = list(zip(seen, (PLAIN_TF, PLAIN_PILLOW, PREPARE), strict=True))
        for name, code in programs if turn % 2 else programs[::-1]:
            began, spent = time.perf_counter(), processor_seconds()
            processes = 0 if name == "prepare" else CORES  # as many as pay
            (rate,) = call(code, source, folder / "out", processes)
            busy[name].append(processor_seconds() - spent)
            seen[name].append(rate)
            whole = time.perf_counter() - began
            line = {"round": turn, "what": name, "rows/s": round(rate), "whole process, s": round(whole, 1)}
            line["processor, s"] = round(busy[name][-1], 1)
            print(json.dumps({**line, "load": os.getloadavg()[0]}), flush=True)
    medians = {name: statistics.median(rates) for name, rates in seen.items()}
    best = max(medians["tf.data"], medians["Pillow, processes"])
    ratio = medians["prepare"] / best
    line = {"medians": {n: round(m) for n, m in medians.items()}, "ratio": round(ratio, 3), "wanted": 0.8}
    spent = {name: statistics.median(seconds) for name, seconds in busy.items()}
    line["ratios of processor time"] = {n: round(spent[n] / spent["prepare"], 3) for n in list(busy)[:2]}
    print(json.dumps(line))
    return {"prepare over plain reading and decoding": row(ratio, "higher", 0.8)}, line


def processor_seconds():
    """Seconds of processor that all programs called so far took, their processes included, imports too."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def write_facts(folder, rows, epochs):
    """Writes a table of numbers, a category and a text, line by line."""
    folder.mkdir(parents=True, exist_ok=True)
    draw, words = random.Random(0), [f"word{i}" for i in range(200)]
    with (folder / "m.csv").open("w") as file:
        file.write("id,a,b,c,colour,title,kind\n")
        for number in range(rows):
            cells = [f"r{number}", *(f"{draw.gauss(0, 1):.4f}" for _ in range(3)), draw.choice("rgb")]
            file.write(",".join([*cells, " ".join(draw.choices(words, k=5)), draw.choice("xyz")]) + "\n")
    (folder / "recipe.yaml").write_text(FACTS.replace("EPOCHS", str(epochs)))


def measure_memory(folder, sizes):
    """Peak RSS of `prepare`, of its workers and of `fit` from the shards, at each size."""
    found = {}
    for rows in sizes:
        source, out = folder / f"facts{rows}", folder / f"shards{rows}"
        shutil.rmtree(out, ignore_errors=True)
        shutil.rmtree(f"{out}_run", ignore_errors=True)
        write_facts(source, rows, 1)
        rate, own, worker = call("import resource\n" + PREPARE + RSS, source, out, CORES)
        began = time.perf_counter()
        (trained,) = call(FIT, source, out)
        found[rows] = {"prepare MB": own, "a worker MB": worker, "fit MB": trained}
        seconds = round(time.perf_counter() - began, 1)
        rounded = {k: round(v) for k, v in found[rows].items()}
        print(json.dumps({"rows": rows, **rounded, "prepare rows/s": round(rate), "fit s": seconds}), flush=True)
    first, last = found[sizes[0]], found[sizes[-1]]
    ratios = {k: round(last[k] / first[k], 3) for k in first}
    print(json.dumps({"ratio": ratios, "wanted": 1.15}))
    label = f"{sizes[-1]:,} rows over {sizes[0]:,}"
    return {f"{k}, {label}": row(ratio, "lower", 1.15) for k, ratio in ratios.items()}, {"MB": found}


def measure_kills(folder, count, rows):
    """Kills `prepare` with SIGKILL at random moments and lets it go on, until `count` kills have been survived."""
    source = folder / f"photos{rows}"
    write_photos(source, rows)
    code = PREPARE.replace("processes=", "shard_rows=64, processes=")
    shutil.rmtree(folder / "whole", ignore_errors=True)
    shutil.rmtree(folder / "out", ignore_errors=True)
    call(code, source, folder / "whole", CORES)
    expected = digests(folder / "whole")
    draw, kills, wholes, moments = random.Random(1), 0, 0, []
    while kills < count or (folder / "out" / ".work").exists():
        if not (folder / "out" / ".work").exists():
            shutil.rmtree(folder / "out", ignore_errors=True)
        command = [sys.executable, "-c", code, source, folder / "out", str(CORES)]
        env = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        run = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=env)
        if kills < count and until_some_shards(run, folder / "out", draw):
            run.send_signal(signal.SIGKILL)
            run.wait()
            kills += 1
            moments.append(len(list((folder / "out").glob("*.tfrecord"))))
            print(json.dumps({"kills": kills, "shards there": moments[-1]}), flush=True)
            continue
        run.wait()
        if run.returncode or digests(folder / "out") != expected:
            raise SystemExit(f"after {kills} kills the shards are others")
        wholes += 1
        print(json.dumps({"kills": kills, "whole and byte-identical": wholes}), flush=True)
    print(json.dumps({"kills": kills, "finished": wholes, "shards there at each kill": moments, "of": len(expected)}))


def until_some_shards(run, out, draw):
    """Waits for a few more shards and a random while; returns whether the program still runs."""
    wanted, began = len(list(out.glob("*.tfrecord"))) + draw.randrange(8), time.perf_counter()
    while run.poll() is None and len(list(out.glob("*.tfrecord"))) < wanted and time.perf_counter() - began < 60:
        time.sleep(0.005)
    time.sleep(draw.uniform(0.0, 0.5))
    return run.poll() is None


def digests(folder):
    """`{file: bytes}` of a folder."""
    return {f.name: f.read_bytes() for f in Path(folder).iterdir() if f.is_file()}


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("files", "memory", "kills"))
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()) / "mm_keras_prepare")
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--count", type=int, default=20)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--out", type=Path, help="write the ratios of files and memory there, as JSON")
    given = parser.parse_args()
    given.folder.mkdir(parents=True, exist_ok=True)
    if given.what == "files":
        measured = measure_files(given.folder, given.rows, given.rounds)
    elif given.what == "memory":
        measured = measure_memory(given.folder, given.sizes)
    else:
        measured = measure_kills(given.folder, given.count, min(given.rows, 3000))
    if given.out and measured:
        write(result(f"prepare {given.what}", measured[0], measured=measured[1]), given.out)

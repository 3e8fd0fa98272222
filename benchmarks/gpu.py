"""Training on a GPU: Keras on JAX, with the encoders and the fusion of mm_keras, against PyTorch by hand.

usage: python benchmarks/gpu.py [--device gpu|cpu] [--dry-run] [--sizes tiny small base] [--batch 256]
                                [--precisions bfloat16 float32] [--backends jax ..] [--limit 450] [--out FILE]

The reference model of image, text, audio and table, at three sizes and in two precisions, each in a process of its own
(so that memory is its own), in which all contenders take turns:

mm_keras            the network that a recipe gives, on batches that lie on the device
mm_keras from host  the same, on NumPy batches in the host's memory; at least 0.9 of the throughput above
torch eager         the same model by hand (`handmade/torch_model.py`), batches on the device
torch.compile       the same, compiled
keras               the same model by hand in Keras (`handmade/keras_model.py`); on the processor, or when named

Measured are the median milliseconds of a step, without the start of `fit` (a call of one step is taken off), samples a
second, the most memory the framework held, MB, and the share of time that the device was busy, percent. No network and
no TensorFlow is needed; where TensorFlow finds a GPU, Keras on TensorFlow runs too. What does not fit in `--limit`
seconds is left out, and named. Without a GPU, `--dry-run` goes through all of it on the processor, with a tiny model
and few steps: its figures say nothing of a GPU.

`--device cpu` measures the same on the processor: Keras on TensorFlow, float32, batches of 32, `tiny` and `small`.
"""

import itertools
import json
import os
import re
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

from measuring import HERE, machine, parser, result, row, write

CELL = HERE / "gpu_cell.py"
# The most telling first: what comes last may no longer fit.
SIZES, PRECISIONS = ("small", "base", "tiny"), ("bfloat16", "float32")
CONTENDERS = ("mm_keras", "mm_keras from host", "torch eager", "torch.compile", "keras")
# Throughput over that of others; a step takes at most 1.02 of one by hand.
GOALS = {"torch.compile": 1.0, "torch eager": 1.0, "keras": 1 / 1.02}
# What is measured unless it is named otherwise.
USUAL = {
    "gpu": {"sizes": SIZES, "precisions": PRECISIONS, "contenders": CONTENDERS[:4], "batch": 256, "seconds": 0.6},
    "cpu": {
        "sizes": ("small", "tiny"),
        "precisions": ("float32",),
        "contenders": ("mm_keras", *CONTENDERS[2:]),
        "batch": 32,
        "seconds": 2.0,
        "backends": ["tensorflow"],
    },
}


def gpus():
    """Returns the names of the GPUs that the driver knows."""
    try:
        done = subprocess.run(
            ["nvidia-smi", "--query-gpu=name", "--format=csv,noheader"], capture_output=True, text=True, timeout=60
        )
    except (OSError, subprocess.TimeoutExpired):
        return []
    return [line.strip() for line in done.stdout.splitlines()] if done.returncode == 0 else []


def backends(is_dry):
    """Returns the backends of Keras to measure: JAX, and TensorFlow where it can use the device."""
    found = ["jax"] if find_spec("jax") else []
    if find_spec("tensorflow") and (not found or (not is_dry and _tensorflow_has_gpu())):
        found.append("tensorflow")
    return found


def _tensorflow_has_gpu():
    code = "import sys, tensorflow as tf; sys.exit(not tf.config.list_physical_devices('GPU'))"
    return subprocess.run([sys.executable, "-c", code], capture_output=True).returncode == 0


def run_cell(settings, seconds, command=None):
    """Runs one cell in a process of its own.

    Args:
        settings: Of `gpu_cell.py`, a dict.
        seconds: Most that it may take.
        command: What runs a cell, given the settings as JSON. Defaults to `gpu_cell.py` under this Python.

    Returns:
        `(what it measured, None)`, or `(None, reason)`.
    """
    command = command or [sys.executable, str(CELL)]
    # JAX would take most of the device's memory at its start, from PyTorch too.
    own = {"KERAS_BACKEND": settings["backend"], "XLA_PYTHON_CLIENT_PREALLOCATE": "false", "TF_CPP_MIN_LOG_LEVEL": "3"}
    own |= {"TF_FORCE_GPU_ALLOW_GROWTH": "true", "PYTHONPATH": os.pathsep.join([str(HERE.parent), *_python_path()])}
    try:
        done = subprocess.run(
            [*command, json.dumps(settings)], capture_output=True, text=True, env=os.environ | own, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return None, f"did not end in {seconds:.0f} s"
    lines = done.stdout.strip().splitlines()
    if done.returncode or not lines:
        return None, (done.stderr.strip().splitlines() or ["no output"])[-1][:300]
    return json.loads(lines[-1]), None


def _python_path():
    return [p for p in os.environ.get("PYTHONPATH", "").split(os.pathsep) if p]


def label_of(settings):
    """Returns a cell's name."""
    backend = "" if settings["backend"] == "jax" else f" on {settings['backend']}"
    return f"{settings['size']} {settings['precision']}{backend}"


def measure(cells, limit, run=run_cell):
    """Measures one cell after the other.

    Args:
        cells: Settings, in order.
        limit: Seconds for all of them. A cell that would not fit, as the longest so far took, is left out.
        run: As `run_cell`.

    Returns:
        `({label: what was measured}, {label: reason it was not})`.
    """
    began, longest, measured, skipped = time.monotonic(), 0.0, {}, {}
    for settings in cells:
        left = limit - (time.monotonic() - began)
        if left <= longest:
            skipped[label_of(settings)] = f"{left:.0f} s were left of {limit:.0f}, and a cell takes {longest:.0f}"
            continue
        start = time.monotonic()
        found, reason = run(settings, left)
        longest = max(longest, time.monotonic() - start)
        if reason is None:
            measured[label_of(settings)] = found
            print(f"{label_of(settings)}: {json.dumps(found['contenders'])}", flush=True)
        else:
            skipped[label_of(settings)] = reason
            print(f"{label_of(settings)}: skipped, {reason}", flush=True)
    return measured, skipped


def ratios_of(measured):
    """Returns the rows, ratios of throughputs, of all cells."""
    rows = {}
    for label, cell in measured.items():
        speed = {name: c["samples_per_second"] for name, c in cell["contenders"].items()}
        if "mm_keras" not in speed:
            continue
        for other, goal in GOALS.items():
            if other in speed:
                rows[f"throughput over {other}, {label}"] = row(speed["mm_keras"] / speed[other], "higher", goal)
        if "mm_keras from host" in speed:
            share = speed["mm_keras from host"] / speed["mm_keras"]
            rows[f"fed from host over synthetic, {label}"] = row(share, "higher", 0.9)
    return rows


def main():
    """Runs the command line above."""
    arguments = parser(__doc__)
    arguments.add_argument("--device", choices=list(USUAL), default="gpu")
    arguments.add_argument("--dry-run", action="store_true", help="a tiny model on the processor")
    arguments.add_argument("--sizes", nargs="+", choices=SIZES)
    arguments.add_argument("--precisions", nargs="+", choices=PRECISIONS)
    arguments.add_argument("--backends", nargs="+", choices=["jax", "tensorflow"])
    arguments.add_argument("--contenders", nargs="+", choices=CONTENDERS)
    arguments.add_argument("--batch", type=int)
    arguments.add_argument("--seconds", type=float, help="of one contender in one round")
    arguments.add_argument("--rounds", type=int, default=7)
    arguments.add_argument("--limit", type=float, default=450.0, help="seconds for all")
    options = arguments.parse_args()
    for name, usual in USUAL[options.device].items():
        if getattr(options, name) is None:
            setattr(options, name, usual)
    devices = gpus() if options.device == "gpu" else [machine()["processor"]]
    if not devices and not options.dry_run:
        raise SystemExit("no GPU was found; --dry-run goes through it all on the processor, --device cpu measures it.")
    if options.dry_run:
        options.device = "cpu"
        options.sizes, options.precisions, options.batch = ["tiny"], ["float32"], 8
        options.rounds, options.seconds = 2, 0.05
    found = options.backends or backends(options.dry_run)
    if not found:
        raise SystemExit("neither JAX nor TensorFlow is installed.")
    cells = [
        {"backend": b, "size": s, "precision": p, "batch": options.batch, "seconds": options.seconds,
         "rounds": options.rounds, "is_dry": options.dry_run, "contenders": options.contenders,
         "device": options.device}
        for b, p, s in itertools.product(found, options.precisions, options.sizes)
    ]  # fmt: skip
    measured, skipped = measure(cells, options.limit)
    device = "no GPU: a dry run on the processor" if options.dry_run else devices[0]
    for label, cell in measured.items():
        skipped |= {f"{name}, {label}": reason for name, reason in cell.pop("skipped").items()}
    made = result("gpu", ratios_of(measured), measured={"device": device, "cells": measured}, skipped=skipped)
    out = options.out
    if out is None and options.device == "gpu":
        slug = re.sub(r"\W+", "_", device).strip("_").lower()
        out = Path(HERE / "results" / f"gpu_{slug}_{made['date']}.json")
    write(made, out)
    if not measured:
        raise SystemExit("nothing was measured.")


if __name__ == "__main__":
    main()

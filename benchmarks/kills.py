"""Training killed with -9 at random moments and resumed, against the same training left alone.

usage: python benchmarks/kills.py [--kills 20] [--epochs 15] [--steps 3] [--inputs scan card] [--deterministic]
                                  [--seed 0] [--out FILE.json]

Inputs of the built-in digits, with augmentation, dropout, modality dropout and batch normalisation. Each
child is killed at a random moment: one in six while it starts, the others a random time after a random step, so
between steps, in validation or while a checkpoint is written. Last line: JSON with whether all weights and the history
are the same bits, the largest difference of a weight, and how many steps each kill lost beyond the interval.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from importlib import metadata
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import mm_keras as mm


class Steps(keras.callbacks.Callback):
    """Writes a line for each step that is done, at once."""

    def __init__(self, path):
        super().__init__()
        self._file, self._epoch = open(path, "ab", buffering=0), 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        self._file.write(f"{self._epoch * self.params['steps'] + batch + 1}\n".encode())


def train(home, name, options):
    """Trains, or goes on, in this process."""
    recipe = mm.load_recipe(home / "digits" / "recipe.yaml")
    inputs = options.pop("inputs")
    recipe = recipe.without(*(name for name in recipe.inputs if name not in inputs))
    recipe = recipe.model_copy(update={"training": mm.Training(**{**dict(recipe.training), **options})})
    data = mm.load(home / "digits" / "manifest.csv", recipe)
    run = mm.fit(recipe, data, home / name, verbose=False, callbacks=[Steps(home / f"{name}.steps")], resume=True)
    np.savez(home / f"{name}.npz", *run.model.get_weights())


def child(home, name, options):
    """Starts a process that trains, or goes on."""
    code = [sys.executable, __file__, "--child", str(home), "--name", name, "--options", json.dumps(options)]
    return subprocess.Popen(code, stderr=(home / f"{name}.err").open("ab"))


def steps_done(home, name):
    """Returns the numbers of the steps that children have done, in the order in which they did them."""
    path = home / f"{name}.steps"
    return [int(line) for line in path.read_text().splitlines() if line] if path.is_file() else []


def kept_step(folder, steps):
    """Returns how many steps the last checkpoint holds."""
    index = folder / "checkpoint" / "checkpoint.json"
    if not index.is_file():
        return 0
    last = json.loads(index.read_text())["kept"][0]
    return last["epoch"] * steps + last["batch"]


def killed(home, options, kills, rng, steps):
    """Trains with kills; returns what each lost."""
    lost, starting, total = [], 0, steps * options["epochs"]
    while len(lost) < kills:
        kept, seen = kept_step(home / "killed", steps), len(steps_done(home, "killed"))
        process, began = child(home, "killed", options), time.monotonic()
        if starting < len(lost) // 5:
            starting += 1
            time.sleep(rng.uniform(0.5, 10.0))
        else:
            # So far that the kills spread over the whole training, however fast this machine is just now.
            wanted = kept + rng.uniform(0.0, 2.0 * (total - kept) / (kills - len(lost) + 1))
            while max(steps_done(home, "killed")[seen:], default=0) <= wanted and process.poll() is None:
                time.sleep(0.005)
            time.sleep(rng.uniform(0.0, 0.3))
        if process.poll() is not None:
            break  # it ended first
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        done = max(steps_done(home, "killed")[seen:], default=kept)
        lost.append(done - kept_step(home / "killed", steps))
        print(f"kill {len(lost)} after {time.monotonic() - began:.1f} s at step {done}, {lost[-1]} lost", flush=True)
    process = child(home, "killed", options)
    if process.wait():
        raise SystemExit((home / "killed.err").read_text()[-3000:])
    return lost


def main():
    """Runs both and compares them."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--steps", type=int, default=3, help="between two checkpoints")
    parser.add_argument("--rows", type=int, default=300)
    parser.add_argument("--inputs", nargs="+", default=["scan", "card"])
    parser.add_argument("--deterministic", action="store_true")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path)
    for hidden in ("--child", "--name", "--options"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        train(Path(args.child), args.name, json.loads(args.options))
        return
    options = {
        "inputs": args.inputs,
        "epochs": args.epochs,
        "checkpoint_steps": args.steps,
        "deterministic": args.deterministic,
    }
    with tempfile.TemporaryDirectory() as home:
        home = Path(home)
        mm.make_digits(home / "digits", rows=args.rows)
        process = child(home, "whole", options)
        if process.wait():
            raise SystemExit((home / "whole.err").read_text()[-3000:])
        steps = len(steps_done(home, "whole")) // args.epochs
        lost = killed(home, options, args.kills, random.Random(args.seed), steps)
        with np.load(home / "whole.npz") as one, np.load(home / "killed.npz") as other:
            apart = [float(np.abs(one[k].astype(np.float64) - other[k]).max(initial=0.0)) for k in one.files]
            same = all(np.array_equal(one[k], other[k]) for k in one.files)
        histories = [(home / name / "history.csv").read_text() for name in ("whole", "killed")]
        found = {
            "kills": len(lost),
            "same_bits": same,
            "same_history": histories[0] == histories[1],
            "largest_difference": max(apart),
            "most_steps_lost": max(lost, default=0),
            "interval_steps": args.steps,
            "steps": steps * args.epochs,
            **options,
            "versions": {p: metadata.version(p) for p in ("tensorflow", "keras")},
        }
    print(json.dumps(found))
    if args.out:
        args.out.write_text(json.dumps(found, indent=1), encoding="utf-8")
    if len(lost) < args.kills or max(lost, default=0) > args.steps or not same:
        raise SystemExit(1)


if __name__ == "__main__":
    main()

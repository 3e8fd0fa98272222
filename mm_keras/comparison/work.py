"""The trainings of a comparison: those that are kept are read, the others run, side by side where cores allow."""

import json
import os
import re
import tempfile
import time
from pathlib import Path

import tensorflow as tf

from mm_keras.comparison.cells import load_cell, train_cell
from mm_keras.data.setting import keep_setting, rows_digest
from mm_keras.exporting.child import Child


def run_cells(candidates, parts, out, exports, jobs, say):
    """Returns `{candidate name: [Cell of each fold]}`, without ensembles, which need no training.

    Args:
        candidates: `Candidate`s.
        parts: The `Data` of each fold.
        out: Folder where cells are kept.
        exports: Whether the first fold's models are exported.
        jobs: Trainings side by side; `None` for one for two cores, and one on a GPU.
        say: Called with a line after each training.

    Raises:
        DataError: When the folder holds another comparison.
    """
    trained = [c for c in candidates if c.recipe is not None]
    place = out / "trainings"
    place.mkdir(parents=True, exist_ok=True)
    paths = {(c.name, f): place / f"{_word(c)}-{f}.npz" for f in range(len(parts)) for c in trained}
    recipes = {c.name: c.recipe for c in trained}
    own = {_word(c): json.loads(c.recipe.model_dump_json()) for c in trained}
    setting = {"recipes": own, "rows": rows_digest(parts), "exports": exports}
    keep_setting(out / "setting.json", setting, "another comparison", grows="recipes")
    left = [key for key, path in paths.items() if not path.is_file()]
    if len(left) < len(paths):
        say(f"{len(paths) - len(left)} of {len(paths)} trainings are kept in {out}")
    jobs = jobs or (1 if tf.config.list_physical_devices("GPU") else max(1, (os.cpu_count() or 1) // 2))
    began, done = time.perf_counter(), 0

    def tell(name, fold, cell):
        nonlocal done
        done += 1
        minutes = (time.perf_counter() - began) / done * (len(left) - done) / 60
        rest = f", about {minutes:.0f} min left" if minutes >= 1 else ""
        at = f"[{len(paths) - len(left) + done}/{len(paths)}]"
        say(f"{at} {name}, fold {fold + 1}: {cell.facts['seconds']:.0f} s{rest}")

    if jobs == 1 or len(left) < 2:
        for name, fold in left:
            tell(name, fold, train_cell(recipes[name], parts[fold], paths[name, fold], exports and fold == 0))
    else:
        _side_by_side(left, recipes, parts, paths, exports, jobs, tell)
    return {c.name: [load_cell(paths[c.name, f]) for f in range(len(parts))] for c in trained}


def _side_by_side(left, recipes, parts, paths, exports, jobs, tell):
    threads, waiting, running = max(1, (os.cpu_count() or 1) // jobs), list(left), {}
    with tempfile.TemporaryDirectory() as scratch:
        try:
            while waiting or running:
                while waiting and len(running) < jobs:
                    name, fold = key = waiting.pop(0)
                    folder = Path(scratch) / str(len(waiting))
                    folder.mkdir()
                    job = {"recipe": recipes[name], "data": parts[fold], "path": paths[key]}
                    job |= {"tried": exports and fold == 0, "threads": threads}
                    running[key] = Child(f"the training of {name}", "mm_keras.comparison.cells", job, folder)
                for key in [k for k, child in running.items() if child.process.poll() is not None]:
                    running.pop(key).wait()
                    tell(*key, load_cell(paths[key]))
                time.sleep(0.2)
        finally:
            for child in running.values():
                child.__exit__()


def _word(candidate):
    return re.sub(r"[^A-Za-z0-9_]+", "-", f"{candidate.role}-{candidate.name}")

"""`mm_keras.prepare`: a manifest and its files -> sharded, checksummed TFRecord."""

import hashlib
import json
import pickle
import shutil
import tempfile
from collections import Counter
from contextlib import ExitStack
from importlib import metadata
from pathlib import Path

import pandas as pd

from mm_keras.data.quarantine import COLUMNS, first_faults
from mm_keras.data.shards.dataset import BAD, FILE, FORMAT, Shards, open_shards
from mm_keras.data.shards.places import open_place
from mm_keras.data.shards.plan import SPLITS, Options, make_plan
from mm_keras.data.shards.records import describe_fields
from mm_keras.data.shards.shard import WORK
from mm_keras.data.shards.source import open_source
from mm_keras.data.shards.workers import Workers, share_cores
from mm_keras.errors import DataError
from mm_keras.recipe import load_recipe
from mm_keras.saving import working_in

PACKAGES = ("mm_keras", "tensorflow", "numpy", "pillow")


def prepare(
    source,
    recipe,
    out,
    *,
    root=None,
    split=(0.8, 0.1, 0.1),
    seed=None,
    max_bad=0.05,
    processes=None,
    shard_rows=1024,
    image_side=None,
    beam=None,
    progress=None,
):
    """Packs a table of examples and all their files into shards, from which `load` and `fit` stream.

    Each row becomes one `tf.train.Example` of raw values (the bytes of its files, texts, numbers), so that recipes with
    other sizes, encoders or augmentation train from the same shards. FLAC, OGG and MP3 become WAV (extra `audio`), MP4
    and AVI the frames that the recipe takes (extra `video`). Bad rows are quarantined for the reasons of `load`; a row
    that the table alone shows to be bad is not looked at further. Numbers, labels too, are stored as float32, in which
    everything is computed.

    Rows are shuffled by the seed into shards, whose content depends on the table, its files, the recipe and the options
    alone: not on the number of processes, nor on kills. A shard counts once it is whole; called again after a kill, the
    rest is made. (A file that was mended meanwhile is looked at again in a new folder only.) Memory holds some rows'
    files for each core and, of each row of the table, about 60 bytes; 130 while splits are drawn, which a column
    `split` saves.

    Args:
        source: A manifest as `load` takes it, or a folder of `split/class/file` or `class/file` for a recipe of one
            input of files and one classification. It may be an address such as `gs://bucket/train.csv` (extra
            `remote`), and paths in it are relative to it.
        recipe: A `Recipe`, or the path of one.
        out: The folder, or an address; refused if it holds other shards.
        root: As in `load`.
        split: As in `load`, and drawn as there, but before any file is opened: a bad file changes no other row's split.
        seed: Of split and order. Defaults to the recipe's.
        max_bad: Share of bad rows above which it fails. Defaults to `0.05`.
        processes: How many share the cores and make shards side by side; 1 is this one alone. Defaults to one for each
            four cores, or, where no input has files, which are what threads can share, one for each.
        shard_rows: Rows in a shard. Defaults to `1024`.
        image_side: Longest side of a picture in pixels; larger ones are shrunk and encoded again, once. Defaults to
            `None`, no change.
        beam: Arguments of an Apache Beam pipeline, such as `["--runner=DirectRunner"]` (extra `beam`), which makes the
            shards in place of processes. Its workers must reach `out` and the files.
        progress: Called as `progress(shards done, shards, rows done)`.

    Returns:
        The `Shards`. Its folder holds the shards, `dataset.json` and `quarantine.csv`.

    Raises:
        DataError: When the table cannot be read, too many rows are bad, a package is absent, or the folder holds shards
            of other rows or options, or is being worked in.
    """
    recipe = load_recipe(recipe)
    if shard_rows < 1 or (image_side is not None and image_side < 1):
        raise ValueError(f"expected positive sizes. Received: shard_rows={shard_rows}, image_side={image_side}")
    seed = recipe.training.seed if seed is None else seed
    options = Options(seed, None if split is None else tuple(split), shard_rows, image_side)
    processes, threads = share_cores(recipe, processes)
    place = open_place(out)
    with ExitStack() as stack:
        if place.is_local:
            stack.enter_context(working_in(out))
        work = _scratch(place, stack)
        workers = None if beam is not None else stack.enter_context(Workers(processes, threads, place))
        plan, bad, count = make_plan(open_source(source, recipe, root), recipe, options, work)
        (work / "plan.pickle").write_bytes(pickle.dumps(plan))
        _claim(place, plan)
        if place.exists(FILE):
            return open_shards(str(place)).verify()
        _check_share(plan.name, bad, count, max_bad)
        made = _make(plan, work, place, workers, beam)
        reports, faults, rows = {}, bad, 0
        for report in made:
            reports[report["file"]], rows = report, rows + report["rows"]
            if report["quarantine"]:
                faults = pd.concat([faults, pd.DataFrame(report["quarantine"], columns=COLUMNS)], ignore_index=True)
                _check_share(plan.name, faults, count, max_bad)
            if progress is not None:
                progress(len(reports), len(plan.shards), rows)
        info = json.loads(json.dumps(_describe(plan, [reports[s[0]] for s in plan.shards], faults, count)))
        if not info["splits"]["train"]["rows"]:
            raise DataError(f"{plan.name}: no good training row is left. First: {first_faults(faults, 3)}")
        faults = faults.sort_values("row", kind="stable")
        place.write(BAD, faults.to_csv(index=False).encode("utf-8", "backslashreplace"))
        place.write(FILE, json.dumps(info, indent=1, ensure_ascii=False).encode())
        place.discard(WORK)
    return Shards(place, info)


def _scratch(place, stack):
    """Returns an empty local folder for the table's rows; of a local place one on its disk, so that shards are renamed.

    It is gone at the end, whatever happens, but for the reports of whole shards in a place that is not yet whole.
    """
    if not place.is_local:
        return Path(stack.enter_context(tempfile.TemporaryDirectory()))
    work = place.path / WORK / "rows"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)

    stack.callback(lambda: shutil.rmtree(work, ignore_errors=True))
    return work


def _claim(place, plan):
    """Writes what the shards are about, or raises when the folder holds others."""
    setting = _setting(plan)
    name = FILE if place.exists(FILE) else f"{WORK}/setting.json"
    if not place.exists(name):
        place.write(name, json.dumps(setting, indent=1).encode())
        return
    with place.open(name) as file:
        before = json.loads(file.read())
    before = {k: before.get(k) for k in setting}
    if differing := sorted(k for k, v in json.loads(json.dumps(setting)).items() if before[k] != v):
        raise DataError(
            f"{place}: holds shards of another kind; these differ: {differing}. Choose another folder, or delete this "
            "one."
        )


def _setting(plan):
    """Returns what decides the content of shards, as `dataset.json` holds it."""
    recipe = {k: v for k, v in plan.recipe.model_dump(mode="json").items() if k in ("inputs", "tasks")}
    options = {k: list(v) if isinstance(v, tuple) else v for k, v in vars(plan.options).items()}
    return {
        "format": FORMAT,
        "rows_sha256": plan.rows_sha256,
        "recipe_sha256": hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest(),
        "options": options,
    }


def _make(plan, work, place, workers, beam):
    numbers = range(len(plan.shards))
    if beam is not None:
        from mm_keras.data.shards.beam import make_on_beam

        return make_on_beam(work, place, numbers, beam)
    return workers.make(work, numbers)


def _check_share(name, faults, count, most):
    bad = faults["row"].nunique()
    if bad > most * count:
        raise DataError(
            f"{name}: {bad} of {count} rows are bad, more than max_bad={most:g} allows. First: {first_faults(faults)}"
        )


def _describe(plan, reports, faults, count):
    """Returns what `dataset.json` holds."""
    splits = {}
    for split in SPLITS:
        own = [r for r in reports if r["split"] == split]
        shards = [{k: r[k] for k in ("file", "rows", "bytes", "sha256")} for r in own]
        splits[split] = {"rows": sum(r["rows"] for r in own), "bytes": sum(r["bytes"] for r in own), "shards": shards}
    reasons = sorted(Counter(faults["reason"]).items(), key=lambda pair: (-pair[1], pair[0]))[:20]
    return {
        **_setting(plan),
        "manifest": {"name": plan.name, "rows": count},
        "recipe": plan.recipe.model_dump(mode="json"),
        "fields": describe_fields(plan.recipe, plan.lengths),
        "classes": plan.classes,
        "vectors": plan.vectors,
        "lengths": plan.lengths,
        "graphs": plan.graphs,
        "splits": splits,
        "quarantine": {"rows": int(faults["row"].nunique()), "file": BAD, "reasons": dict(reasons)},
        "versions": {p: metadata.version(p) for p in PACKAGES},
    }

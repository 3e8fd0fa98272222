"""One shard, from its rows: the transform that every process runs, here and on Beam."""

import json
import os
import pickle
import threading
from functools import partial
from pathlib import Path

import numpy as np
import tensorflow as tf

from mm_keras.data.cells import read_inputs
from mm_keras.data.labels import read_labels
from mm_keras.data.quarantine import Quarantine
from mm_keras.data.shards.files import Files
from mm_keras.data.shards.places import open_place
from mm_keras.data.shards.records import encode_row
from mm_keras.data.shards.spool import Spool
from mm_keras.data.tables import Manifest, as_text
from mm_keras.saving import sha256_of

CHUNK = 256  # rows whose files are in memory together
WORK = ".work"  # of a shards folder: reports of whole shards, and scratch; gone when all are whole


class Maker:
    """Makes shards of a plan.

    Args:
        work: Folder with the plan and the spool.
        out: Where shards go: a path or address.
        parallel: Whether the check of a shard's files may use all cores.

    Threads may share one.
    """

    def __init__(self, work, out, parallel=True):
        self.work = Path(work)
        self.plan = pickle.loads((self.work / "plan.pickle").read_bytes())
        self.out = open_place(out)
        self.order = np.load(self.work / "order.npy", mmap_mode="r")
        self.files = Files(self.plan.recipe, self.plan.options.image_side, parallel)
        # pandas sets warning filters while it makes a frame, and all threads have the same.
        self._framing = threading.Lock()

    def make(self, number):
        """Makes one shard, unless it is there and whole; returns its report, as `dataset.json` holds it."""
        file, split, first, end = self.plan.shards[number]
        if (report := whole_report(self.out, file)) is not None:
            return report
        beside = self.work / f"{file}.{os.getpid()}.part"
        count, faults = 0, []
        spool = Spool(self.work, self.plan.columns, self.plan.dtypes)
        with spool, tf.io.TFRecordWriter(str(beside)) as writer:
            for start in range(first, end, CHUNK):
                records, bad = self._records(spool, self.order[start : min(start + CHUNK, end)])
                faults += bad
                count += len(records)
                for record in records:
                    writer.write(record)
        with beside.open("rb") as written:
            digest = sha256_of(written)
        size = beside.stat().st_size
        report = {"file": file, "split": split, "rows": count, "bytes": size, "sha256": digest, "quarantine": faults}
        self.out.put(beside, file)
        # After the shard: a report tells that its shard is whole.
        told = json.dumps(report, ensure_ascii=False).encode("utf-8", "backslashreplace")
        self.out.write(f"{WORK}/{file}.json", told, last=False)
        return report

    def _records(self, spool, rows):
        """Returns `(list of serialized Examples, list of faults)` of some rows."""
        plan, recipe = self.plan, self.plan.recipe
        rows = [int(r) for r in rows]
        with self._framing:
            table = spool.table(rows)
        numbers = np.array(rows) + 1
        ids = as_text(table["id"]) if "id" in table else np.array([str(n) for n in numbers], dtype=object)
        quarantine = Quarantine(plan.name, ids, numbers)
        manifest = Manifest(plan.name, table, plan.root, quarantine)
        held = {}  # the bytes of files
        check = partial(self.files.check, held)
        cells, _, _ = read_inputs(manifest, recipe.inputs, plan.lengths, plan.graphs, check)
        labels = read_labels(manifest, recipe.tasks)
        groups = as_text(table["group"]) if "group" in table else [""] * len(rows)
        records = []
        for at in np.flatnonzero(~quarantine.bad):
            values = {
                "id": ids[at].encode(errors="backslashreplace"),
                "row": int(numbers[at]),
                "group": groups[at].encode(errors="backslashreplace"),
            }
            for name, own in cells.items():
                if name in held:
                    values[f"input/{name}"] = self.files.cell(name, held[name][at])
                elif isinstance(own, dict):
                    values |= {f"input/{name}/{field}": _value(column[at]) for field, column in own.items()}
                else:
                    values[f"input/{name}"] = _value(own[at])
            for task, own in labels.items():
                values[f"label/{task}"] = _value(own[at])
            records.append(encode_row(values))
        with self._framing:
            bad = quarantine.table()
        return records, [[int(r), *map(str, rest)] for r, *rest in bad.itertuples(index=False)]


def _value(value):
    return value.encode(errors="backslashreplace") if isinstance(value, str) else np.asarray(value, np.float32)


def whole_report(out, file):
    """Returns the report of a shard that is there and is what was written, or `None`."""
    name = f"{WORK}/{file}.json"
    if not out.exists(name) or not out.exists(file):
        return None
    with out.open(name) as held:
        try:
            report = json.loads(held.read())
        except ValueError:  # lost with the power
            return None
    if out.size(file) != report["bytes"]:
        return None
    with out.open(file) as held:
        return report if sha256_of(held) == report["sha256"] else None

"""What `prepare` decides before it opens a file of a row: splits, classes, and which row goes into which shard."""

import hashlib
import math
from array import array
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pandas as pd

from mm_keras.data.graphs import read_graph
from mm_keras.data.labels import find_classes, read_labels
from mm_keras.data.quarantine import Quarantine
from mm_keras.data.shards.spool import Ids, Spool, write_spool
from mm_keras.data.splits import read_splits
from mm_keras.data.tables import Manifest, as_text, column_of
from mm_keras.data.vectors import read_vector, vector_columns
from mm_keras.errors import DataError

SPLITS = ("train", "validation", "test")
CHUNK = 8192  # rows that are parsed at a time


@dataclass(frozen=True)
class Plan:
    """Everything that making a shard takes, but the rows.

    Args:
        name: Of the manifest.
        root: What paths are relative to.
        columns, dtypes: Of the spool.
        recipe: The `Recipe`.
        options: The `Options` of the conversion.
        classes: `{task: class names}`.
        vectors: `{input: columns}` of the vector inputs.
        lengths: `{input: count of features}` of the vector inputs.
        graphs: `{input: graph}` of the entity inputs.
        shards: `[(file name, split, first, end)]`: places in the order of the rows.
        rows_sha256: Digest of the table's cells.
    """

    name: str
    root: Any
    columns: list
    dtypes: dict
    recipe: Any
    options: Any
    classes: dict
    vectors: dict
    lengths: dict
    graphs: dict
    shards: list
    rows_sha256: str


@dataclass(frozen=True)
class Options:
    """What shapes the shards.

    Args:
        seed: Of splits and order.
        split: Shares of train, validation and test.
        shard_rows: Rows in a shard.
        image_side: Longest side of a picture, or `None`.
    """

    seed: int
    split: tuple
    shard_rows: int
    image_side: int | None


def make_plan(source, recipe, options, folder):
    """Reads the table once, and writes its rows and their order into a folder.

    Splits and classes are those of `load`, but for one thing: they are found before any input is looked at, so that a
    file that is bad changes no other row's split.

    Args:
        source: A `Source`.
        recipe: A `Recipe`.
        options: An `Options`.
        folder: An existing folder.

    Returns:
        `(Plan, table of bad rows, number of all rows)`; the table is as `Quarantine.table` gives it.

    Raises:
        DataError: As `load`, of what the table itself tells.
    """
    columns = _columns(source, recipe)
    held = _Held(recipe.tasks, columns)
    digest = held.fill(write_spool(folder, source, columns), source)
    if not held.count:
        raise DataError(f"{source.name}: the table has no rows.")
    with Spool(folder, columns, {c: source.dtypes[c] for c in columns if c in source.dtypes}) as spool:
        quarantine = Quarantine(source.name, Ids(spool))
        held.report(quarantine)
        manifest = Manifest(source.name, held.table(), source.root, quarantine)
        splits = read_splits(manifest, recipe.tasks, held.labels(), options.split, options.seed)
        classes = find_classes(recipe.tasks, held.labels(), splits, quarantine)
        vectors, lengths = _lengths(spool, source, recipe)
        table = quarantine.table()
    graphs = {n: read_graph(n, s, source.root) for n, s in recipe.inputs.items() if s.kind == "entity"}
    order, shards = _order(np.where(quarantine.bad, "", splits), options)
    np.save(folder / "order.npy", order)
    parts = (source.name, source.root, columns, spool.dtypes, recipe, options, classes, vectors, lengths, graphs)
    return Plan(*parts, shards, digest), table, held.count


def _columns(source, recipe):
    """Returns the columns that matter, in the table's order; raises where one is absent."""
    header = pd.DataFrame(columns=source.columns, dtype=object)
    manifest = Manifest(source.name, header, source.root, Quarantine(source.name, []))
    wanted = []
    for name, spec in recipe.inputs.items():
        if spec.kind == "vector":
            names = vector_columns(name, spec, manifest)
        elif spec.kind == "tabular":
            names = list(spec.fields())
        else:
            names = [spec.column or name]
        wanted += [column_of(header, c, f"inputs.{name}", source.name).name for c in names]
    wanted += [column_of(header, s.column or n, f"tasks.{n}", source.name).name for n, s in recipe.tasks.items()]
    kept = {*wanted, "id", "split", "group"}
    return [c for c in source.columns if c in kept]


class _Held:
    """What is kept of every row while the table goes by: a few bytes of it, equal texts once."""

    def __init__(self, tasks, columns):
        self.tasks, self.columns, self.count = tasks, columns, 0
        self.unread, self.label_faults, self.hashes = {}, [], array("Q")
        self._labels = {t: [] for t in tasks}
        self._texts = {c: [] for c in ("split", "group") if c in columns}
        self._known = {}

    def fill(self, rows, source):
        """Takes all rows of `write_spool`; returns its digest."""
        chunk = []
        while True:
            try:
                cells, fault = next(rows)
            except StopIteration as end:
                self._take(chunk, source)
                return end.value
            if fault:
                self.unread[self.count + len(chunk)] = fault
            chunk.append(cells)
            if len(chunk) == CHUNK:
                self._take(chunk, source)
                chunk = []

    def _take(self, chunk, source):
        table = pd.DataFrame(chunk, columns=self.columns, dtype=object)
        for column, values in self._texts.items():
            values.append(self._shared(as_text(table[column])))
        if "id" in self.columns:
            self.hashes.extend(_hash(text) for text in as_text(table["id"]))
        quarantine = Quarantine(source.name, [""] * len(table))
        known = [row - self.count for row in self.unread if row >= self.count]
        quarantine.add(known, "", [""] * len(known), "")
        found = read_labels(Manifest(source.name, table, source.root, quarantine), self.tasks)
        self.label_faults += [(row + self.count, *rest) for row, *rest in quarantine.faults[len(known) :]]
        for task, values in found.items():
            self._labels[task].append(self._shared(values) if values.dtype == object else values)
        self.count += len(table)

    def _shared(self, texts):
        return np.array([self._known.setdefault(t, t) for t in texts], dtype=object)

    def report(self, quarantine):
        """Adds the faults of lines, ids and labels to a `Quarantine`, as `load` names them."""
        quarantine.add(list(self.unread), "", [""] * len(self.unread), list(self.unread.values()))
        if "id" in self.columns:
            # Of 64 bits: two of a hundred million ids are taken for one with a chance of one in 4000.
            hashes, ids = np.frombuffer(self.hashes, np.uint64), quarantine.ids
            none = [int(r) for r in np.flatnonzero(hashes == np.uint64(_hash(""))) if r not in self.unread]
            quarantine.add(none, "id", [""] * len(none), "the id is empty")
            order = np.argsort(hashes, kind="stable")
            again = np.sort(order[1:][hashes[order[1:]] == hashes[order[:-1]]])
            twice = [int(r) for r in again if hashes[r] != np.uint64(_hash(""))]
            quarantine.add(twice, "id", [ids[r] for r in twice], "an earlier row has this id")
        quarantine.faults += self.label_faults

    def labels(self):
        """Returns `{task: array (rows,)}`, as `read_labels`."""
        return {task: np.concatenate(parts) for task, parts in self._labels.items()}

    def table(self):
        """Returns a DataFrame of the columns `split` and `group`, where there are such."""
        parts = {c: pd.Series(np.concatenate(v), dtype=object) for c, v in self._texts.items()}
        return pd.DataFrame(parts, index=range(self.count))


def _hash(text):
    digest = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "little")


def _lengths(spool, source, recipe):
    """Returns `({input: columns}, {input: count of features})` of the vectors; the first good row counts."""
    vectors, lengths = {}, {}
    for name, spec in recipe.inputs.items():
        if spec.kind != "vector":
            continue
        for start in range(0, len(spool), 64):
            table = spool.table(range(start, min(start + 64, len(spool))))
            manifest = Manifest(source.name, table, source.root, Quarantine(source.name, [""] * len(table)))
            vectors[name] = vector_columns(name, spec, manifest)
            try:
                lengths[name] = read_vector(name, spec, manifest, vectors[name], None).shape[-1]
                break
            except DataError:
                if start + 64 >= len(spool):
                    raise
    return vectors, lengths


def _order(splits, options):
    """Returns `(row numbers in the order of the shards, [(file name, split, first, end)])`."""
    order, shards, at = [], [], 0
    for number, split in enumerate(SPLITS):
        rows = np.flatnonzero(splits == split)
        rows = rows[np.random.default_rng([options.seed, number]).permutation(len(rows))]
        count = math.ceil(len(rows) / options.shard_rows)
        # Shards of nearly one size, so that no last one is tiny.
        edges = np.linspace(0, len(rows), count + 1).astype(int) + at if count else [at]
        pairs = pairwise(edges)
        shards += [(f"{split}-{i:05}-of-{count:05}.tfrecord", split, int(a), int(b)) for i, (a, b) in enumerate(pairs)]
        order.append(rows)
        at += len(rows)
    return np.concatenate(order), shards

"""The files of some rows: read once, converted, and proven to be what the graph can decode."""

import os

import numpy as np
import tensorflow as tf

from mm_keras.data.quarantine import decode_fault
from mm_keras.data.shards.convert import convert
from mm_keras.data.shards.places import file_fault, read_bytes
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.guard import PLAIN
from mm_keras.preprocessing.picture import probe_jpeg, probe_picture
from mm_keras.preprocessing.wav import decode_wav


class Files:
    """Reads the files of rows for `read_inputs`, and keeps their bytes.

    Args:
        recipe: A `Recipe`.
        image_side: As in `convert`.
        parallel: Whether decoding may use all cores; else it takes one.
    """

    def __init__(self, recipe, image_side=None, parallel=True):
        self.image_side, self.contents = image_side, {}
        files = {n: s for n, s in recipe.inputs.items() if s.kind in ("image", "audio", "video")}
        self.preprocessors = {n: build_preprocessor(n, s) for n, s in files.items()}
        threads = tf.data.AUTOTUNE if parallel else None
        self._checks = {n: _checker(p, threads) for n, p in self.preprocessors.items()}

    def check(self, key, spec, paths, quarantine):
        """Takes the place of `check_files`: reads, converts and checks; bytes are in `contents[key]`, as the paths."""
        files = paths.reshape(-1)
        contents, faults, looked_at = [b""] * len(files), {}, []
        for at, path in enumerate(files):
            if not path:
                continue
            try:
                contents[at], fresh = self._read(spec, path)
                if fresh:
                    looked_at.append(at)
            except DataError as error:
                faults[at] = str(error)
        bad = [] if not looked_at else self._checks[key]([contents[at] for at in looked_at])
        for at in (looked_at[i] for i in bad):
            faults[at] = decode_fault(self.preprocessors[key], contents[at])
        order = sorted(faults)
        rows = [at * len(paths) // len(files) for at in order]
        quarantine.add(rows, spec.column or key, [files[at] for at in order], [faults[at] for at in order])
        shaped = np.empty(paths.shape, dtype=object)
        for at, content in enumerate(contents):
            shaped.reshape(-1)[at] = content
        self.contents[key] = shaped

    def _read(self, spec, path):
        """Returns `(bytes, whether they are to be checked)`; frames that are made here are a list of bytes."""
        if fault := file_fault(path):
            raise DataError(fault)
        try:
            content = read_bytes(path)
        except OSError as error:
            raise DataError(f"cannot be read: {error.strerror or error}") from None
        if not content:
            raise DataError("the file is empty")
        content = convert(spec, content, self.image_side)
        return content, isinstance(content, bytes)

    def cell(self, key, row, count):
        """Returns what a row's Example holds: bytes, or a list of `count` of them."""
        own = self.contents[key][row]
        if isinstance(own, bytes):
            return own
        parts = []
        for part in own:
            parts += part if isinstance(part, list) else [part]
        if self.preprocessors[key].spec.kind == "video":
            parts = [part for part in parts if part]
        return (parts + [b""] * count)[:count]


def _checker(preprocessor, threads):
    """Returns the function of a list of bytes that gives the numbers of those that cannot be decoded.

    JPEGs are told apart here: a branch in the graph costs a third of what proving a small one does.
    """
    kind, name = preprocessor.spec.kind, preprocessor.name
    if kind == "image":
        jpegs, others = _compiled(probe_jpeg, threads), _compiled(probe_picture, threads)
    elif kind == "audio":
        others = _compiled(lambda content: tf.size(decode_wav(content)[0]), threads)
    else:
        others = _compiled(lambda content: tf.size(preprocessor.decode({name: content[None]})), threads)

    def run(contents):
        bad, groups = [], {True: [], False: []}
        for at, content in enumerate(contents):
            groups[kind == "image" and content[:3] == b"\xff\xd8\xff"].append(at)
        for is_jpeg, rows in groups.items():
            if rows:
                fine = set((jpegs if is_jpeg else others)(tf.constant([contents[at] for at in rows])).numpy().tolist())
                bad += [at for place, at in enumerate(rows) if place not in fine]
        return bad

    return run


def _compiled(probe, threads):
    """Returns the function of strings `(count,)` to the numbers of those that `probe` takes, and -1."""

    @PLAIN
    def numbered(at, content):
        return at, probe(content)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)], autograph=False)
    def check(contents):
        rows = tf.data.Dataset.from_tensor_slices((tf.range(tf.size(contents)), contents))
        rows = rows.map(numbered, num_parallel_calls=threads)
        # One more, so that a batch of bad rows alone is not empty.
        rows = rows.ignore_errors(log_warning=False).concatenate(tf.data.Dataset.from_tensors((-1, 0)))
        return rows.batch(tf.size(contents, tf.int64) + 1).get_single_element()[0]

    return check


def default_processes():
    """Returns how many cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1

"""The files of some rows: read once, converted, and proven to be what the graph can decode."""

import numpy as np
import tensorflow as tf

from mm_keras.data.quarantine import decode_fault
from mm_keras.data.shards.convert import convert
from mm_keras.data.shards.places import file_fault, read_bytes
from mm_keras.errors import DataError
from mm_keras.preprocessing import build_preprocessor
from mm_keras.preprocessing.chain import PLAIN, compiled
from mm_keras.preprocessing.picture import probe_jpeg, probe_jpegs, probe_picture
from mm_keras.preprocessing.wav import decode_wav

TOGETHER = 8  # JPEGs that are proven at once


class Files:
    """Reads the files of rows for `read_inputs`; threads may share one.

    Args:
        recipe: A `Recipe`.
        image_side: As in `convert`.
        parallel: Whether one check may use all cores; else it takes one.
    """

    def __init__(self, recipe, image_side=None, parallel=True):
        self.image_side = image_side
        files = {n: s for n, s in recipe.inputs.items() if s.kind in ("image", "audio", "video")}
        self.preprocessors = {n: build_preprocessor(n, s) for n, s in files.items()}
        threads = tf.data.AUTOTUNE if parallel else None
        self._checks = {n: _checker(p, threads) for n, p in self.preprocessors.items()}

    def check(self, held, key, spec, paths, quarantine):
        """Takes the place of `check_files`: reads, converts and checks; `held[key]` gets the bytes, as the paths."""
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
        held[key] = shaped

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

    def cell(self, key, own):
        """Returns what a row's Example holds of one row of `held[key]`: bytes, or a list of them, blanks at the end."""
        if isinstance(own, bytes):
            return own
        spec, parts = self.preprocessors[key].spec, []
        for part in own:
            parts += part if isinstance(part, list) else [part]
        count = spec.frames if spec.kind == "video" else spec.views
        if spec.kind == "video":
            parts = [part for part in parts if part]
        return (parts + [b""] * count)[:count]


def _checker(preprocessor, threads):
    """Returns the function of a list of bytes that gives the numbers of those that cannot be decoded.

    JPEGs are told apart here: a branch in the graph costs a third of what proving a small one does. Several are proven
    at once, for an element of a dataset costs a fourth of it; of those that fail together, each is looked at alone.
    """
    kind, name = preprocessor.spec.kind, preprocessor.name
    if kind == "image":
        others = _compiled(probe_picture, threads)
        jpeg, jpegs = _compiled(probe_jpeg, threads), _compiled(probe_jpegs, threads, (TOGETHER,))
    elif kind == "audio":
        others = _compiled(lambda content: tf.size(decode_wav(content)[0]), threads)
    else:
        others = _compiled(lambda content: tf.size(preprocessor.decode({name: content[None]})), threads)

    def run(contents):
        rows = {True: [], False: []}
        for at, content in enumerate(contents):
            rows[kind == "image" and content[:3] == b"\xff\xd8\xff"].append(at)
        bad, doubtful = _failing(others, contents, rows[False]), rows[True]
        if doubtful:
            whole = len(doubtful) // TOGETHER * TOGETHER
            doubtful = _failing(jpegs, contents, doubtful[:whole], (TOGETHER,)) + doubtful[whole:]
            bad += _failing(jpeg, contents, doubtful)
        return bad

    return run


def _failing(check, contents, rows, shape=()):
    """Returns those of some rows that a check of `_compiled` does not take."""
    if not rows:
        return []
    asked = tf.constant([contents[at] for at in rows])
    fine = check(tf.reshape(asked, (-1, *shape))).numpy()
    return np.delete(np.reshape(rows, (-1, *shape)), fine[:-1], axis=0).ravel().tolist()


def _compiled(probe, threads, shape=()):
    """Returns the function of strings `(count, *shape)` to the numbers of those that `probe` takes, and -1."""

    @PLAIN
    def numbered(at, content):
        return at, probe(content)

    def check(contents):
        count = tf.shape(contents)[0]
        rows = tf.data.Dataset.from_tensor_slices((tf.range(count), contents))
        rows = rows.map(numbered, num_parallel_calls=threads)
        # One more, so that a batch of bad rows alone is not empty.
        rows = rows.ignore_errors(log_warning=False).concatenate(tf.data.Dataset.from_tensors((-1, 0)))
        return rows.batch(tf.cast(count, tf.int64) + 1).get_single_element()[0]

    return compiled(check, tf.TensorSpec([None, *shape], tf.string))

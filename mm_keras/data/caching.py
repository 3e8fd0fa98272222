"""Decoded files, kept: in memory, or in files that are mapped into it, which hold more than memory does."""

import hashlib
import inspect
import json
import math
import os
import shutil
import tempfile
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import tensorflow as tf

import mm_keras.preprocessing
from mm_keras.errors import DataError

FORMAT = 1


@dataclass(frozen=True)
class Cache:
    """Where decoded files are kept, and how much of them.

    Args:
        most_bytes: Decoded files of a dataset are kept when all together take no more than this; else they are read
            anew in every pass. Defaults to `0`, nothing is kept.
        kind: `"memory"`, `"disk"`, or `"none"`. Defaults to `"memory"`.
        folder: Of a cache on disk, where others with the same files and settings find it again. Defaults to `None`:
            unnamed files of the temporary folder, which are gone with their dataset.
    """

    most_bytes: int = 0
    kind: str = "memory"
    folder: str | None = None


def decoded_bytes(files, count):
    """Returns how many bytes `count` rows take, decoded.

    Args:
        files: `{input: preprocessor}` of those that are decoded row by row.
        count: Rows.
    """
    sizes = (np.dtype(p.packed_dtype).itemsize * math.prod(p.decoded_shape) for p in files.values())
    return count * sum(sizes)


def keep_decoded(files, rows, batches, cache):
    """Decodes all rows once, or finds them decoded.

    Args:
        files: `{input: preprocessor}`.
        rows: The `Rows`.
        batches: Function that gives batches of `(row numbers, {input: packed})` in order, bad rows left out, blank
            rows of number -1 in their place at the end; not called when all is found.
        cache: A `Cache`.

    Returns:
        `(bool (rows,): is it good, {input: packed (rows, ...)})`, tensors; bad rows zeros.

    Raises:
        DataError: When the cache cannot be written.
    """
    if cache.kind == "disk":
        good, kept = _on_disk(files, rows, batches, cache.folder)
        return tf.constant(good), {n: _mapped(v) for n, v in kept.items()}
    kept = {n: np.zeros((len(rows), *p.decoded_shape), p.packed_dtype) for n, p in files.items()}
    good = np.zeros(len(rows), bool)
    for i, decoded in batches().as_numpy_iterator():
        at = i[i >= 0]
        good[at] = True
        for name, values in decoded.items():
            kept[name][at] = values[i >= 0]
    with tf.device("CPU"):  # rows travel to the accelerator a batch at a time
        return tf.constant(good), {n: tf.constant(v) for n, v in kept.items()}


def _on_disk(files, rows, batches, folder):
    try:
        if folder is None:
            with tempfile.TemporaryDirectory(prefix="mm_keras_cache_") as temporary:
                _write(files, len(rows), batches, Path(temporary))
                # What is mapped stays readable without a name, and ends with the process, however that ends.
                return _read(files, len(rows), Path(temporary))
        place = Path(folder) / fingerprint(files, rows)
        if not place.is_dir():
            place.parent.mkdir(parents=True, exist_ok=True)
            partial = Path(tempfile.mkdtemp(prefix=f"{place.name}.part", dir=place.parent))
            try:
                _write(files, len(rows), batches, partial)
                _rename(partial, place)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        return _read(files, len(rows), place)
    except OSError as error:
        where = folder or tempfile.gettempdir()
        raise DataError(f"the cache of decoded files cannot be kept in {where}: {error}") from None


def _rename(partial, place):
    """In one step, so that half a cache is never found; another process may have been quicker."""
    try:
        os.rename(partial, place)
    except OSError:
        if not place.is_dir():
            raise


def fingerprint(files, rows):
    """Returns the hex digest that names a cache: of what is decoded, by which settings and code.

    Args:
        files: `{input: preprocessor}`.
        rows: The `Rows`; of every file the path, the size and the time of its last change count.
    """
    digest = hashlib.sha256(f"{FORMAT} {metadata.version('tensorflow')}".encode())
    home = Path(mm_keras.preprocessing.__file__).parent
    for path in sorted({*home.rglob("*.py"), *(Path(inspect.getfile(type(p))) for p in files.values())}):
        digest.update(path.read_bytes())
    for name, p in files.items():
        told = {"input": name, "shape": p.decoded_shape, "dtype": p.packed_dtype}
        told["spec"] = p.spec.model_dump(mode="json")
        digest.update(json.dumps(told, sort_keys=True).encode())
        for path in rows.cells[name].flat:
            digest.update(_of_file(path).encode())
    return digest.hexdigest()[:32]


def _of_file(path):
    try:
        found = os.stat(path)
    except OSError:  # an absent value has no path; a file that has gone is a bad row
        return f"{path}\n"
    return f"{path} {found.st_size} {found.st_mtime_ns}\n"


def _write(files, count, batches, folder):
    """Writes each input's rows one after the other, and last which rows are good."""
    good, done = np.zeros(count, bool), 0
    # Written, not mapped: a full disk is an error here, and the end of the process there.
    opened = {n: open(folder / f"{n}.bin", "wb") for n in files}
    try:
        for i, decoded in batches().as_numpy_iterator():
            at = i[i >= 0]
            good[at] = True
            upto = int(at.max(initial=done - 1)) + 1
            for name, values in decoded.items():
                _append(opened[name], files[name], upto - done, at - done, values[i >= 0])
            done = upto
        for name, file in opened.items():
            for _ in range(done, count):
                _append(file, files[name], 1, [], None)
    finally:
        for file in opened.values():
            file.close()
    np.save(folder / "good.npy", good)


def _append(file, preprocessor, rows, at, values):
    block = np.zeros((rows, *preprocessor.decoded_shape), preprocessor.packed_dtype)
    if len(at):
        block[at] = values
    file.write(block.data)


def _read(files, count, folder):
    kept = {}
    for name, p in files.items():
        # Copy on write: writable, as DLPack asks, and the file stays as it is.
        kept[name] = np.memmap(folder / f"{name}.bin", p.packed_dtype, "c", shape=(count, *p.decoded_shape))
    return np.load(folder / "good.npy"), kept


def _mapped(array):
    """Returns a tensor on the very memory of an array, of which the system reads what is asked for, and lets it go."""
    return tf.experimental.dlpack.from_dlpack(array.__dlpack__())

"""Draws real rows for the proofs: as a client sends them, and as the model takes them."""

from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from mm_keras.errors import ExportError
from mm_keras.preprocessing.raw import raw_batch

_CHUNK = 32


@dataclass(frozen=True)
class Sample:
    """Some rows of a data set.

    Args:
        raw: `{field: array}` of the first rows, as a client sends them.
        tensors: `{input: array (rows, ...)}`, the model tensors of all of them.
        fine: `{input: bool (rows,)}`; `False` where a value was bad.
        targets: `{task: array (rows,)}` as the task encodes them.
    """

    raw: dict
    tensors: dict
    fine: dict
    targets: dict

    def __len__(self):
        return len(next(iter(self.tensors.values())))


def draw_sample(run, rows, count, raw_count=0, seed=0):
    """Draws up to `count` rows without repetition and preprocesses them on the CPU, as a server does.

    Args:
        run: A `Run`.
        rows: Has `len`, `example(i) -> {field: value}` and `targets(task) -> labels`.
        count: Most rows.
        raw_count: For how many of them the raw values are kept.
        seed: Of the draw.

    Raises:
        ExportError: When there are no rows.
    """
    if not len(rows):
        raise ExportError("an export is proven on real rows. Received: none")
    chosen = np.random.default_rng(seed).permutation(len(rows))[:count]
    kept, tensors, fine = [], [], []
    for start in range(0, len(chosen), _CHUNK):
        raw = raw_batch(run.preprocessors, [rows.example(int(i)) for i in chosen[start : start + _CHUNK]])
        if start < raw_count:
            kept.append({f: v[: raw_count - start] for f, v in raw.items()})
        encoded, ok = encode_raw(run, raw)
        tensors.append(encoded)
        fine.append(ok)
    targets = {name: _targets(name, task, rows, chosen) for name, task in run.tasks.items()}
    return Sample(_join(kept), _join(tensors), _join(fine), targets)


def encode_raw(run, raw):
    """Returns `({input: tensor array}, {input: ok})` of a raw batch, computed on the CPU as a server does."""
    with tf.device("/CPU:0"):
        tensors, fine = run.preprocess({f: tf.convert_to_tensor(v) for f, v in raw.items()})
    return {n: t.numpy() for n, t in tensors.items()}, {n: ok.numpy() for n, ok in fine.items()}


def _targets(name, task, rows, chosen):
    labels = rows.targets(name)
    return task.encode([labels[i] for i in chosen])


def _join(parts):
    return {k: np.concatenate([p[k] for p in parts]) for k in parts[0]} if parts else {}


def calibration_tensors(tensors, sequences=(), seed=0):
    """Returns model tensors for int8 calibration: the rows as they are, some again with blanks, some at full length.

    One of each four comes again with inputs blanked. Without them the learned embeddings of missing inputs would lie
    outside the calibrated ranges, and the length of an empty sequence would be divided by. So each input is once at
    least blank alone, and once given alone, however few rows there are.

    As many as one of each eight come again with sequences repeated up to their full length, each of a row that holds
    one. A loop over steps that is written out has ranges of its own at each step: where no row is as long, they would
    be those of zeros, which cut off whatever a longer sequence brings, and which XNNPACK does not run.

    Args:
        tensors: `{input: array (rows, ...)}`.
        sequences: Inputs whose axis 1 holds steps, zero from where the sequence ends.
        seed: Of the choice of blanked inputs; one input at least is kept.
    """
    names, rng = sorted(tensors), np.random.default_rng(seed)
    rows = len(tensors[names[0]])
    count = max(-(-rows // 4), 2 * len(names))
    given = rng.random((count, len(names))) < 0.5
    given[np.arange(count), rng.integers(len(names), size=count)] = True
    each = np.eye(len(names), dtype=bool)
    if len(names) > 1:
        given[: 2 * len(names)] = np.concatenate([~each, each])
    again = 4 * np.arange(count) % rows
    found = {}
    for name, kept in zip(names, given.T, strict=True):
        values = tensors[name]
        whole = values[::8]
        if name in sequences:
            whole = _at_full_length(values, len(whole))
        found[name] = np.concatenate([values, values[again], whole])
        found[name][rows : rows + count][~kept] = 0
    return found


def _at_full_length(values, count):
    """Returns `count` of the sequences that are not empty, the steps that hold anything repeated to the end."""
    held = values.reshape(*values.shape[:2], -1).any(axis=2)
    rows = np.flatnonzero(held.any(axis=1))
    if not len(rows):
        return values[:count]
    rows = rows[np.linspace(0, len(rows) - 1, count).astype(int)]
    return np.stack([values[row, np.resize(np.flatnonzero(held[row]), values.shape[1])] for row in rows])

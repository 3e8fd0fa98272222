"""One pass over the rows: what a model answers to them as they are, worse, and without each input."""

import time

import numpy as np
import tensorflow as tf

from mm_keras.corrupting.corruptions import corrupt, corruptions_of, open_value
from mm_keras.errors import DataError
from mm_keras.preprocessing.raw import preprocess, raw_batch

BLOCK_ROWS = 32  # in memory at a time, files and pixels and all
CLEAN, GONE = "clean", "missing"


def collect_answers(models, rows, task, inputs, seed, say):
    """Asks models about rows whose inputs get worse one at a time, the others as they are.

    Each row is read, decoded and encoded once; then its one worse input is encoded anew, by the preprocessing that is
    served. A value that this refuses counts as missing, as when served.

    Args:
        models: `{name: Run}`; the first one's preprocessors say what is corrupted and how; the inputs of the others
            are among its own.
        rows: A `Rows`.
        task: Name of the task.
        inputs: Names of the inputs that get worse.
        seed: Of what is drawn.
        say: Function of one line of progress.

    Returns:
        `({name: {key: answers (n, ...)}}, positions (n,) of the rows)`: of the keys `(CLEAN,)`, `(input, GONE)` and
        `(input, corruption, step)`, the steps from 0. A row whose files cannot be read any more is left out.

    Raises:
        DataError: When none can.
    """
    first = next(iter(models.values()))
    askers = {name: _Asker(run, task) for name, run in models.items()}
    found, kept, began = {name: {} for name in models}, [], time.perf_counter()
    for start in range(0, len(rows), BLOCK_ROWS):
        at, raw, tensors = _read(first, rows, range(start, min(start + BLOCK_ROWS, len(rows))))
        if len(at):
            kept.append(at)
            for asker in askers.values():
                asker.clean = tensors if asker.run is first else asker.encoded(raw)
            for name, key, answers in _ask_block(first, askers, raw, rows.ids[at], inputs, seed):
                found[name].setdefault(key, []).append(answers)
        done = min(start + BLOCK_ROWS, len(rows))
        left = (time.perf_counter() - began) / done * (len(rows) - done)
        say(f"robustness: {done} of {len(rows)} rows" + (f", about {left:.0f} s to go" if left else ""))
    if not kept:
        raise DataError("no row can be scored: their files can no longer be read.")
    joined = {name: {k: np.concatenate(parts) for k, parts in by_key.items()} for name, by_key in found.items()}
    return joined, np.concatenate(kept)


class _Asker:
    """A model that holds a block of clean tensors, and is asked about it with one of them exchanged."""

    def __init__(self, run, task):
        self.run, self.task, self.clean = run, task, {}
        self.encoders = {}

    def encoded(self, raw):
        fields = [f for p in self.run.preprocessors.values() for f in p.raw_specs]
        return self.run.preprocess({f: tf.convert_to_tensor(raw[f]) for f in fields})[0]

    def ask(self, exchanged):
        return self.run.forward(self.clean | exchanged)[self.task].numpy()

    def without(self, name):
        # Zeros are the blank value of every model tensor.
        return self.ask({name: tf.zeros_like(self.clean[name])})

    def encoded_alone(self, name, raw):
        if name not in self.encoders:
            own = {name: self.run.preprocessors[name]}
            self.encoders[name] = tf.function(
                lambda raw: preprocess(own, raw)[0][name], autograph=False, reduce_retracing=True
            )
        return self.encoders[name]({f: tf.convert_to_tensor(v) for f, v in raw.items()})


def _read(run, rows, numbers):
    """Returns positions `(n,)`, raw values and model tensors of the rows that can be read and decoded."""
    at, parts = [], []
    for number in numbers:
        try:
            parts.append(raw_batch(run.preprocessors, [rows.example(number)]))
            at.append(number)
        except DataError:  # the file is gone since it was checked
            continue
    if not at:
        return np.array([], int), {}, {}
    raw = {f: np.concatenate([part[f] for part in parts]) for f in parts[0]}
    tensors, fine = run.preprocess({f: tf.convert_to_tensor(v) for f, v in raw.items()})
    good = np.all([ok.numpy() for ok in fine.values()], axis=0)
    own = {n: tf.boolean_mask(t, good) for n, t in tensors.items()}
    return np.array(at)[good], {f: v[good] for f, v in raw.items()}, own


def _ask_block(first, askers, raw, ids, inputs, seed):
    """Yields `(name of the model, key, answers (n, ...))`."""
    for name, asker in askers.items():
        yield name, (CLEAN,), asker.ask({})
    for key in inputs:
        p = first.preprocessors[key]
        own = {name: asker for name, asker in askers.items() if key in asker.run.preprocessors}
        for name, asker in own.items():
            yield name, (key, GONE), asker.without(key)
        values = [open_value(p, {f: raw[f][i] for f in p.raw_specs}) for i in range(len(ids))]
        for corruption in corruptions_of(p):
            for step, severity in enumerate(corruption.severities):
                worse = corrupt(p, corruption, values, ids, severity, seed)
                for name, asker in own.items():
                    yield name, (key, corruption.name, step), asker.ask({key: asker.encoded_alone(key, worse)})

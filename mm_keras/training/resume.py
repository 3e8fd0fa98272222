"""A training that is stopped anywhere and goes on as if it never was: what its state is, and when it is kept."""

import hashlib
import json
import time

import keras
import numpy as np

from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.errors import DataError, Interrupted
from mm_keras.training.run import how_to_go_on

# Settings that change no weight; they may be others when a training goes on.
FREE = ("cache", "cache_folder", "cache_gb", "checkpoint_steps", "checkpoint_minutes")
FILES = ("image", "audio", "video")


class Keeper(keras.callbacks.Callback):
    """Writes checkpoints, and ends a training that is asked to stop.

    One is written before the first step, at the end of every epoch, and within epochs by steps or by minutes. It holds
    all variables of the network (the states of its random draws too), of the optimizer (its loss scale too), of the
    balances, in the middle of an epoch of the metrics; the history; and what each callback with `get_state` and
    `set_state` gives. The order of the rows needs no state: it hangs on seed and epoch alone.

    Stands last among the callbacks, when all others are done with a batch or an epoch.

    Args:
        checkpoints: The `Checkpoints`.
        facts: What tells this training from others, as `facts_of` returns it.
        request: A `StopRequest`.
        training: The `recipe.Training`, which says how often one is written within an epoch.
        state: What `Checkpoints.load` returned, to go on from there; `None` begins. Defaults to `None`.

    Attributes:
        start: `(epoch, batch)` of the next batch.
    """

    def __init__(self, checkpoints, facts, request, training, state=None):
        super().__init__()
        self.checkpoints, self.facts, self.request = checkpoints, facts, request
        self.every_steps, self.every_seconds = training.checkpoint_steps, 60.0 * training.checkpoint_minutes
        self._state, self._watched, self._epoch = state, {}, 0
        self._written_step, self._written_at, self._began = 0, time.monotonic(), time.monotonic()
        self.start = (0, 0) if state is None else (state["epoch"], state["batch"])
        self._seconds = 0.0 if state is None else state["seconds"]

    @property
    def is_over(self):
        """Whether the epochs were over when the state was kept; only what comes after them is left."""
        return self._state is not None and self._state["is_over"]

    def take(self, network, callbacks):
        """Brings back the state, if there is one; called once all variables are there, before training begins.

        Raises:
            DataError: When the network or the callbacks are not those that the state is of.
        """
        self.set_model(network)
        self._watched = _named([c for c in callbacks if hasattr(c, "get_state")])
        if self._state is None:
            return
        if set(self._state["callbacks"]) != set(self._watched):
            raise DataError(
                f"{self.checkpoints.folder}: was written with other callbacks. Expected those with a state: "
                f"{sorted(self._state['callbacks'])}. Received: {sorted(self._watched)}"
            )
        for room, variables in self._rooms().items():
            self._assign(room, variables)
        for name, callback in self._watched.items():
            callback.set_state(self._state["callbacks"][name])

    def _rooms(self):
        balances = getattr(self.model, "balance_variables", list)
        return {"network": self.model.variables, "optimizer": self.model.optimizer.variables, "balances": balances()}

    def _metrics(self):
        return [v for metric in self.model.metrics for v in metric.variables]

    def _assign(self, room, variables):
        values = self._state[room]
        shapes = [tuple(v.shape) for v in variables]
        if (kept := [v.shape for v in values]) != shapes:
            raise DataError(
                f"{self.checkpoints.folder}: was written of another network. Of {room} it has {len(kept)} variables, "
                f"this one {len(shapes)}, and their shapes differ."
            )
        for variable, value in zip(variables, values, strict=True):
            variable.assign(value)

    def on_train_begin(self, logs=None):
        if self._state is None:
            self._save((0, 0), False)

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch = epoch
        if self._state is not None and self._state["batch"] and epoch == self._state["epoch"]:
            self._assign("metrics", self._metrics())  # Keras has just set them back
        self._written_step = self.start[1] if epoch == self.start[0] else 0

    def on_train_batch_end(self, batch, logs=None):
        done = batch + 1
        if done >= self.params["steps"]:
            return  # the end of the epoch comes now
        is_due = self.every_steps and done - self._written_step >= self.every_steps
        is_due = is_due or (self.every_seconds and time.monotonic() - self._written_at >= self.every_seconds)
        if is_due or self.request.name:
            self._save((self._epoch, done), False)
        if self.request.name:
            self._stop(f"in epoch {self._epoch + 1}, after batch {done} of {self.params['steps']}")

    def on_epoch_end(self, epoch, logs=None):
        is_over = self.model.stop_training or epoch + 1 == self.params["epochs"]
        self._save((epoch + 1, 0), is_over)
        if self.request.name:
            self._stop(f"after epoch {epoch + 1}")

    def _stop(self, where):
        raise Interrupted(
            f"{self.checkpoints.folder.parent}: stopped by {self.request.name} {where}, of {self.params['epochs']} "
            f"epochs. {how_to_go_on(self.checkpoints.folder.parent)}"
        )

    def _save(self, place, is_over):
        state = {
            "epoch": place[0],
            "batch": place[1],
            "is_over": bool(is_over),
            "seconds": self._seconds + time.monotonic() - self._began,
            "callbacks": {name: callback.get_state() for name, callback in self._watched.items()},
            "metrics": _values(self._metrics()) if place[1] else [],
        }
        state |= {room: _values(variables) for room, variables in self._rooms().items()}
        self.checkpoints.save(state, place, self.facts)
        self._written_step, self._written_at = place[1], time.monotonic()


def _named(callbacks):
    """Returns `{name: callback}`: the class, and its number among those of one class."""
    classes = [type(c).__name__ for c in callbacks]
    return {
        f"{name} {classes[:at].count(name) + 1}": c for at, (name, c) in enumerate(zip(classes, callbacks, strict=True))
    }


def _values(variables):
    return [keras.ops.convert_to_numpy(v) for v in variables]


def facts_of(recipe, rows):
    """Returns what tells a training from others: the recipe, and a digest of the rows."""
    return {"recipe": json.loads(recipe.model_dump_json()), "rows": len(rows), "digest": rows_digest(recipe, rows)}


def check_same(folder, index, facts):
    """Raises when checkpoints are of another recipe or of other data.

    Args:
        folder: The run folder.
        index: Of its `Checkpoints`.
        facts: As `facts_of` returns them.

    Raises:
        DataError: With what differs.
    """
    anew = "Give what it was begun with, or delete the folder to train anew."
    if places := _differing(index["recipe"], facts["recipe"]):
        told = [f"{place}: {old!r} -> {new!r}" for place, old, new in places[:3]]
        raise DataError(f"{folder}: was begun with another recipe ({'; '.join(told)}). {anew}")
    if index["digest"] != facts["digest"]:
        raise DataError(f"{folder}: was begun with other data, {index['rows']} rows; here {facts['rows']}. {anew}")


def _differing(old, new, place=""):
    """Returns `[(dotted place, old value, new value)]`; `old` and `new` are recipes as JSON."""
    if isinstance(old, dict) and isinstance(new, dict):
        names = [n for n in {**old, **new} if not (place == "training" and n in FREE)]
        dot = f"{place}." if place else ""
        return [found for n in names for found in _differing(old.get(n), new.get(n), f"{dot}{n}")]
    return [] if old == new else [(place, old, new)]


def rows_digest(recipe, rows):
    """Returns a SHA-256 of ids, splits, sources, labels and cells; of files the names without their folders.

    Rows that stay in shards, which nothing here holds, have had theirs since they were prepared.
    """
    if isinstance(rows, ShardedRows):
        return rows.digest
    found = hashlib.sha256()

    def add(name, values):
        values = np.asarray(values)
        found.update(f"{name} {values.shape}\n".encode())
        if values.dtype == object or values.dtype.kind == "U":
            found.update("\x1f".join(map(str, values.ravel())).encode("utf-8", "surrogatepass"))
        else:
            found.update(np.ascontiguousarray(values).tobytes())

    add("ids", rows.ids)
    add("splits", rows.splits)
    if rows.sources is not None:
        add("sources", rows.sources)
        add("shares", [f"{name} {share:.12g}" for name, share in sorted(rows.shares.items())])
    for task in sorted(rows.labels):
        add(task, rows.labels[task])
    for name in sorted(rows.cells):
        cell = rows.cells[name]
        is_file = recipe.inputs[name].kind in FILES
        for key, values in sorted(cell.items()) if isinstance(cell, dict) else [("", cell)]:
            if is_file:
                values = np.array([str(v).rpartition("/")[2] for v in values.ravel()], dtype=object)
            add(f"{name} {key}", values)
    return found.hexdigest()

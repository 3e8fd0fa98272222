"""What ends a training whose loss is no number, and leaves the batch that did it."""

import keras
import numpy as np

ADVICE = "Lower `training.learning_rate` or use float32."
SHOWN = 8


class StopOnNaN(keras.callbacks.Callback):
    """Ends a training whose loss is no number, at the batch where it first was none.

    Args:
        tell: Called with the epoch and the `range` of its batches among which it is; returns a text for the message.
            Of `steps_per_execution` batches the last one's losses alone are seen. `None` tells nothing.
    """

    def __init__(self, tell=None):
        super().__init__()
        self.tell, self._epoch, self._next = tell, 0, 0

    def on_epoch_begin(self, epoch, logs=None):
        self._epoch, self._next = epoch, None

    def on_train_batch_begin(self, batch, logs=None):
        self._next = batch

    def on_train_batch_end(self, batch, logs=None):
        if not np.isfinite(logs.get("loss", 0.0)):
            batches = range(self._next, min(batch + 1, self.params["steps"]))
            losses = sorted(k for k, v in logs.items() if k.endswith("_loss") and not np.isfinite(v))
            place = f"epoch {self._epoch + 1}, batch {batches.start + 1}"
            place += f" to {batches.stop}" if len(batches) > 1 else ""
            of = f" (of {', '.join(losses)})" if losses else ""
            told = "" if self.tell is None else f" {self.tell(self._epoch, batches)}"
            raise FloatingPointError(f"the loss is {logs['loss']} in {place}{of}.{told} {ADVICE}")

    def on_epoch_end(self, epoch, logs=None):
        for name in ("loss", "val_loss"):
            if not np.isfinite(logs.get(name, 0.0)):
                raise FloatingPointError(f"the {name} is {logs[name]} in epoch {epoch + 1}. {ADVICE}")


def write_batches(folder, batches, rows):
    """Writes batches as they were trained on, and says what in them is no number.

    Args:
        folder: Where `nan_batch.npz` is written: `input/<input>`, `target/<head>` and `weight/<head>` `(rows, ...)`,
            `row`, the numbers of the rows in the table, and `id`. Pixels that travel as bytes are uint8.
        batches: `((tensors, targets, weights), positions in `rows`, -1 a file that has gone bad)`, arrays.
        rows: The training `Rows`.

    Returns:
        A text that names the file, the rows, and what is not finite in which of them.
    """
    parts, positions = [], []
    for (tensors, targets, weights), at in batches:
        rooms = {"input": tensors, "target": targets, "weight": weights}
        parts.append({f"{room}/{name}": v for room, values in rooms.items() for name, v in values.items()})
        positions.append(at)
    arrays = {key: np.concatenate([np.asarray(part[key]) for part in parts]) for key in parts[0]}
    at = np.concatenate(positions)
    ids = np.where(at >= 0, np.asarray(rows.ids)[at], "").astype(str)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "nan_batch.npz"
    np.savez(path, **arrays, id=ids, row=np.where(at >= 0, np.asarray(rows.numbers)[at], -1))
    faults = []
    for key, values in arrays.items():
        if values.dtype.kind == "f":
            bad = ~np.isfinite(values).reshape(len(values), -1).all(axis=1)
            if bad.any():
                faults.append(f"{key.replace('/', ' ')!r} in the rows {_shown(ids[bad])}")
    found = f"not finite: {'; '.join(faults)}." if faults else "all its inputs, targets and weights are finite."
    return f"{path} holds the rows {_shown(ids)}; {found}"


def _shown(ids):
    more = f" and {len(ids) - SHOWN} more" if len(ids) > SHOWN else ""
    return f"{', '.join(ids[:SHOWN])}{more}"

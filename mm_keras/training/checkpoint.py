"""Checkpoints of a training on disk: whole or absent whenever the process dies, and checked when they are read."""

import json
import zipfile
from pathlib import Path

import numpy as np

from mm_keras.errors import DataError
from mm_keras.saving import sha256_of, write_whole

# Counted up when a checkpoint that an older mm_keras wrote can no longer be gone on from.
FORMAT = 1
# The last one and the one before it, should the disk have spoilt the last.
KEPT = 2


class Checkpoints:
    """The checkpoints of one training, in a folder of their own.

    A state is a dict of numbers, texts, `None`, NumPy arrays, and lists and dicts of these. Each is written to a file
    beside the others, brought to the disk, and only then named in `checkpoint.json`, which is replaced in one step. So
    a kill at any moment leaves the last one that was whole.

    Args:
        folder: Made at the first `save`.
    """

    def __init__(self, folder):
        self.folder = Path(folder)

    @property
    def index(self):
        """What `checkpoint.json` says, or `None` when there is no checkpoint."""
        path = self.folder / "checkpoint.json"
        return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else None

    def save(self, state, place, facts):
        """Writes a checkpoint and forgets all but the one before it.

        Args:
            state: The state.
            place: `(epoch, batch)`, both counted from 0: what is trained on next.
            facts: What the index says of the whole training, a dict for JSON.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        before = self.index or {"kept": [], "count": 0}
        count = before["count"] + 1
        name = f"{count:06d}.npz"  # new each time: no file that is named may change
        epoch, batch = place
        path = self.folder / name
        write_state(path, state)
        with path.open("rb") as file:
            entry = {"file": name, "sha256": sha256_of(file), "epoch": epoch, "batch": batch}
        kept = [entry, *before["kept"]][:KEPT]
        text = json.dumps({"format": FORMAT, "count": count, **facts, "kept": kept}, indent=1)
        write_whole(self.folder / "checkpoint.json", lambda file: file.write(text.encode()))
        names = {"checkpoint.json", *(entry["file"] for entry in kept)}
        for file in self.folder.iterdir():
            if file.name not in names:
                file.unlink(missing_ok=True)

    def load(self, say=print):
        """Returns the last state whose file is as it was written.

        Args:
            say: Called with a line for each that is not.

        Raises:
            DataError: When none is, or another version of mm_keras wrote them.
        """
        index = self.index
        if index.get("format") != FORMAT:
            raise DataError(
                f"{self.folder}: checkpoints of format {index.get('format')}; this mm_keras goes on from format "
                f"{FORMAT}. Delete the run folder and train anew, or take the mm_keras that wrote them."
            )
        for entry in index["kept"]:
            path = self.folder / entry["file"]
            if path.is_file():
                with path.open("rb") as file:
                    is_whole = sha256_of(file) == entry["sha256"]
                if is_whole:
                    return read_state(path)
            say(f"{path}: this checkpoint is spoilt or gone; trying the one before it")
        raise DataError(f"{self.folder}: no checkpoint can be read. Delete the run folder and train anew.")

    def remove(self):
        """Deletes all checkpoints; the index first, so that no half of them is taken for one."""
        if self.folder.is_dir():
            (self.folder / "checkpoint.json").unlink(missing_ok=True)
            for file in self.folder.iterdir():
                file.unlink()
            self.folder.rmdir()


def write_state(path, state):
    """Writes a state as one `.npz`, arrays as they are and the rest as JSON, in one step."""
    arrays = {}
    text = json.dumps(_without_arrays(state, arrays))

    def write(file):
        with zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive:
            for name, array in {"state": np.array(text), **arrays}.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                    np.lib.format.write_array(member, array, allow_pickle=False)

    write_whole(path, write)


def read_state(path):
    """Returns the state that `write_state` wrote."""
    with np.load(path, allow_pickle=False) as file:
        return _with_arrays(json.loads(str(file["state"])), file)


def _without_arrays(part, arrays):
    """Returns a part of a state for JSON; its arrays are put into `arrays`, by names that stand in their places."""
    if isinstance(part, np.ndarray):
        name = f"array_{len(arrays)}"
        arrays[name] = part
        return {"$array": name}
    if isinstance(part, dict):
        return {str(key): _without_arrays(value, arrays) for key, value in part.items()}
    if isinstance(part, list | tuple):
        return [_without_arrays(value, arrays) for value in part]
    return part.item() if isinstance(part, np.generic) else part


def _with_arrays(part, file):
    if isinstance(part, dict):
        if set(part) == {"$array"}:
            return file[part["$array"]]
        return {key: _with_arrays(value, file) for key, value in part.items()}
    return [_with_arrays(value, file) for value in part] if isinstance(part, list) else part

"""What work that is kept in a folder is about, so that only the same work goes on there."""

import hashlib
import json

from mm_keras.data.shards.sharded import ShardedRows
from mm_keras.errors import DataError


def rows_digest(parts):
    """Returns a hex digest of the rows of some data: ids, splits and labels; of shards their own digest, and splits.

    Args:
        parts: `Data`s.
    """
    digest = hashlib.sha256()
    for data in parts:
        if isinstance(data.rows, ShardedRows):
            digest.update(data.rows.digest.encode())
            continue
        for row in zip(data.rows.ids, data.rows.splits, *data.rows.labels.values(), strict=True):
            digest.update(repr([str(v) for v in row]).encode())
    return digest.hexdigest()


def keep_setting(path, setting, what, grows=None):
    """Writes what a folder's work is about, or raises when the folder holds other work.

    Args:
        path: The JSON file, a `pathlib.Path`; its folder exists.
        setting: A dict of what JSON holds.
        what: What the folder holds instead, as the error calls it: `"another comparison"`.
        grows: Key of a dict that may get more entries, or lack some, from one time to the next.

    Raises:
        DataError: With the keys that differ.
    """
    setting = json.loads(json.dumps(setting))
    if path.is_file():
        before = json.loads(path.read_text(encoding="utf-8"))
        differing = [k for k in before | setting if k != grows and before.get(k) != setting.get(k)]
        if grows:
            old, new = before[grows], setting[grows]
            differing += [f"{grows}.{k}" for k in old.keys() & new.keys() if old[k] != new[k]]
            setting[grows] = old | new
        if differing:
            raise DataError(
                f"{path.parent}: holds {what}; these differ: {sorted(differing)}. Choose another folder, or delete "
                "this one."
            )
    path.write_text(json.dumps(setting, indent=1), encoding="utf-8")

"""A shards folder as its `dataset.json` describes it, read and verified without TensorFlow."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from mm_keras.data.shards.places import is_address, open_place
from mm_keras.errors import DataError
from mm_keras.saving import sha256_of

FORMAT = 1
FILE, BAD = "dataset.json", "quarantine.csv"


@dataclass(frozen=True)
class Shards:
    """A whole shards folder.

    Args:
        place: Where it lies, a `LocalPlace` or `RemotePlace`.
        info: What `dataset.json` holds: `format`, `manifest` (name, rows, `sha256` of the cells), `recipe` and
            `recipe_sha256`, `options`, `fields` (of each Example), `classes`, `vectors` and `lengths`, `graphs`,
            `splits` (rows, bytes, and of each shard `file`, `rows`, `bytes` and `sha256`), `quarantine` (rows, reasons)
            and `versions`.
    """

    place: Any
    info: dict

    @property
    def rows(self):
        """`{split: number of rows}`."""
        return {split: own["rows"] for split, own in self.info["splits"].items()}

    @property
    def files(self):
        """The `{"file", "rows", "bytes", "sha256"}` of every shard."""
        return [shard for own in self.info["splits"].values() for shard in own["shards"]]

    def quarantine(self):
        """Returns the DataFrame of bad rows: row, id, column, value, reason."""
        with self.place.open(BAD) as file:
            table = pd.read_csv(file, keep_default_na=False, dtype={"id": str, "value": str})
        return table

    def sizes_fault(self):
        """Returns what is wrong with the sizes of the shards, or an empty text."""
        for shard in self.files:
            name, size = shard["file"], shard["bytes"]
            if not self.place.exists(name):
                return f"{self.place.location(name)}: the shard is gone."
            if (found := self.place.size(name)) != size:
                return f"{self.place.location(name)}: the shard has {found} bytes, not the {size} that were written."
        return ""

    def verify(self):
        """Reads every shard, and raises where one is not what was written.

        Returns:
            `self`.

        Raises:
            DataError: With the shard's file.
        """
        if fault := self.sizes_fault():
            raise DataError(f"{fault} Prepare it again.")
        for shard in self.files:
            with self.place.open(shard["file"]) as file:
                if sha256_of(file) != shard["sha256"]:
                    raise DataError(
                        f"{self.place.location(shard['file'])}: the shard is corrupt: its checksum is not that of "
                        "what was written. Delete it and dataset.json, and prepare it again."
                    )
        return self

    def __repr__(self):
        counts = ", ".join(f"{split}={n}" for split, n in self.rows.items())
        bad = self.info["quarantine"]["rows"]
        return f"Shards({str(self.place)!r}, {counts}, shards={len(self.files)}, quarantined={bad})"


def is_shards(source):
    """Whether something is the path or address of a shards folder."""
    if is_address(source):
        return "." not in source.rpartition("/")[2] and open_place(source).exists(FILE)
    return isinstance(source, str | Path) and (Path(source) / FILE).is_file()


def open_shards(source):
    """Returns the `Shards` of a folder.

    Raises:
        DataError: When it is none, or a newer mm_keras wrote it.
    """
    place = open_place(source)
    if not place.exists(FILE):
        raise DataError(f"{place}: not a shards folder; it holds no {FILE}. `mm-keras prepare` makes one.")
    with place.open(FILE) as file:
        info = json.loads(file.read())
    if info["format"] != FORMAT:
        raise DataError(
            f"{place}: shards of format {info['format']}, written by mm_keras {info['versions']['mm_keras']}; this one "
            f"reads format {FORMAT}."
        )
    return Shards(place, info)

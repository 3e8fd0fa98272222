"""The version folder of a served model: written whole or not at all."""

import os
import shutil
import uuid
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from mm_keras.errors import ExportError
from mm_keras.exporting.checks import format_table


@dataclass(frozen=True)
class Bundle:
    """One exported version.

    Args:
        path: The version folder, `<out>/<version>`; see `mm_keras.export`.
        parity: DataFrame of what was compared; one row for each artefact, signature, measure and output.
    """

    path: Path
    parity: pd.DataFrame

    @property
    def version(self):
        """The number of this version."""
        return int(self.path.name)

    def table(self):
        """Returns `parity` as text."""
        return format_table(self.parity)

    def __repr__(self):
        files = [f"  {f.relative_to(self.path)}  {_size(f)}" for f in sorted(self.path.rglob("*")) if f.is_file()]
        return "\n".join([f"Bundle({str(self.path)!r})", *files, "", self.table()])


@contextmanager
def new_version(out):
    """Gives a folder to fill; when the block ends it becomes `<out>/<next version>`, when it fails nothing remains.

    Args:
        out: Base folder of the served model. TF Serving watches it, so a version must appear in one step.

    Yields:
        `(folder to fill, list that holds the version's path after the block)`.

    Raises:
        ExportError: When `out` cannot be a base folder.
    """
    out, final = Path(os.path.abspath(out)), []
    if (out.exists() and not out.is_dir()) or (out / "saved_model.pb").exists():
        raise ExportError(f"expected a base folder, which gets a sub-folder for each version. Received: {out}")
    # In the nearest folder that exists: the same file system, so that the rename is one step.
    home = next(p for p in (out, *out.parents) if p.is_dir())
    staging = home / f".{out.name}-{uuid.uuid4().hex}"
    staging.mkdir()
    try:
        yield staging, final
        final.append(_publish(staging, out))
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _publish(staging, out):
    out.mkdir(parents=True, exist_ok=True)
    while True:
        target = out / str(max(list_versions(out), default=0) + 1)
        try:
            return staging.rename(target)
        except OSError:
            if not target.exists():  # else another export took the number meanwhile
                raise


def list_versions(out):
    """Returns the version numbers in a base folder, ascending."""
    names = [p.name for p in Path(out).iterdir() if p.is_dir()] if Path(out).is_dir() else []
    return sorted(int(n) for n in names if n.isdecimal())


def _size(file):
    size = file.stat().st_size
    return f"{size / 1e6:.1f} MB" if size >= 1e6 else f"{size / 1e3:.1f} KB"

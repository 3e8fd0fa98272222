"""Where a bundle comes from, and whether it is still what was written."""

import hashlib
import json
import platform
from importlib.metadata import version
from pathlib import Path

from mm_keras.errors import ExportError
from mm_keras.saving import sha256_of

# Counted up when what an older mm_keras wrote can no longer be read.
FORMAT = 1
CHECKSUMS = "checksums.json"


def provenance(run, packages):
    """Returns what `provenance.json` says: versions, and hashes of recipe, data and weights.

    Args:
        run: A `Run`.
        packages: Names of the packages whose versions are told.

    Returns:
        Dict. `data_sha256` is that of the run's table of rows: ids, splits, labels and cells, files by their paths; it
        is `None` for a run that keeps none.
    """
    weights = hashlib.sha256()
    for value in run.model.get_weights():
        weights.update(value.tobytes())
    rows = Path(run.folder) / "rows.parquet"
    return {
        "format": FORMAT,
        "versions": {p: version(p) for p in packages},
        "python": platform.python_version(),
        "recipe_sha256": hashlib.sha256(run.recipe.to_yaml().encode()).hexdigest(),
        "data_sha256": _digest(rows) if rows.is_file() else None,
        "weights_sha256": weights.hexdigest(),
        "training": {k: run.info[k] for k in ("manifest", "rows", "epochs", "parameters", "seed") if k in run.info},
    }


def check_format(folder):
    """Raises when a bundle was written by a newer mm_keras than this one.

    Raises:
        ExportError: With what to do.
    """
    origin = json.loads((Path(folder) / "provenance.json").read_text(encoding="utf-8"))
    if origin["format"] > FORMAT:
        raise ExportError(
            f"{folder}: has format {origin['format']}, of mm_keras {origin['versions'].get('mm_keras')}; this one, "
            f"{version('mm_keras')}, reads up to {FORMAT}. Upgrade it: pip install --upgrade mm_keras"
        )


def write_checksums(folder):
    """Writes `checksums.json`, the SHA-256 of every other file of a version folder."""
    files = {f: _digest(Path(folder) / f) for f in _files(folder)}
    (Path(folder) / CHECKSUMS).write_text(json.dumps(files, indent=1), encoding="utf-8")


def wrong_files(folder):
    """Returns `{file: "changed", "absent" or "added"}` of a version folder."""
    wanted, found = json.loads((Path(folder) / CHECKSUMS).read_text(encoding="utf-8")), set(_files(folder))
    faults = {f: "added" for f in found - wanted.keys()} | {f: "absent" for f in wanted.keys() - found}
    faults |= {f: "changed" for f in found & wanted.keys() if _digest(Path(folder) / f) != wanted[f]}
    return dict(sorted(faults.items()))


def _files(folder):
    files = (f for f in Path(folder).rglob("*") if f.is_file() and f.name != CHECKSUMS)
    return sorted(f.relative_to(folder).as_posix() for f in files)


def _digest(file):
    with Path(file).open("rb") as held:
        return sha256_of(held)

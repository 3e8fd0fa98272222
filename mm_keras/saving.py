"""Files written: results in the form that a suffix names, and what must be whole or absent."""

import hashlib
import os
from pathlib import Path

from mm_keras.errors import DataError

# Of what is a picture, numbers, a table and a page.
RESULT_FORMS = (".png", ".json", ".csv", ".html")
PIECE = 2**20  # bytes of a file in memory at once


def check_suffix(path, what, forms):
    """Returns the path, a `pathlib.Path`.

    Args:
        path: Where to write.
        what: What is written, as the error calls it.
        forms: The suffixes there are.

    Raises:
        DataError: On another suffix.
    """
    path, (*others, last) = Path(path), forms
    if path.suffix not in forms:
        listed = f"{', '.join(others)} or {last}" if others else last
        raise DataError(f"{what} is saved as {listed}. Received: path={str(path)!r}")
    return path


def records(frame):
    """Returns a DataFrame as `{index: {column: value}}`, ready for JSON, to the last digit; `None` where it is NaN."""
    return frame.astype(object).where(frame.notna(), None).to_dict(orient="index")


def save(path, what, forms, dpi=150):
    """Writes a result; its folder is made if absent.

    Args:
        path: Where to write.
        what: As in `check_suffix`.
        forms: `{suffix: function that returns the text, or of ".png" the matplotlib.figure.Figure}`.
        dpi: Dots an inch, of a figure.

    Returns:
        The path, a `pathlib.Path`.

    Raises:
        DataError: On another suffix.
    """
    path = check_suffix(path, what, forms)
    path.parent.mkdir(parents=True, exist_ok=True)
    made = forms[path.suffix]()
    if path.suffix == ".png":
        made.savefig(path, dpi=dpi)
    else:
        path.write_text(made, encoding="utf-8")
    return path


def write_whole(path, write, lasting=True):
    """Writes a file that is whole or absent, whenever the process dies: beside its place, and put there in one step.

    Args:
        path: Its `pathlib.Path`; the folder exists.
        write: Function that is called with the file, open for bytes.
        lasting: Whether it outlives a loss of power too, which costs the wait for the disk. Defaults to `True`.
    """
    beside = path.with_name(f"{path.name}.{os.getpid()}.part")
    with beside.open("wb") as file:
        write(file)
        if lasting:
            file.flush()
            os.fsync(file.fileno())
    os.replace(beside, path)
    if lasting and os.name == "posix":  # else the new name may be lost with the power
        opened = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(opened)
        finally:
            os.close(opened)


def sha256_of(file):
    """Returns the SHA-256, in hexadecimal, of a file open for bytes."""
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()

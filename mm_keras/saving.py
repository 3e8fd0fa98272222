"""Files written: results in the form that a suffix names, what must be whole or absent, and one process at a time."""

import hashlib
import os
import socket
from contextlib import contextmanager, suppress
from pathlib import Path

from mm_keras.errors import DataError

# Of what is a picture, numbers, a table and a page.
RESULT_FORMS = (".png", ".json", ".csv", ".html")
PIECE = 2**20  # bytes of a file in memory at once
LOCK = ".lock"


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


@contextmanager
def working_in(folder):
    """Keeps a folder to one piece of work while the block runs; a second one, in any process, is refused.

    The folder is made if absent, and goes again when nothing was put into it. The lock is the system's: it ends with
    the process, however that dies.

    Args:
        folder: Its path.

    Raises:
        DataError: When it is a file, or work goes on there.
    """
    from filelock import FileLock, Timeout

    folder = Path(folder)
    if folder.is_file():
        raise DataError(f"{folder}: is a file. Choose a folder.")
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / LOCK
    lock = FileLock(path, timeout=0)
    try:
        lock.acquire()
    except Timeout as error:
        raise DataError(
            f"{folder}: {_holder(path)} is working here. Wait until it ends, or choose another folder."
        ) from error
    try:
        with suppress(OSError):  # only the message of a second one
            path.write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")
        yield
    finally:
        with suppress(OSError):  # while it is held, so that nobody holds a file that is gone; Windows does it later
            path.unlink()
        lock.release()
        if is_new:
            with suppress(OSError):  # holds something
                folder.rmdir()


def _holder(path):
    try:
        return path.read_text(encoding="utf-8") or "another process"
    except OSError:
        return "another process"


def sha256_of(file):
    """Returns the SHA-256, in hexadecimal, of a file open for bytes."""
    digest = hashlib.sha256()
    while piece := file.read(PIECE):
        digest.update(piece)
    return digest.hexdigest()

"""Where shards and their sources lie: a folder, or any address that fsspec knows, such as `gs://bucket/pets`."""

import os
import shutil
import stat
from pathlib import Path

from mm_keras.errors import DataError
from mm_keras.saving import write_whole


def is_address(path):
    """Whether a path is an address for fsspec."""
    return isinstance(path, str) and "://" in path


def open_place(path):
    """Returns the `LocalPlace` or `RemotePlace` of a folder.

    Raises:
        DataError: When it is an address and fsspec, or the package of its kind, is absent.
    """
    return RemotePlace(path) if is_address(path) else LocalPlace(path)


class LocalPlace:
    """A folder. What is written there is whole or absent: written beside, flushed to the disk, and renamed.

    Args:
        path: The folder.
    """

    is_local = True

    def __init__(self, path):
        self.path = Path(path).resolve()

    def __str__(self):
        return str(self.path)

    def location(self, name):
        """Returns what TensorFlow opens a file by."""
        return str(self.path / name)

    def exists(self, name):
        return (self.path / name).is_file()

    def size(self, name):
        return (self.path / name).stat().st_size

    def open(self, name):
        return (self.path / name).open("rb")

    def put(self, file, name):
        """Moves a local file of the same disk here."""
        with open(file, "rb") as held:
            os.fsync(held.fileno())
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        os.replace(file, self.path / name)

    def write(self, name, content, last=True):
        """Writes bytes; with `last`, they and the names of all that was put before outlive a loss of power."""
        (self.path / name).parent.mkdir(parents=True, exist_ok=True)
        write_whole(self.path / name, lambda file: file.write(content), lasting=last)

    def discard(self, name):
        """Removes a folder."""
        shutil.rmtree(self.path / name, ignore_errors=True)


class RemotePlace:
    """A folder at an address of fsspec.

    Args:
        address: Such as `s3://bucket/folder`.
    """

    is_local = False

    def __init__(self, address):
        self.address = str(address).rstrip("/")
        self.system, self.path = open_system(self.address)

    def __str__(self):
        return self.address

    def location(self, name):
        """Returns what TensorFlow opens a file by, where it can: `gs://` and `file://`."""
        return f"{self.address}/{name}"

    def exists(self, name):
        return self.system.isfile(f"{self.path}/{name}")

    def size(self, name):
        return self.system.size(f"{self.path}/{name}")

    def open(self, name):
        return self.system.open(f"{self.path}/{name}", "rb")

    def put(self, file, name):
        """Moves a local file here; it appears under its name when it is whole."""
        target, beside = f"{self.path}/{name}", f"{self.path}/{name}.{os.getpid()}.part"
        self.system.makedirs(target.rpartition("/")[0], exist_ok=True)
        self.system.put_file(str(file), beside)
        self.system.mv(beside, target)
        os.remove(file)

    def write(self, name, content, last=True):
        """Writes bytes."""
        self.system.makedirs(f"{self.path}/{name}".rpartition("/")[0], exist_ok=True)
        self.system.pipe_file(f"{self.path}/{name}", content)

    def discard(self, name):
        """Removes a folder."""
        if self.system.exists(f"{self.path}/{name}"):
            self.system.rm(f"{self.path}/{name}", recursive=True)


class RemoteFile:
    """A file or folder that a table's paths are relative to, with as much of `pathlib.Path` as reading cells needs.

    Args:
        address: Such as `gs://bucket/pets`.
    """

    def __init__(self, address):
        self.address = str(address).rstrip("/")

    def __truediv__(self, name):
        return RemoteFile(name if is_address(str(name)) else f"{self.address}/{name}")

    def __str__(self):
        return self.address

    def open(self, mode="rb"):
        system, path = open_system(self.address)
        return system.open(path, mode)


def open_system(address):
    """Returns `(fsspec file system, path in it)`.

    Raises:
        DataError: When fsspec, or the package of this kind of address, is absent.
    """
    try:
        import fsspec
    except ImportError:
        raise DataError(
            f"{address}: addresses are opened by fsspec, which is absent: pip install 'mm_keras[remote]'"
        ) from None
    try:
        return fsspec.core.url_to_fs(address)
    except ImportError as error:
        raise DataError(f"{address}: a package for this kind of address is absent: {error}") from None
    except ValueError as error:
        raise DataError(f"{address}: {error}") from None


def read_bytes(path):
    """Returns the bytes of a file by path or address.

    Raises:
        OSError: When it cannot be read.
    """
    if is_address(path):
        system, inner = open_system(path)
        return system.cat_file(inner)
    with open(path, "rb") as file:
        return file.read()


def file_fault(path):
    """Returns what the file system says against a file, or an empty text."""
    if is_address(path):
        system, inner = open_system(path)
        if not system.exists(inner):
            return "there is no such file"
        return "" if system.isfile(inner) else "this is no file"
    try:
        found = os.stat(path)
    except (OSError, ValueError) as error:  # a null character is a ValueError
        absent = isinstance(error, FileNotFoundError | NotADirectoryError)
        return "there is no such file" if absent else f"cannot be read: {getattr(error, 'strerror', None) or error}"
    if not stat.S_ISREG(found.st_mode):
        return "this is no file"
    return "" if found.st_size else "the file is empty"

"""MP4, AVI and whatever else PyAV reads -> folders of frames, which the graph can read. Needs the extra `video`."""

from pathlib import Path

import pandas as pd

from mm_keras.data.tables import READERS, as_text, column_of, read_table, write_table
from mm_keras.errors import DataError
from mm_keras.preprocessing.parts import PICTURES, sample_evenly


def ingest_video(path, out, frames=32, side=None):
    """Writes frames of a video, taken evenly, as `0000.png`, `0001.png`.. into a folder.

    A manifest takes the folder as the value of a `Video`. A rotation that the file asks for is not applied.

    Args:
        path: The video.
        out: The folder; made if absent, refused if it holds pictures.
        frames: Most frames. Defaults to `32`: enough to take the frames of a recipe from, evenly but for a 64th.
        side: Longest side of a frame in pixels; larger frames are shrunk, the aspect kept. Defaults to `None`, no
            change.

    Returns:
        The folder, a `pathlib.Path`.

    Raises:
        DataError: When PyAV is absent, the file is absent or no video, or the folder holds pictures.
    """
    if frames < 1:
        raise ValueError(f"`frames` must be at least 1. Received: frames={frames}")
    path, out = Path(path), Path(out)
    _pyav()
    if not path.is_file():
        raise DataError(f"{path}: there is no such file.")
    if out.is_dir() and any(f.suffix.lower() in PICTURES for f in out.iterdir()):
        raise DataError(f"{out}: holds pictures already, which would mix with the frames. Give another folder.")
    for number, picture in enumerate(video_pictures(lambda: str(path), frames, side, path)):
        out.mkdir(parents=True, exist_ok=True)
        picture.save(out / f"{number:04}.png")
    return out


def video_pictures(source, frames, side=None, name="the video"):
    """Yields frames of a video, taken evenly, as Pillow pictures.

    Args:
        source: Function that gives a path or a fresh open file; called twice.
        frames: Most frames.
        side: Longest side of a picture in pixels, or `None`.
        name: What messages call it.

    Raises:
        DataError: When PyAV is absent, or it is no video or has no frames.
    """
    av = _pyav()
    try:
        # Once to count, since what the header says is often absent or wrong; then again, so that memory stays flat.
        chosen = set(sample_evenly(sum(1 for _ in _frames(av, source())), frames))
        if not chosen:
            raise DataError(f"{name}: the video has no frames.")
        for number, frame in enumerate(_frames(av, source())):
            if number not in chosen:
                continue
            picture = frame.to_image()
            if side is not None:
                picture.thumbnail((side, side))
            yield picture
    except (av.error.FFmpegError, OSError) as error:
        raise DataError(f"{name}: cannot be read as a video: {error}") from None


def ingest(manifest, column, out, frames=32, side=None):
    """Converts the videos of a manifest, and writes a manifest that names their frames instead.

    Args:
        manifest: Path of a CSV, TSV, JSONL or Parquet file.
        column: Its column with paths of videos. Pictures, folders and empty cells stay as they are.
        out: The manifest to write, of the same kind and in the same folder, so that other paths in it stay right. The
            frames go into a folder of its name without the suffix.
        frames: As in `ingest_video`. Defaults to `32`.
        side: As in `ingest_video`. Defaults to `None`.

    Returns:
        DataFrame of the videos that could not be converted: row (1 the first), value, reason. Their cells stay, so that
        `load` names them too.

    Raises:
        DataError: When PyAV is absent, the manifest cannot be read, or `out` exists or is of another kind or folder.
    """
    manifest, out = Path(manifest), Path(out)
    is_beside = out.parent.resolve() == manifest.parent.resolve()
    if out.exists() or out.suffix.lower() != manifest.suffix.lower() or not is_beside:
        raise DataError(
            f"the manifest to write must be a new {manifest.suffix} file in {manifest.parent}, so that the paths in it "
            f"stay right. Received: {out}"
        )
    _pyav()
    table, folder, name, unread = read_table(manifest)
    if unread:
        row, reason = next(iter(unread.items()))
        raise DataError(f"{name}: {len(unread)} rows cannot be read. First: row {row + 1}: {reason}")
    cells, faults, done = as_text(column_of(table, column, "ingest", name)), [], {}
    values = table[column].astype(object).copy()
    for row, cell in enumerate(cells):
        if not cell or ";" in cell or Path(cell).suffix.lower() in PICTURES or (folder / cell).is_dir():
            continue
        place = Path(out.stem) / f"{row + 1:06}"
        try:
            if cell not in done:
                done[cell] = ingest_video(folder / cell, folder / place, frames, side) and place.as_posix()
            values.iloc[row] = done[cell]
        except DataError as error:
            faults.append((row + 1, cell, str(error)))
    write_table(table.assign(**{column: values}), out)
    return pd.DataFrame(faults, columns=["row", "value", "reason"])


def is_manifest(path):
    """Whether a path ends as manifests do."""
    return Path(path).suffix.lower() in READERS


def _frames(av, path):
    with av.open(path) as container:
        if not container.streams.video:
            held = [s.type for s in container.streams] or "nothing"
            raise DataError(f"{path if isinstance(path, str) else 'the file'}: holds no video, but {held}.")
        stream = container.streams.video[0]
        stream.thread_type = "AUTO"
        yield from container.decode(stream)


def _pyav():
    try:
        import av
    except ImportError:
        raise DataError("MP4 and AVI are read by PyAV, which is absent: pip install 'mm_keras[video]'") from None
    return av

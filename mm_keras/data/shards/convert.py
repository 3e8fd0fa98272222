"""What the graph cannot read -> what it can: FLAC, OGG and MP3 to WAV, coded video to frames; pictures made smaller."""

import io

import numpy as np
from PIL import Image as Picture

from mm_keras.data.ingest import video_pictures
from mm_keras.errors import DataError

# Of libsndfile's sample formats, those that the graph reads; every other one becomes PCM of 16 bits.
KEPT = {"PCM_16", "PCM_24", "PCM_32", "FLOAT"}
FILMS = {b"ftyp": 4, b"AVI ": 8, b"\x1a\x45\xdf\xa3": 0}


def convert(spec, contents, image_side=None):
    """Turns the bytes of one file into what a shard holds.

    Args:
        spec: The input's part of the recipe.
        contents: Bytes, not empty.
        image_side: Longest side of a picture or frame in pixels; larger ones are shrunk, the aspect kept, and encoded
            again: JPEG as JPEG of quality 95, others as PNG.

    Returns:
        Bytes, or a list of bytes, the PNG frames of a coded video.

    Raises:
        DataError: When the file cannot be read, or the package for it is absent.
    """
    if spec.kind == "audio":
        return contents if contents[:4] == b"RIFF" else wav_of(contents)
    if spec.kind == "video" and is_film(contents):
        pictures = video_pictures(lambda: io.BytesIO(contents), spec.frames, image_side)
        return [_encoded(picture, "PNG") for picture in pictures]
    return contents if image_side is None else smaller(contents, image_side)


def is_film(contents):
    """Whether bytes are MP4, AVI, MKV or WebM."""
    return any(contents[at : at + 4] == mark for mark, at in FILMS.items())


def wav_of(contents):
    """Returns sound that libsndfile reads (FLAC, OGG, MP3, AIFF ..) as WAV; rate and channels stay.

    Samples of lossless files stay as they are; those of MP3 and OGG are rounded to 16 bits.

    Args:
        contents: Bytes of the file.

    Raises:
        DataError: When soundfile is absent or the bytes are no sound.
    """
    try:
        import soundfile
    except (ImportError, OSError):  # OSError: the package is there, libsndfile is not
        raise DataError(
            "FLAC, OGG and MP3 are read by soundfile, which is absent: pip install 'mm_keras[audio]'"
        ) from None
    try:
        with soundfile.SoundFile(io.BytesIO(contents)) as sound:
            kind = sound.subtype if sound.subtype in KEPT else "PCM_16"
            dtype = {"PCM_16": "int16", "FLOAT": "float32"}.get(kind, "int32")
            lossy = kind != sound.subtype
            samples, rate = sound.read(dtype="float32" if lossy else dtype, always_2d=True), sound.samplerate
    except (soundfile.LibsndfileError, RuntimeError, TypeError) as error:
        raise DataError(f"not a WAV file, and soundfile cannot read it: {error}") from None
    if lossy:
        samples = np.round(np.clip(samples, -1, 1) * 32767).astype(np.int16)
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format="WAV", subtype=kind)
    return file.getvalue()


def smaller(contents, side):
    """Returns a picture whose longest side is at most `side`; one that is small enough, or an animation, as it is.

    What Pillow cannot read stays as it is too: the check of every file, which comes next, says what is wrong.
    """
    try:
        with Picture.open(io.BytesIO(contents)) as picture:
            if max(picture.size) <= side or getattr(picture, "n_frames", 1) > 1:
                return contents
            kind = "JPEG" if picture.format == "JPEG" and picture.mode in ("L", "RGB") else "PNG"
            if kind == "PNG":
                clear = "transparency" in picture.info or picture.mode in ("LA", "PA", "RGBA")
                picture = picture.convert("RGBA" if clear else "RGB")
            picture.thumbnail((side, side), Picture.Resampling.LANCZOS)
            return _encoded(picture, kind)
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError):
        return contents


def _encoded(picture, kind):
    file = io.BytesIO()
    picture.save(file, kind, **({"quality": 95} if kind == "JPEG" else {}))
    return file.getvalue()

"""Pictures that get worse: noise, blur, JPEG. Of views and videos, each picture by a draw of its own."""

import numpy as np
import tensorflow as tf
from scipy.ndimage import gaussian_filter

from mm_keras.preprocessing.parts import padded, sample_evenly
from mm_keras.preprocessing.picture import decode_rgba


def open_pictures(preprocessor, raw):
    """Returns a list of float32 `(height, width, channels)` in [0, 1], `None` where there is no picture.

    Channels are 1 for a grey picture, else 3, and alpha where something is transparent. Of a video in one GIF, they are
    the frames that the model sees.
    """
    contents = raw[preprocessor.name]
    if isinstance(contents, bytes):
        return [_opened(contents)]
    files = [c for c in contents if c]
    if preprocessor.spec.kind == "video" and len(files) == 1 and files[0].startswith(b"GIF8"):
        frames = tf.io.decode_gif(files[0]).numpy()
        return [_plain(frames[i] / np.float32(255)) for i in sample_evenly(len(frames), preprocessor.parts)]
    return [_opened(c) for c in contents]


def write_pictures(preprocessor, files):
    """Returns `{field: raw value}` of the bytes of each picture."""
    if preprocessor.spec.layout == "image":
        return {preprocessor.name: files[0]}
    return {preprocessor.name: padded(files, preprocessor.parts, b"")}


def noise(preprocessor, pictures, deviation, rng):
    """Adds normal noise of that deviation, pixels being in [0, 1], to the colours; a grey picture stays grey."""

    def change(colour, alpha):
        noisy = colour + deviation * rng.standard_normal(colour.shape, dtype=np.float32)
        return _png(noisy, alpha)

    return _each(preprocessor, pictures, change)


def blur(preprocessor, pictures, share, rng):
    """Blurs by a normal kernel whose deviation is that share of the shorter side; what is clear lends no colour."""

    def change(colour, alpha):
        sigma = share * min(colour.shape[:2])
        if alpha is None:
            return _png(_blurred(colour, sigma), None)
        cover = _blurred(alpha, sigma)
        mixed = _blurred(colour * alpha, sigma)
        return _png(np.where(cover > 1e-6, mixed / np.maximum(cover, 1e-6), colour), cover)

    return _each(preprocessor, pictures, change)


def jpeg(preprocessor, pictures, quality, rng):
    """Writes JPEG files of that quality; JPEG has no alpha, so of a transparent picture the colours alone lose."""

    def change(colour, alpha):
        contents = tf.io.encode_jpeg(_levels(colour), quality=quality)
        if alpha is None:
            return contents.numpy()
        coded = tf.io.decode_jpeg(contents, dct_method="INTEGER_ACCURATE").numpy()
        return _png(coded / np.float32(255), alpha)

    return _each(preprocessor, pictures, change)


def _each(preprocessor, pictures, change):
    files = []
    for picture in pictures:
        if picture is None:
            files.append(b"")
            continue
        has_alpha = picture.shape[-1] in (2, 4)
        files.append(change(picture[..., :-1], picture[..., -1:]) if has_alpha else change(picture, None))
    return write_pictures(preprocessor, files)


def _opened(contents):
    return _plain(decode_rgba(tf.constant(contents)).numpy()) if contents else None


def _plain(pixels):
    """Returns a picture without channels that say nothing: an opaque alpha, three colours that are equal."""
    colour, alpha = pixels[..., :3], pixels[..., 3:]
    if (colour == colour[..., :1]).all():
        colour = colour[..., :1]
    return colour if (alpha == 1).all() else np.concatenate([colour, alpha], axis=-1)


def _blurred(values, sigma):
    return gaussian_filter(values, sigma=(sigma, sigma, 0), mode="nearest")


def _levels(values):
    return np.clip(np.rint(values * 255), 0, 255).astype(np.uint8)


def _png(colour, alpha):
    pixels = colour if alpha is None else np.concatenate([colour, alpha], axis=-1)
    return tf.io.encode_png(_levels(pixels), compression=0).numpy()  # noise does not compress, and costs time to try

"""Random changes of pictures, float32 `(batch, height, width, channels)` in [0, 1]; what falls outside is clipped."""

import math

import tensorflow as tf

# Luma of ITU-R BT.601, section 2.5.1, as Pillow's conversion to "L".
GREY = (0.299, 0.587, 0.114)
# Widest to narrowest shape of a crop (Szegedy et al. 2015, arXiv:1409.4842, section 6).
MOST_STRETCH = 4 / 3


def crop(batch, seed, share):
    """Cuts a box out of each picture and resizes it to the whole.

    Args:
        batch: Pictures.
        seed: Of the draws.
        share: Largest share of the area that is cut away; the share is uniform, the place too, and the box is up to
            `MOST_STRETCH` wider or narrower than the picture.

    Reference:
        Szegedy et al. 2015, arXiv:1409.4842, section 6. Differs: the least area is told, not 8 %.
    """
    rows = tf.shape(batch)[0]
    draws = tf.random.stateless_uniform([rows, 4], seed)
    area = 1.0 - share * draws[:, 0]
    stretch = tf.exp(math.log(MOST_STRETCH) * (2.0 * draws[:, 1] - 1.0))
    stretch = tf.clip_by_value(stretch, area, 1.0 / area)  # the box stays inside, its area as drawn
    size = tf.sqrt(tf.stack([area / stretch, area * stretch], axis=1))
    start = draws[:, 2:] * (1.0 - size)
    boxes = tf.concat([start, start + size], axis=1)
    return tf.image.crop_and_resize(batch, boxes, tf.range(rows), batch.shape[1:3])


def shift(batch, seed, share):
    """Moves each picture by up to `share` of its sides, onto a border that mirrors its edge."""
    height, width = batch.shape[1:3]
    dy, dx = (round(share * side) for side in (height, width))
    draws = tf.random.stateless_uniform([tf.shape(batch)[0], 2], seed)
    start = tf.cast(draws * (2 * dy + 1, 2 * dx + 1), tf.int32)
    batch = tf.pad(batch, [[0, 0], [dy, dy], [dx, dx], [0, 0]], "SYMMETRIC")
    batch = tf.gather(batch, start[:, :1] + tf.range(height), axis=1, batch_dims=1)
    # Columns by the transposed picture: two plain gathers, whatever the shift of each row.
    batch = tf.transpose(batch, [0, 2, 1, 3])
    batch = tf.gather(batch, start[:, 1:] + tf.range(width), axis=1, batch_dims=1)
    return tf.transpose(batch, [0, 2, 1, 3])


def flip(batch, seed):
    """Mirrors half of the pictures left to right."""
    mirrored = tf.random.stateless_uniform([tf.shape(batch)[0], 1, 1, 1], seed) < 0.5
    return tf.where(mirrored, tf.reverse(batch, [2]), batch)


def brightness(batch, seed, size):
    """Multiplies each picture by a factor of `1 - size` to `1 + size`; black stays black, alpha as it is."""
    return _recolour(batch, lambda colour: colour * _factor(colour, seed, size))


def contrast(batch, seed, size):
    """Multiplies each pixel's distance from the picture's mean grey by a factor of `1 - size` to `1 + size`."""

    def change(colour):
        mean = tf.reduce_mean(_grey(colour), axis=(1, 2), keepdims=True)
        return mean + (colour - mean) * _factor(colour, seed, size)

    return _recolour(batch, change)


def saturation(batch, seed, size):
    """Multiplies each pixel's distance from its own grey by a factor of `1 - size` to `1 + size`."""
    return _recolour(batch, lambda c: _grey(c) + (c - _grey(c)) * _factor(c, seed, size))


def cutout(batch, seed, share):
    """Covers a rectangle of each picture with the picture's mean colour.

    Args:
        batch: Pictures.
        seed: Of the draws.
        share: Sides of the rectangle, as a share of the picture's. Its middle is any pixel, so part of it may lie
            outside.

    Reference:
        DeVries and Taylor 2017, arXiv:1708.04552, section 3.2. Differs: the fill is the picture's own mean, where the
        paper has standardised pictures and zeros.
    """
    draws = tf.random.stateless_uniform([tf.shape(batch)[0], 2], seed)
    inside = [_run(draws[:, axis], batch.shape[1 + axis], share) for axis in (0, 1)]
    covered = inside[0][:, :, None, None] & inside[1][:, None, :, None]
    return tf.where(covered, tf.reduce_mean(batch, axis=(1, 2), keepdims=True), batch)


def _run(draws, side, share):
    """Returns bool `(rows, side)`: true within `share` of the side around a place drawn."""
    length = round(share * side)
    start = tf.cast(draws * side, tf.int32)[:, None] - length // 2
    at = tf.range(side)[None]
    return (at >= start) & (at < start + length)


def _factor(batch, seed, size):
    return tf.random.stateless_uniform([tf.shape(batch)[0], 1, 1, 1], seed, 1.0 - size, 1.0 + size)


def _grey(colour):
    return tf.reduce_sum(colour * GREY, axis=-1, keepdims=True) if colour.shape[-1] == 3 else colour


def _recolour(batch, change):
    colour = tf.clip_by_value(change(batch[..., :3]), 0.0, 1.0)
    return colour if batch.shape[-1] < 4 else tf.concat([colour, batch[..., 3:]], axis=-1)

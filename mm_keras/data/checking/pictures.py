"""Pictures that are nearly the same: encoded again, resized, retouched."""

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from PIL import Image as Picture
from scipy.fft import dct

SIDE = 32  # pixels that a picture is shrunk to
GREY, COLOUR = 12, 4  # how many frequencies a side are kept of it
FEATURES = GREY**2 + 2 * COLOUR**2
HASH_BITS, TABLES, WINDOW = 63, 16, 24
MOST_BITS = 12  # of the hash, in which copies may differ
SAMPLE, NEIGHBOURS = 2000, 8
# Most false pairs expected in a whole set; and closest that a copy must be, beside the distance of other neighbours.
MOST_FALSE, NEAREST = 0.05, 0.35
FLAT = 0.01  # a picture of less contrast says nothing
# Where more of the pictures have a copy, they may be dense in places, which one dimension of all does not tell.
COMMON = 0.05
NOISE = 3e-4  # deviation of a frequency that encoding alone brings


def describe_pictures(paths):
    """Returns float32 `(pictures, features)`: the low frequencies of each picture's brightness and colours.

    A picture is composited on white and shrunk to 32x32. Of its luma the 12x12 lowest frequencies of the cosine
    transform are kept, of both colour differences 4x4; distances between them are those between pictures, detail left
    out. A file that Pillow cannot read is NaN.
    """
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # Pillow decodes without holding Python's lock
        return np.array(list(pool.map(_describe, paths)), np.float32).reshape(len(paths), FEATURES)


def _describe(path):
    try:
        with Picture.open(path) as picture:
            picture.draft("RGB", (2 * SIDE, 2 * SIDE))  # a JPEG is decoded no larger than is needed
            small = _on_white(picture).resize((SIDE, SIDE), Picture.Resampling.BILINEAR)
    except (OSError, ValueError, SyntaxError, Picture.DecompressionBombError):
        return np.full(FEATURES, np.nan, np.float32)
    planes = np.moveaxis(np.asarray(small.convert("YCbCr"), np.float32) / 255, 2, 0)
    return np.concatenate(
        [(_DCT[:n] @ p @ _DCT[:n].T).ravel() / SIDE for n, p in zip((GREY, COLOUR, COLOUR), planes, strict=True)]
    )


_DCT = dct(np.eye(SIDE, dtype=np.float32), norm="ortho", axis=0)


def _on_white(picture):
    if picture.mode.startswith(("I", "F")):  # 16 bits, which `convert` would clip
        values = np.asarray(picture, np.float32)
        return Picture.fromarray(np.uint8(255 * values / max(values.max(), 1.0))).convert("RGB")
    if picture.mode in ("LA", "PA", "RGBA") or "transparency" in picture.info:
        picture = picture.convert("RGBA")
        picture = Picture.alpha_composite(Picture.new("RGBA", picture.size, "white"), picture)
    return picture.convert("RGB")


def near_pairs(features, seed=0):
    """Returns int `(pairs, 2)`: pictures that are copies of each other, by more than chance.

    Candidates agree in a random part of a perceptual hash and in all but `MOST_BITS` of its 63 bits: the signs of the
    64 lowest frequencies but the mean, each about its median in the set, so that every bit divides the set in halves.
    Two pictures are copies when so small a distance is not expected in the set: in `d` dimensions, a picture has
    `8 (pictures / sample) (distance / r)**d` others within a distance, where `r` is how far the eighth of a sample is.
    Blurred digits have few dimensions and close neighbours by nature, photographs have many. Distances are of
    frequencies in units of their deviation in the set: copies agree in their detail too, other pictures of a like
    object in its outline alone.

    Args:
        features: As `describe_pictures` returns them, of different files.
        seed: Of the sample and of the parts of the hash.

    Reference:
        Levina and Bickel 2004, "Maximum likelihood estimation of intrinsic dimension" (NIPS 17), eq. 8; Zauner 2010,
        "Implementation and benchmarking of perceptual image hash functions" (pHash). Differs: the bits of the hash are
        about the set's medians, not the picture's; the dimension is a median that leaves out each first neighbour, so
        that the copies that are looked for do not lower it.
    """
    usable = np.flatnonzero(np.isfinite(features).all(axis=1) & (_contrast(features) > FLAT))
    if len(usable) <= 2 * NEIGHBOURS:
        return np.zeros((0, 2), int)
    own, rng = features[usable], np.random.default_rng(seed)
    pairs = _candidates(own, rng)
    own = own / np.sqrt(own.var(axis=0) + NOISE**2)
    sample = own[rng.permutation(len(own))[:SAMPLE]]
    reach = _neighbour_distances(sample, sample)
    reach = reach[np.isfinite(reach).all(axis=1)]
    if not len(reach):  # hardly two different pictures
        return np.zeros((0, 2), int)
    dimension = _dimension(reach)
    distance = np.linalg.norm(own[pairs[:, 0]] - own[pairs[:, 1]], axis=1)
    close = distance <= NEAREST * reach[:, -1].max()
    pairs, distance = pairs[close], distance[close]
    at, place = np.unique(pairs, return_inverse=True)
    radius = _neighbour_distances(own[at], sample)[:, NEIGHBOURS - 1] if len(at) else np.zeros(0)
    radius = radius[place.reshape(pairs.shape)].min(axis=1)
    # Pairs that chance brings, in the whole set: half of the sum over pictures.
    most = (2 * MOST_FALSE * len(sample) / (NEIGHBOURS * len(own) ** 2)) ** (1 / dimension)
    ratio = distance / radius / min(most, NEAREST)
    pairs, ratio = pairs[ratio <= 1], ratio[ratio <= 1]
    if len(np.unique(pairs)) > COMMON * len(own):
        pairs = pairs[ratio <= _end_of_tail(ratio)]
    return usable[pairs]


def _end_of_tail(ratio):
    """Returns the ratio in [0, 1] below which no pair is expected of those that become fewer as a power of the ratio.

    Where half the ratio still has half of the pairs, they are no such tail but copies, and all stay.
    """
    power = np.log2(len(ratio) / max((ratio <= 0.5).sum(), 0.5))
    return 1.0 if power < 1 else (MOST_FALSE / len(ratio)) ** (1 / power)


def _dimension(reach):
    """Returns the intrinsic dimension of a set, of the distances `(points, k)` to the nearest neighbours.

    The logarithms of `r_k / r_j` are exponential variables of the mean `1 / d`. Their largest, of the first neighbour,
    is left out: its place is that of the next. The sum of `m` such variables has its median at about `m - 1/3`.
    """
    logs = np.log(reach[:, -1:] / reach[:, 1:-1])
    mean = np.median((logs.sum(axis=1) + logs[:, 0]) / logs.shape[1])
    return (1 - 1 / (3 * logs.shape[1])) / max(mean, 1e-6)


def _contrast(features):
    luma = features[:, : GREY**2]
    return np.sqrt((luma[:, 1:] ** 2).sum(axis=1))


def _neighbour_distances(points, sample):
    """Returns `(points, NEIGHBOURS)`: distances to the nearest of a sample, those of zero left out."""
    found, squares = [], (sample**2).sum(axis=1)
    for start in range(0, len(points), 1000):
        part = points[start : start + 1000]
        squared = (part**2).sum(axis=1)[:, None] + squares - 2 * part @ sample.T
        squared[squared < 1e-5 * squares.mean()] = np.inf  # itself, but for rounding
        nearest = np.partition(squared, NEIGHBOURS, axis=1)[:, :NEIGHBOURS]
        found.append(np.sqrt(np.sort(nearest, axis=1)))
    return np.concatenate(found)


def _candidates(features, rng):
    """Returns int `(pairs, 2)` of pictures whose hashes are near; time goes with the number of pictures."""
    low = (np.arange(GREY) < 8)[:, None] & (np.arange(GREY) < 8)
    values = features[:, : GREY**2][:, np.flatnonzero(low)[1:]]
    bits = values > np.median(values, axis=0)
    # Buckets of about four pictures, whatever their number.
    width = int(np.clip(np.log2(len(bits)) - 2, 4, 30))
    found = [np.zeros((0, 2), int)]
    for _ in range(TABLES):
        key = bits[:, rng.permutation(HASH_BITS)[:width]] @ (1 << np.arange(width, dtype=np.int64))
        # Within a bucket by brightness: copies stand side by side, and a full bucket costs no more than the others.
        order = np.lexsort((features[:, 0], key))
        for step in range(1, min(WINDOW, len(order) - 1) + 1):
            one, other = order[:-step], order[step:]
            same = np.flatnonzero(key[one] == key[other])
            same = same[(bits[one[same]] != bits[other[same]]).sum(axis=1) <= MOST_BITS]
            found.append(np.sort(np.stack([one[same], other[same]], axis=1), axis=1))
    return np.unique(np.concatenate(found), axis=0)

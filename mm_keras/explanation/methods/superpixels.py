"""Pieces of a picture that follow its colours."""

import numpy as np
from scipy.spatial import cKDTree

# One piece's width of distance weighs as much as half of the picture's range of colours.
COMPACTNESS = 0.5
ROUNDS = 10


def superpixels(picture, side):
    """Divides a picture into about `side * side` pieces of like colour.

    K-means of colour and place, from a grid of squares; a picture of one colour keeps the squares.

    Args:
        picture: `(height, width, channels)`, any range.
        side: Pieces along each side at the start; pieces that lose all their pixels are gone.

    Returns:
        Int array `(height, width)`: the number of each pixel's piece, from 0, none left out.

    Reference:
        Achanta et al. 2012, "SLIC Superpixels", section 3. Differs: in the picture's own colours over their range, not
        CIELAB; each pixel looks at all pieces, not at those within two widths, and pieces may fall apart.
    """
    height, width = picture.shape[:2]
    places = np.stack(np.mgrid[:height, :width], axis=-1).astype(float)
    apart = (height * width) ** 0.5 / side
    colours = picture / (np.ptp(picture) or 1.0)
    points = np.concatenate([colours, places * (COMPACTNESS / apart)], axis=-1).reshape(height * width, -1)
    rows, columns = (np.arange(size) * min(side, size) // size for size in (height, width))
    labels = (rows[:, None] * side + columns).ravel()
    for _ in range(ROUNDS):
        labels = np.unique(labels, return_inverse=True)[1]
        sums = np.stack([np.bincount(labels, weights=column) for column in points.T], axis=-1)
        labels = cKDTree(sums / np.bincount(labels)[:, None]).query(points)[1]
    return np.unique(labels, return_inverse=True)[1].reshape(height, width)

"""Pictures and spectrograms cut into patches, each of them a token."""

from keras import layers


def embed_patches(x, size, units):
    """Maps each patch to a token, by one matrix for all: a convolution whose stride is its kernel.

    Args:
        x: `(batch, height, width, channels)`; zeros fill the last patches at the bottom and the right.
        size: `(height, width)` of a patch.
        units: Size of a token.

    Returns:
        `(batch, rows * columns, units)`, row by row, and `(rows, columns)` of patches.

    Reference:
        Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1, equation 1.
    """
    grid = tuple(-(-side // step) for side, step in zip(x.shape[1:3], size, strict=True))
    absent = tuple((0, g * step - side) for g, side, step in zip(grid, x.shape[1:3], size, strict=True))
    if any(end for _, end in absent):
        x = layers.ZeroPadding2D(absent)(x)
    x = layers.Conv2D(units, size, strides=size)(x)
    return layers.Reshape((grid[0] * grid[1], units))(x), grid

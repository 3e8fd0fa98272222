"""The contract between preprocessing and encoders: what one input's model tensor looks like."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorInfo:
    """The model tensor of one input, without its batch axis.

    Args:
        shape: Axis lengths, for instance `(height, width, channels)`.
        dtype: `"float32"` or `"int32"`.
        vocabulary_size: Number of token ids, for text.
        groups: Lengths of the consecutive slices that belong to one column each, for tabular:
            2 (value, presence) for a number, 1 + number of known categories (unknown first) for a category.
        numeric: How many of the first `groups` are numbers.
        bins: Edges of each number's bins, ascending, in the tensor's unit; empty unless the encoder asks for them.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    vocabulary_size: int = 0
    groups: tuple[int, ...] = ()
    numeric: int = 0
    bins: tuple[tuple[float, ...], ...] = ()

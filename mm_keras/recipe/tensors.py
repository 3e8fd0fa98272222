"""The contract between preprocessing and encoders: what one input's model tensor looks like."""

from dataclasses import dataclass


@dataclass(frozen=True)
class TensorInfo:
    """The model tensor of one input, without its batch axis.

    Args:
        shape: Axis lengths, for instance `(height, width, channels)`.
        dtype: `"float32"` or `"int32"`.
        vocabulary_size: Number of token ids, for text.
        vectors: How many of the last of these ids are words with a vector learned elsewhere.
        vector_size: Length of these vectors; 0 when there are none.
        train_vectors: Whether they are trained on.
        network: Configuration of the KerasHub preset that the input was prepared for, JSON.
        groups: Lengths of the consecutive slices that belong to one column each, for tabular:
            2 (value, presence) for a number, 1 + number of known categories (unknown first) for a category.
        numeric: How many of the first `groups` are numbers.
    """

    shape: tuple[int, ...]
    dtype: str = "float32"
    vocabulary_size: int = 0
    vectors: int = 0
    vector_size: int = 0
    train_vectors: bool = False
    network: str = ""
    groups: tuple[int, ...] = ()
    numeric: int = 0

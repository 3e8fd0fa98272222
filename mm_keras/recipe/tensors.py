"""The contract between preprocessing and encoders: what one input's model tensor looks like."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, eq=False)
class Graph:
    """A knowledge graph as arrays, one row for each entity id. Id 0 is the missing entity, whose rows are all zero.

    Two graphs are equal when they are one object.

    Args:
        neighbours: Int32 `(entities, neighbours)`, ids; 0 pads.
        relations: Int32 `(entities, neighbours)`, how each neighbour is reached: `1 + relation` from head to tail,
            `1 + relation count + relation` from tail to head; 0 pads.
        relation_count: Number of relation ids, the 0 counted.
        numbers: Float32 `(entities, 2 * columns)`: value and presence of each number, 0 and 0 when it is missing.
        tokens: Int32 `(entities, length)`, the WordPieces of each entity's text; 0 pads. `length` may be 0.
        token_count: Number of WordPiece ids.
        vectors: Float32 `(entities, dim)` that the entities' vectors start from, or `None`.
    """

    neighbours: Any
    relations: Any
    relation_count: int
    numbers: Any
    tokens: Any
    token_count: int = 0
    vectors: Any = None


@dataclass(frozen=True)
class TensorInfo:
    """The model tensor of one input, without its batch axis.

    Args:
        shape: Axis lengths, for instance `(height, width, channels)`.
        dtype: `"float32"` or `"int32"`.
        vocabulary_size: Number of token ids, for text; of entities, the missing one counted.
        vectors: How many of the last of these ids are words with a vector learned elsewhere.
        vector_size: Length of these vectors; 0 when there are none.
        train_vectors: Whether they are trained on.
        network: Configuration of the KerasHub preset that the input was prepared for, JSON.
        groups: Lengths of the consecutive slices that belong to one column each, for tabular:
            2 (value, presence) for a number, 1 + number of known categories (unknown first) for a category.
        numeric: How many of the first `groups` are numbers.
        bins: Edges of each number's bins, ascending, in the tensor's unit; empty unless the encoder asks for them.
        graph: What entities are embedded in.
        trimmed: Whether batches have as many steps as their longest row needs, up to the first axis of `shape`.
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
    bins: tuple[tuple[float, ...], ...] = ()
    graph: Graph | None = None
    trimmed: bool = False

    @property
    def input_shape(self):
        """The shape that a model declares: `None` for the number of steps where batches are trimmed."""
        return (None, *self.shape[1:]) if self.trimmed else self.shape

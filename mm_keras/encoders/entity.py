"""Nodes of a knowledge graph."""

from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.graph import NeighbourAttention, Neighbourhood, NodeVectors, RelationalConvolution
from mm_keras.encoders.masking import ApplyMask, TokenMask
from mm_keras.encoders.vector import one_token
from mm_keras.errors import RecipeError

HOPS = {"tiny": 1, "small": 2, "base": 2}


def build_entity_embedding(inputs, encoder, tensor):
    """The entity's own vector and features, through a two-layer network, whose middle is its one depth.

    Of the graph it knows what pre-training put into the vectors (`pretrain`, see `training.knowledge`). The embedding
    is its only token.

    Options: `pretrain` (`"transe"`, `"distmult"` or none), `pretrain_epochs`, `dim` (length of the vectors), `forget`
    (see `NodeVectors`).

    Args:
        inputs: Int32 ids `(batch, 1)`; 0 is missing.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`, with the graph.

    Returns:
        `{"tokens": (batch, 1, units), "mask": ones, "embedding": (batch, units)}`.

    Reference:
        Bordes et al. 2013, Translating Embeddings for Modeling Multi-relational Data, section 2; Yang et al. 2015,
        arXiv:1412.6575, section 2.
    """
    units = UNITS[encoder.size]
    x = layers.Flatten()(_vectors(encoder, tensor)(inputs))
    x = layers.Dense(2 * units, activation="relu")(x)
    return (yield from one_token(x, units, encoder.dropout))


def build_entity_gat(inputs, encoder, tensor):
    """Attention over the entity and its neighbours; two steps far, but for `tiny`, one. The tokens are its one depth.

    Options: as `build_entity_embedding`, and `num_heads`.

    Args:
        inputs: As in `build_entity_embedding`.
        encoder: As in `build_entity_embedding`.
        tensor: As in `build_entity_embedding`.

    Returns:
        `{"tokens": (batch, 1 + neighbours, units), "mask": (batch, 1 + neighbours), "embedding": (batch, units)}`: the
        entity, then its neighbours as they were one step before.

    Reference:
        Velickovic et al. 2018, arXiv:1710.10903, section 2.1; see `NeighbourAttention`.
    """
    heads = encoder.options["num_heads"]
    if UNITS[encoder.size] % heads:
        raise RecipeError(f"entity encoder 'gat': `num_heads` must divide {UNITS[encoder.size]}. Received: {heads}")
    return (yield from _convolved(inputs, encoder, tensor, NeighbourAttention, num_heads=heads))


def build_entity_rgcn(inputs, encoder, tensor):
    """A mean over the neighbours of each relation, each with its own matrix; two steps far, but for `tiny`, one.

    Options: as `build_entity_embedding`, and `bases`. The tokens are its one depth.

    Args:
        inputs: As in `build_entity_embedding`.
        encoder: As in `build_entity_embedding`.
        tensor: As in `build_entity_embedding`.

    Returns:
        As `build_entity_gat`.

    Reference:
        Schlichtkrull et al. 2018, arXiv:1703.06103, section 2; see `RelationalConvolution`.
    """
    bases = encoder.options["bases"]
    return (yield from _convolved(inputs, encoder, tensor, RelationalConvolution, bases=bases))


def _vectors(encoder, tensor):
    graph = tensor.graph
    shape = (tensor.vocabulary_size, encoder.options["dim"])
    widths = {"numbers": graph.numbers.shape[1], "tokens": graph.tokens.shape[1], "token_count": graph.token_count}
    return NodeVectors(shape, **widths, forget=encoder.options["forget"], graph=graph)


def _convolved(inputs, encoder, tensor, convolution, **options):
    graph, units, hops = tensor.graph, UNITS[encoder.size], HOPS[encoder.size]
    width = graph.neighbours.shape[1]
    ids, relations, shares = Neighbourhood(graph.neighbours.shape, hops, graph)(inputs)
    mask = TokenMask()(ids)
    weights = mask if convolution is NeighbourAttention else shares
    x = layers.Dense(units, activation="relu")(_vectors(encoder, tensor)(ids))
    x = layers.Dropout(encoder.dropout)(x)
    for _ in range(hops):
        places = x.shape[1]
        before = x
        x = convolution(units, width, graph.relation_count, **options)([x, relations[:, :places], weights[:, :places]])
        x = layers.Dropout(encoder.dropout)(x)
    mask = mask[:, : 1 + width]
    tokens = ApplyMask()([layers.Concatenate(axis=1)([x, before[:, 1 : 1 + width]]), mask])
    state = yield {"features": tokens, "mask": mask}
    tokens, mask = state["features"], state["mask"]
    embedding = layers.Dense(units, activation="relu")(tokens[:, 0])
    return {"tokens": tokens, "mask": mask, "embedding": layers.Dropout(encoder.dropout)(embedding)}

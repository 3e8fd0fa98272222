"""Layers over the nodes of a knowledge graph. The graph itself is in the weights that are not trained."""

import keras
import numpy as np
from keras import layers, ops

from mm_keras.masking import masked_mean, masked_softmax


def _fixed(layer, name, shape, dtype, values):
    """Adds a weight that is not trained; a stored model brings its own values, so that no config holds them."""

    def initial(shape, dtype=None):
        return ops.zeros(shape, dtype) if values is None else ops.convert_to_tensor(np.asarray(values), dtype)

    return layer.add_weight(name=name, shape=shape, dtype=dtype, initializer=initial, trainable=False, autocast=False)


@keras.saving.register_keras_serializable("mm_keras")
class Neighbourhood(layers.Layer):
    """Lists an entity, its neighbours, theirs, and so on, as a tree.

    The children of place `p` stand at the places `1 + p * width` to `(p + 1) * width`.

    Args:
        shape: `(entities, width)` of the tables.
        hops: How many steps away from the entity the list goes. Defaults to `1`.
        graph: The `Graph` that fills the tables of a new layer; a stored one brings its own.

    Input shape:
        Int32 `(batch, 1)`, ids.

    Output shape:
        `[ids, relations, shares]`, each `(batch, places)` with `1 + width + .. + width ** hops` places: int32 ids, 0
        where there is none; int32, how a place is reached from its parent, 0 for the first; float, 1 over the number of
        places that this parent reaches by this relation, 0 where there is none.
    """

    def __init__(self, shape, hops=1, graph=None, **kwargs):
        super().__init__(**kwargs, autocast=False)
        self.shape, self.hops, self.graph = tuple(shape), hops, graph

    def build(self, input_shape):
        values = dict.fromkeys(("neighbours", "relations", "shares"))
        if self.graph is not None:
            values |= {"neighbours": self.graph.neighbours, "relations": self.graph.relations}
            values["shares"] = relation_shares(self.graph.neighbours, self.graph.relations)
        kinds = {"neighbours": "int32", "relations": "int32", "shares": "float32"}
        self.tables = [_fixed(self, name, self.shape, kind, values[name]) for name, kind in kinds.items()]

    def call(self, ids):
        width, level = self.shape[1], ids
        found = [[ids], [ops.zeros_like(ids)], [ops.cast(ops.not_equal(ids, ops.zeros((), ids.dtype)), "float32")]]
        for _ in range(self.hops):
            places = level.shape[1] * width
            below = [ops.reshape(ops.take(table, level, axis=0), (-1, places)) for table in self.tables]
            for parts, values in zip(found, below, strict=True):
                parts.append(values)
            level = below[0]
        ids, relations, shares = (ops.concatenate(parts, axis=1) for parts in found)
        return [ids, relations, ops.cast(shares, self.compute_dtype)]

    def compute_output_spec(self, ids):
        places = sum(self.shape[1] ** hop for hop in range(self.hops + 1))
        return [keras.KerasTensor((ids.shape[0], places), dtype=d) for d in ("int32", "int32", self.compute_dtype)]

    def get_config(self):
        return {**super().get_config(), "shape": self.shape, "hops": self.hops}


def relation_shares(neighbours, relations):
    """Returns float32 like `neighbours`: 1 over how many neighbours an entity has by the same relation, 0 for padding.

    This is 1 / c of R-GCN, over the neighbours that were drawn.
    """
    there = np.asarray(neighbours) != 0
    alike = (relations[:, :, None] == relations[:, None, :]) & there[:, None, :]
    return np.where(there, 1.0 / np.maximum(alike.sum(axis=2), 1), 0.0).astype(np.float32)


@keras.saving.register_keras_serializable("mm_keras")
class NodeVectors(layers.Layer):
    """Makes each entity a vector: its own learned one, a linear map of its numbers, and one of its mean WordPiece.

    An entity's own vector is learned from the rows that name it or a neighbour of it. In training it is forgotten
    at random, without scaling the others, so that the model also learns to answer from the features and the neighbours;
    one that was never trained is near zero, as a forgotten one.

    Args:
        shape: `(entities, units)` of the own vectors.
        numbers: Width of the table of numbers, 0 for none. Defaults to `0`.
        tokens: WordPieces of a text, 0 for none. Defaults to `0`.
        token_count: Size of their vocabulary. Defaults to `0`.
        forget: Probability of an own vector to be zero in training. Defaults to `0.0`.
        graph: The `Graph` that fills the tables of a new layer; a stored one brings its own.

    Input shape:
        Int32 `(batch, places)`, ids; 0 is none.

    Output shape:
        `(batch, places, units)`; of id 0 zero, but for an own vector that is learned for it.

    Reference:
        Iyyer et al. 2015, Deep Unordered Composition, section 3.1 (dropping whole words). Differs: of entities.
    """

    def __init__(self, shape, numbers=0, tokens=0, token_count=0, forget=0.0, graph=None, **kwargs):
        super().__init__(**kwargs)
        self.shape, self.numbers, self.tokens = tuple(shape), numbers, tokens
        self.token_count, self.forget, self.graph = token_count, forget, graph
        self.seed_generator = keras.random.SeedGenerator()

    def build(self, input_shape):
        count, units = self.shape
        start = None if self.graph is None else self.graph.vectors
        small = keras.initializers.RandomNormal(stddev=0.02)
        given = (lambda shape, dtype=None: ops.convert_to_tensor(start, dtype)) if start is not None else small
        self.table = self.add_weight(shape=self.shape, initializer=given, name="table")
        scale = keras.initializers.RandomNormal(stddev=units**-0.5)
        graph = self.graph
        if self.numbers:
            self.known = _fixed(self, "numbers", (count, self.numbers), "float32", graph and graph.numbers)
            self.slopes = self.add_weight(shape=(self.numbers, units), initializer=scale, name="slopes")
        if self.tokens:
            self.texts = _fixed(self, "texts", (count, self.tokens), "int32", graph and graph.tokens)
            self.words = self.add_weight(shape=(self.token_count, units), initializer=scale, name="words")

    def call(self, ids, training=False):
        x = ops.take(ops.cast(self.table, self.compute_dtype), ids, axis=0)
        if training and self.forget:
            draws = keras.random.uniform((*ops.shape(ids), 1), dtype="float32", seed=self.seed_generator)
            x = x * ops.cast(draws >= self.forget, x.dtype)
        if self.numbers:
            x = x + ops.matmul(ops.cast(ops.take(self.known, ids, axis=0), x.dtype), ops.cast(self.slopes, x.dtype))
        if self.tokens:
            pieces = ops.take(self.texts, ids, axis=0)  # (batch, places, tokens)
            keep = ops.cast(ops.expand_dims(ops.not_equal(pieces, ops.zeros((), pieces.dtype)), -1), "float32")
            vectors = ops.take(ops.cast(self.words, "float32"), pieces, axis=0)
            x = x + ops.cast(masked_mean(vectors, keep, axis=-2), x.dtype)
        return x

    def compute_output_spec(self, ids, training=False):
        return keras.KerasTensor((*ids.shape, self.shape[1]), dtype=self.compute_dtype)

    def get_config(self):
        own = {"shape": self.shape, "numbers": self.numbers, "tokens": self.tokens}
        return {**super().get_config(), **own, "token_count": self.token_count, "forget": self.forget}


class _Convolution(layers.Layer):
    """What layers over a tree of places share: they take the tree down by one hop.

    Args:
        units: Size of a result.
        width: Children of a place.
        relation_count: Number of relation ids.
    """

    def __init__(self, units, width, relation_count, **kwargs):
        super().__init__(**kwargs)
        self.units, self.width, self.relation_count = units, width, relation_count

    def _split(self, x):
        """Returns `(parents (batch, parents, ...), their children (batch, parents, width, ...))`."""
        parents = (x.shape[1] - 1) // self.width
        return x[:, :parents], ops.reshape(x[:, 1:], (-1, parents, self.width, *x.shape[2:]))

    def compute_output_spec(self, inputs):
        x = inputs[0]
        return keras.KerasTensor((x.shape[0], (x.shape[1] - 1) // self.width, self.units), dtype=self.compute_dtype)

    def get_config(self):
        own = {"units": self.units, "width": self.width, "relation_count": self.relation_count}
        return {**super().get_config(), **own}


@keras.saving.register_keras_serializable("mm_keras")
class RelationalConvolution(_Convolution):
    """R-GCN: a place becomes its own linear map, and the sum over relations of a mean of mapped neighbours.

    Args:
        units: Size of a result.
        width: Children of a place.
        relation_count: Number of relation ids.
        bases: Matrices that those of the relations are combinations of. Defaults to `4`.

    Input shape:
        `[x (batch, places, channels), relations (batch, places), shares (batch, places)]`, laid out as
        `Neighbourhood` does.

    Output shape:
        `(batch, places that have children, units)`, not negative.

    Reference:
        Schlichtkrull et al. 2018, arXiv:1703.06103, section 2.1, equation 2, with the bases of section 2.2. Differs: a
        bias; neighbours are a fixed sample, over which c counts.
    """

    def __init__(self, units, width, relation_count, bases=4, **kwargs):
        super().__init__(units, width, relation_count, **kwargs)
        self.bases = bases

    def build(self, input_shape):
        channels = input_shape[0][-1]
        # Of `bases` matrices a relation takes a combination of variance 1.
        mix = keras.initializers.RandomNormal(stddev=self.bases**-0.5)
        self.mix = self.add_weight(shape=(self.relation_count, self.bases), initializer=mix, name="mix")
        shape = (self.bases * channels, self.units)
        glorot = keras.initializers.RandomUniform(*((s * (6 / (channels + self.units)) ** 0.5) for s in (-1, 1)))
        self.kernel = self.add_weight(shape=shape, initializer=glorot, name="kernel")
        self.own = self.add_weight(shape=(channels, self.units), initializer="glorot_uniform", name="own")
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs):
        x, relations, shares = inputs
        parents, children = self._split(x)
        (_, relations), (_, shares) = self._split(relations), self._split(shares)
        shares = ops.expand_dims(ops.cast(shares, x.dtype), -1)
        weights = ops.take(ops.cast(self.mix, x.dtype), relations, axis=0) * shares
        sums = ops.matmul(ops.swapaxes(weights, -1, -2), children)  # (batch, parents, bases, channels)
        sums = ops.reshape(sums, (-1, parents.shape[1], self.bases * x.shape[2]))
        y = ops.matmul(parents, ops.cast(self.own, x.dtype)) + ops.matmul(sums, ops.cast(self.kernel, x.dtype))
        return ops.relu(y + ops.cast(self.bias, x.dtype))

    def get_config(self):
        return {**super().get_config(), "bases": self.bases}


@keras.saving.register_keras_serializable("mm_keras")
class NeighbourAttention(_Convolution):
    """GAT: a place becomes a mean of itself and its neighbours, weighted by how they go together.

    Args:
        units: Size of a result; a multiple of `num_heads`.
        width: Children of a place.
        relation_count: Number of relation ids.
        num_heads: Attentions side by side. Defaults to `4`.

    Input shape:
        `[x (batch, places, channels), relations (batch, places), mask (batch, places)]`, laid out as `Neighbourhood`
        does; the mask is 1 where there is an entity.

    Output shape:
        `(batch, places that have children, units)`.

    Reference:
        Velickovic et al. 2018, arXiv:1710.10903, section 2.1. Differs: a relation's own vector is added to the
        neighbour it leads to (and one to the place itself) before both the score and the mean, since edges here have
        kinds; no dropout of attention; neighbours are a fixed sample.
    """

    def __init__(self, units, width, relation_count, num_heads=4, **kwargs):
        super().__init__(units, width, relation_count, **kwargs)
        if units % num_heads:
            raise ValueError(f"`units` must be a multiple of `num_heads`, {num_heads}. Received: units={units}")
        self.num_heads = num_heads

    def build(self, input_shape):
        channels, size = input_shape[0][-1], self.units // self.num_heads
        small = keras.initializers.RandomNormal(stddev=channels**-0.5)
        self.kinds = self.add_weight(shape=(self.relation_count, channels), initializer=small, name="kinds")
        self.kernel = self.add_weight(shape=(channels, self.units), initializer="glorot_uniform", name="kernel")
        scale = keras.initializers.RandomNormal(stddev=size**-0.5)
        self.asking, self.asked = (
            self.add_weight(shape=(self.num_heads, size), initializer=scale, name=n) for n in ("asking", "asked")
        )
        self.bias = self.add_weight(shape=(self.units,), initializer="zeros", name="bias")

    def call(self, inputs):
        x, relations, mask = inputs
        (parents, children), (_, relations), (keep, below) = (self._split(t) for t in (x, relations, mask))
        keep = ops.concatenate([ops.expand_dims(keep, -1), below], axis=-1)  # (batch, parents, 1 + width)
        kinds = ops.cast(self.kinds, x.dtype)
        children = children + ops.take(kinds, relations, axis=0)
        places = ops.concatenate([ops.expand_dims(parents + kinds[0], 2), children], axis=2)

        shape = (-1, parents.shape[1], 1 + self.width, self.num_heads, self.units // self.num_heads)
        values = ops.reshape(ops.matmul(places, ops.cast(self.kernel, x.dtype)), shape)
        asking = ops.sum(values[:, :, :1] * ops.cast(self.asking, x.dtype), axis=-1)
        asked = ops.sum(values * ops.cast(self.asked, x.dtype), axis=-1)
        scores = ops.cast(ops.leaky_relu(asking + asked, 0.2), "float32")  # (batch, parents, 1 + width, heads)

        shares = masked_softmax(scores, ops.cast(ops.expand_dims(keep, -1), "float32"), axis=2)
        y = ops.sum(values * ops.cast(ops.expand_dims(shares, -1), x.dtype), axis=2)
        y = ops.reshape(y, (-1, parents.shape[1], self.units))
        return ops.elu(y + ops.cast(self.bias, x.dtype))

    def get_config(self):
        return {**super().get_config(), "num_heads": self.num_heads}

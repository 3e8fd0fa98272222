"""Vectors of entities and relations, learned from triples alone: TransE and DistMult."""

import keras
import numpy as np
import tensorflow as tf

from mm_keras.errors import DataError
from mm_keras.preprocessing.chain import compiled
from mm_keras.recipe.inputs import PRETRAIN
from mm_keras.registry import nearest
from mm_keras.training.optimizer import summed

BATCH_ROWS, NEGATIVES, MARGIN, LEARNING_RATE = 512, 8, 1.0, 0.02


def transe_score(head, relation, tail):
    """Returns `-|head + relation - tail|`, the Euclidean distance, `(...)` of vectors `(..., dim)`.

    Reference:
        Bordes et al. 2013, Translating Embeddings for Modeling Multi-relational Data, section 2.
    """
    # The root has no slope at zero, where a vector meets itself.
    return -tf.sqrt(tf.reduce_sum(tf.square(head + relation - tail), axis=-1) + 1e-12)


def distmult_score(head, relation, tail):
    """Returns the sum of the products `head * relation * tail`, `(...)` of vectors `(..., dim)`.

    Reference:
        Yang et al. 2015, arXiv:1412.6575, section 2, the bilinear score with a diagonal matrix.
    """
    return tf.reduce_sum(head * relation * tail, axis=-1)


def margin_loss(true, false, margin=MARGIN):
    """Returns the mean of `max(0, margin - true + false)` over `true (rows, 1)` and `false (rows, negatives)`.

    Reference:
        Bordes et al. 2013, section 2, equation 1. Differs: a mean in place of the sum.
    """
    return tf.reduce_mean(tf.nn.relu(margin - true + false))


def logistic_loss(true, false):
    """Returns the mean of `log(1 + exp(-true))` and of `log(1 + exp(false))`, each counting one half.

    Reference:
        Trouillon et al. 2016, arXiv:1606.06357, section 4.3. Differs: true and false ones weigh alike, however many.
    """
    return 0.5 * (tf.reduce_mean(tf.nn.softplus(-true)) + tf.reduce_mean(tf.nn.softplus(false)))


SCORES = {"transe": transe_score, "distmult": distmult_score}
LOSSES = {"transe": margin_loss, "distmult": logistic_loss}


def train_vectors(triples, entity_count, relation_count, *, method="transe", dim=32, epochs=100, seed=0):
    """Learns a vector for each entity and relation, so that true triples score above corrupted ones.

    Each true triple meets eight false ones, whose head or tail is drawn at random; Adam, batches of 512.
    TransE keeps the vectors of entities at length 1.

    Args:
        triples: Int array `(rows, 3)`: head, relation, tail.
        entity_count: Entities are numbered from 0.
        relation_count: Relations are numbered from 0.
        method: `"transe"` (margin loss) or `"distmult"` (logistic loss). Defaults to `"transe"`.
        dim: Length of the vectors. Defaults to `32`.
        epochs: Passes over the triples. Defaults to `100`.
        seed: Of initial vectors, order and false triples. Defaults to `0`.

    Returns:
        `(entities (entity_count, dim), relations (relation_count, dim))`, float32.

    Raises:
        DataError: On another method.

    Reference:
        Bordes et al. 2013, section 2, algorithm 1; Yang et al. 2015, arXiv:1412.6575, sections 2 and 3. Differs: Adam;
        eight false triples in place of one; DistMult with the logistic loss and without the length of 1.
    """
    check_method(method)
    triples = np.asarray(triples, np.int32).reshape(-1, 3)
    rng = np.random.default_rng(seed)
    bound = 6.0 / dim**0.5
    start = [rng.uniform(-bound, bound, (n, dim)).astype(np.float32) for n in (entity_count, relation_count)]
    if method == "transe":
        start = [_unit(s) for s in start]
    else:
        start = [s / 6.0 for s in start]
    entities, relations = (keras.Variable(s) for s in start)
    optimizer = keras.optimizers.Adam(LEARNING_RATE)
    optimizer.build([entities, relations])
    step = _step(entities, relations, optimizer, method)
    for _ in range(epochs):
        order = rng.permutation(len(triples))
        for begin in range(0, len(order), BATCH_ROWS):
            rows = triples[order[begin : begin + BATCH_ROWS]]
            others = rng.integers(entity_count, size=(len(rows), NEGATIVES), dtype=np.int32)
            step(rows, others, rng.random((len(rows), NEGATIVES)) < 0.5)
    entities, relations = entities.numpy(), relations.numpy()
    return (_unit(entities) if method == "transe" else entities), relations


def _step(entities, relations, optimizer, method):
    score, loss = SCORES[method], LOSSES[method]

    def run(rows, others, is_head):
        heads, tails = tf.where(is_head, others, rows[:, :1]), tf.where(is_head, rows[:, 2:], others)
        with tf.GradientTape() as tape:
            relation = tf.gather(relations.value, rows[:, 1:2])
            true = score(tf.gather(entities.value, rows[:, :1]), relation, tf.gather(entities.value, rows[:, 2:]))
            value = loss(true, score(tf.gather(entities.value, heads), relation, tf.gather(entities.value, tails)))
        gradients = tape.gradient(value, [entities.value, relations.value])
        optimizer.apply([summed(g) for g in gradients], [entities, relations])
        if method == "transe":
            entities.assign(entities / tf.maximum(tf.norm(entities.value, axis=1, keepdims=True), 1e-9))

    specs = (
        tf.TensorSpec([None, 3], tf.int32),
        tf.TensorSpec([None, NEGATIVES], tf.int32),
        tf.TensorSpec([None, NEGATIVES], tf.bool),
    )
    return compiled(run, *specs)


def _unit(vectors):
    return (vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-9)).astype(np.float32)


def check_method(method):
    """Raises `DataError` when there is no such way of learning vectors."""
    if method not in PRETRAIN:
        raise DataError(f"`method` must be one of {list(PRETRAIN)}.{nearest(method, PRETRAIN)} Received: {method!r}")


def numbered(triples):
    """Returns `(int32 array (rows, 3), entity names, relation names)` of triples of strings, in order of appearance."""
    entities = {n: i for i, n in enumerate(dict.fromkeys(n for h, _, t in triples for n in (h, t)))}
    relations = {n: i for i, n in enumerate(dict.fromkeys(r for _, r, _ in triples))}
    rows = [(entities[h], relations[r], entities[t]) for h, r, t in triples]
    return np.array(rows, np.int32).reshape(-1, 3), list(entities), list(relations)


def pretrain_vectors(spec, state, seed):
    """Returns what the vectors of an entity input start from: float32 `(entities, dim)`, or `None`.

    Args:
        spec: A `recipe.Entity`.
        state: Of its preprocessor, adapted.
        seed: Of the training.
    """
    options = spec.encoder_options
    if not options.get("pretrain"):  # a user's own encoder may have no such option
        return None
    triples, names, relations = numbered(state["triples"])
    how = {"method": options["pretrain"], "dim": options["dim"], "epochs": options["pretrain_epochs"], "seed": seed}
    found, _ = train_vectors(triples, len(names), len(relations), **how)
    vectors = np.zeros((len(state["vocabulary"]), options["dim"]), np.float32)
    ids = {name: i for i, name in enumerate(state["vocabulary"])}
    vectors[[ids[name] for name in names]] = found
    return vectors

"""MixUp and CutMix of whole examples: every input and every label of a pair by one share."""

import numpy as np
import tensorflow as tf

from mm_keras.errors import RecipeError
from mm_keras.preprocessing.augmentation import filled, stream
from mm_keras.preprocessing.augmentation.texts import compact


def mix_batch(batch, good, seed, infos, *, mixup=0.0, cutmix=0.0):
    """Mixes each row of a batch with another; a share of `1 - own` of all its inputs comes from there.

    The partner is the next row of the batch that has the same inputs, so that an input is present in both or missing in
    both; a row without such a partner stays as it is, and so does one that would lose an input by the mixing. `own` is
    drawn for each row from Beta(alpha, alpha).

    What a share means, by the shape of the model tensor:

    - floats, MixUp: `own * x + (1 - own) * y`. A cell or step that only one of the two has is faded, as its token is;
    - pictures `(.., height, width, channels)`, CutMix: a box of the other picture, at the same place;
    - steps `(steps, channels)`, CutMix: a run of steps of the other, at the same place;
    - tables and vectors `(features,)`, CutMix: columns of the other, drawn at random;
    - token ids `(steps,)`, both: ids cannot be added, so a run of `own` of the first text's tokens is followed by a run
      of `1 - own` of the other's.

    Sizes are rounded up or down at random, such that their expectation is the exact share.

    Targets are means weighted by share and loss weight, and loss weights are means weighted by share. So the gradient
    of cross-entropy and of squared error is that of the two rows' own losses, weighted by their shares, and a label
    that is absent (weight 0) has no say.

    Args:
        batch: `({input: model tensor (batch, ...)}, {key: target, float (batch, ...)}, {key: weight, float (batch,)})`.
        good: Bool `(batch,)`; the others are left alone.
        seed: Two int64.
        infos: `{input: TensorInfo}`.
        mixup: Alpha of MixUp; 0 is off.
        cutmix: Alpha of CutMix. With both, each row is mixed by one of them, at even odds.

    Returns:
        `(tensors, targets, weights)`, mixed.

    Reference:
        Zhang et al. 2018, arXiv:1710.09412, section 2; Yun et al. 2019, arXiv:1905.04899, section 3.1; for tables
        Somepalli et al. 2021, arXiv:2106.01342, section 4; for texts cf. Yoon et al. 2021, arXiv:2106.08062.
        Differs: one share for all inputs, drawn for each row; the box lies inside the picture, so that its share is
        the one drawn.
    """
    tensors, targets, weights = batch
    partner = _partners(tensors, good)
    rows = tf.shape(partner)[0]
    own, cuts = _draw_shares(rows, seed, mixup, cutmix)
    mixed = {
        name: _mix_input(x, tf.gather(x, partner), own, cuts, stream(seed, name), infos[name])
        for name, x in tensors.items()
    }
    whole = tf.not_equal(partner, tf.range(rows))
    for name, x in tensors.items():
        whole &= tf.equal(filled(mixed[name]), filled(x))
    own = tf.where(whole, own, 1.0)
    tensors = {name: tf.where(_columns(whole, x), mixed[name], x) for name, x in tensors.items()}
    return tensors, *_mix_labels(targets, weights, partner, own)


def check_mixing(infos, targets):
    """Raises when an input or a target cannot be mixed.

    Args:
        infos: `{input: TensorInfo}`.
        targets: `{key: array (rows, ...)}`.

    Raises:
        RecipeError: With the name.
    """
    for name, info in infos.items():
        if info.dtype != "float32" and not (len(info.shape) == 1 and info.vocabulary_size):
            raise RecipeError(
                f"inputs.{name}: `mixup` and `cutmix` need numbers or a text's tokens. "
                f"Received: {info.dtype} of shape {info.shape}"
            )
    for key, target in targets.items():
        if target.dtype.kind != "f":
            raise RecipeError(
                f"tasks.{key}: `mixup` and `cutmix` need targets that can be added. Received: {target.dtype}"
            )


def _partners(tensors, good):
    """Returns int `(batch,)`: for each row the next one, around the end, with the same inputs; itself if none has."""
    held = tf.stack([good, *(filled(x) for x in tensors.values())], axis=1)
    same = tf.reduce_all(tf.equal(held[:, None], held[None]), axis=2) & good[:, None]
    rows = tf.shape(held)[0]
    at = tf.range(rows)
    steps = tf.math.floormod(at[None] - at[:, None] - 1, rows)  # 0 is the next row, the last is the row itself
    nearest = tf.argmin(tf.where(same, steps, rows), axis=1, output_type=tf.int32)
    return tf.where(good, nearest, at)


def _draw_shares(rows, seed, mixup, cutmix):
    """Returns `(own (rows,), which rows are cut)`; the second is a Python bool where only one of both is on."""
    own = _shares(rows, stream(seed, "share of mixup"), mixup) if mixup else None
    if not cutmix:
        return own, False
    cut_own = _shares(rows, stream(seed, "share of cutmix"), cutmix)
    if not mixup:
        return cut_own, True
    cuts = tf.random.stateless_uniform([rows], stream(seed, "which of both")) < 0.5
    return tf.where(cuts, cut_own, own), cuts


def _mix_labels(targets, weights, partner, own):
    """Returns `(targets, weights)`, mixed."""
    mixed, total = {}, {}
    for key, target in targets.items():
        mine, theirs = weights[key] * own, tf.gather(weights[key], partner) * (1.0 - own)
        total[key] = mine + theirs
        blend = _blend(target, tf.gather(target, partner), tf.math.divide_no_nan(mine, total[key]))
        mixed[key] = tf.where(_columns(total[key] > 0.0, target), blend, target)
    return mixed, total


def _shares(rows, seed, alpha):
    """Returns float32 `(rows,)` of Beta(alpha, alpha)."""
    # In float64: of small alphas, both gammas often vanish in float32. Where both do here too, the row is left whole.
    one, two = tf.unstack(tf.random.stateless_gamma([2, rows], seed, tf.constant(alpha, tf.float64), dtype=tf.float64))
    return tf.cast(tf.where(one + two > 1e-300, one / (one + two), 1.0), tf.float32)


def _mix_input(x, other, own, cuts, seed, info):
    if info.dtype != "float32":
        return _join_texts(x, other, own, seed)
    if cuts is False:
        return _blend(x, other, own)
    taken = _cut(tf.shape(x)[0], own, seed, info)
    cut = tf.where(tf.reshape(taken, [-1, *taken.shape[1:], *[1] * (len(x.shape) - len(taken.shape))]), other, x)
    return cut if cuts is True else tf.where(_columns(cuts, x), cut, _blend(x, other, own))


def _cut(rows, own, seed, info):
    """Returns bool `(rows, axes..)`: which places come from the other row."""
    rank = len(info.shape)
    draws = tf.random.stateless_uniform([rows, 4], seed)
    if rank >= 3:
        height, width = info.shape[-3:-1]
        side = tf.sqrt(1.0 - own)
        down = _run(height, _round(side * height, draws[:, 0]), draws[:, 1])
        along = _run(width, _round(side * width, draws[:, 2]), draws[:, 3])
        box = down[:, :, None] & along[:, None, :]
        return tf.reshape(box, [-1, *[1] * (rank - 3), height, width])
    if rank == 2:
        return _run(info.shape[0], _round((1.0 - own) * info.shape[0], draws[:, 0]), draws[:, 1])
    groups = info.groups or (1,) * info.shape[0]
    count = len(groups)
    # The columns of the smallest draws: as many as the share asks for.
    order = tf.argsort(tf.random.stateless_uniform([rows, count], stream(seed, "columns")), axis=1)
    taken = tf.cast(tf.argsort(order, axis=1), tf.float32) < _round((1.0 - own) * count, draws[:, 0])[:, None]
    return tf.gather(taken, np.repeat(np.arange(count), groups), axis=1)


def _join_texts(x, other, own, seed):
    length = x.shape[1]
    draws = tf.random.stateless_uniform([tf.shape(x)[0], 3], seed)
    counts = [tf.reduce_sum(tf.cast(tf.not_equal(t, 0), tf.float32), axis=1) for t in (x, other)]
    # Rounded against each other: together they are never none, and never more than one over the longer text.
    mine = tf.minimum(tf.floor(own * counts[0] + draws[:, 0]), tf.math.ceil(own * counts[0]))
    theirs = (1.0 - own) * counts[1]
    theirs = tf.minimum(tf.floor(theirs + 1.0 - draws[:, 0]), tf.math.ceil(theirs))
    runs = [
        compact(text, _inside(length, kept, draws[:, i] * (count - kept + 1.0)))
        for i, (text, kept, count) in enumerate(zip((x, other), (mine, theirs), counts, strict=True), start=1)
    ]
    both = tf.concat(runs, axis=1)
    return compact(both, tf.not_equal(both, 0))[:, :length]


def _run(size, length, draw):
    """Returns bool `(rows, size)`: a run of `length` places at a random start."""
    return _inside(size, length, draw * (size - length + 1.0))


def _inside(size, length, start):
    at, start = tf.range(size, dtype=tf.float32)[None], tf.floor(start)[:, None]
    return (at >= start) & (at < start + length[:, None])


def _round(values, draws):
    """Rounds down or up, such that the expectation is the value."""
    return tf.floor(values + draws)


def _blend(x, other, own):
    own = _columns(own, x)
    return own * x + (1.0 - own) * other


def _columns(values, like):
    return tf.reshape(values, [-1] + [1] * (len(like.shape) - 1))

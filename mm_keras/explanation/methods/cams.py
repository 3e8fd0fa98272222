"""Class activation maps: the last feature map of an input, weighed by what its channels do for the output.

They are never negative and have no unit: only their proportions within one input mean something.
"""

import numpy as np

from mm_keras.explanation.methods.substitutes import filled, used


def gradcam(engine, tensors, column, steps):
    """Weighs each channel by its mean gradient.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`.
        steps: Left be.

    Returns:
        `(attributions, None)`; of an input without a feature map gradient x input (`methods.used` names it).
    Reference:
        Selvaraju et al. 2016, arXiv:1610.02391, section 3. Differs: any input with places; of a video, places of all
        frames are one map.
    """
    return _attribute("gradcam", _gradcam, engine, tensors, column, steps)


def gradcam_plus_plus(engine, tensors, column, steps):
    """Weighs each channel by its positive gradients, more where its activations are.

    Args:
        engine: As of `gradcam`.
        tensors: As of `gradcam`.
        column: As of `gradcam`.
        steps: As of `gradcam`.

    Returns:
        As `gradcam`.
    Reference:
        Chattopadhyay et al. 2017, arXiv:1710.11063, section 3.2, equation 19. Differs: the factor exp(score), one for
        the whole map, is left out, since it overflows; the alphas of a channel add up to 1, as in the authors' code.
    """
    return _attribute("gradcam++", _gradcam_plus_plus, engine, tensors, column, steps)


def layercam(engine, tensors, column, steps):
    """Weighs each channel at each place by its positive gradient there.

    Args:
        engine: As of `gradcam`.
        tensors: As of `gradcam`.
        column: As of `gradcam`.
        steps: As of `gradcam`.

    Returns:
        As `gradcam`.
    Reference:
        Jiang et al. 2021, doi:10.1109/TIP.2021.3089943, section III-B.
    """
    return _attribute("layercam", _layercam, engine, tensors, column, steps)


def _gradcam(features, gradients):
    return np.sum(_over_places(np.mean, gradients) * features, axis=-1)


def _gradcam_plus_plus(features, gradients):
    square = gradients**2
    below = 2 * square + gradients * square * _over_places(np.sum, features)
    alpha = np.divide(square, below, out=np.zeros_like(square), where=below != 0)
    total = _over_places(np.sum, alpha)
    alpha = np.divide(alpha, total, out=np.zeros_like(alpha), where=total != 0)
    return np.sum(_over_places(np.sum, alpha * np.maximum(gradients, 0)) * features, axis=-1)


def _layercam(features, gradients):
    return np.sum(np.maximum(gradients, 0) * features, axis=-1)


def _over_places(reduce, values):
    return reduce(values, axis=tuple(range(1, values.ndim - 1)), keepdims=True)


def _attribute(name, combine, engine, tensors, column, steps):
    used(name, engine)  # says so where there are none
    seen, found = engine.observe(tensors), {}
    for n, (features, gradients) in engine.differentiate_maps(seen.entries, seen.held, column).items():
        heat = np.maximum(combine(features.astype(np.float64), gradients.astype(np.float64)), 0)
        laid = lay_over(heat, seen.entries[n].shape)
        found[n] = laid * engine.present(n, tensors[n]).reshape(-1, *[1] * (laid.ndim - 1))
    return filled(name, engine, tensors, column, steps, found), None


def lay_over(heat, shape):
    """Brings maps to the places of an input where it enters, such that its channels add up to the map.

    Args:
        heat: `(rows, *places)`.
        shape: `(rows, *places of the input, ...)`; of further axes, each gets an equal part.

    Returns:
        Float64 array of that shape.
    """
    for axis in range(1, heat.ndim):
        heat = np.moveaxis(np.tensordot(enlarging(heat.shape[axis], shape[axis]), heat, (1, axis)), 0, axis)
    further = shape[heat.ndim :]
    spread = heat.reshape(*heat.shape, *[1] * len(further)) / max(int(np.prod(further)), 1)
    return np.broadcast_to(spread, shape).copy()


def enlarging(few, many):
    """Returns the matrix `(many, few)` that interpolates linearly, ends held: pixels are areas, not points."""
    at = np.clip((np.arange(many) + 0.5) * few / many - 0.5, 0, few - 1)
    low = np.minimum(at.astype(int), max(few - 2, 0))
    matrix = np.zeros((many, few))
    matrix[np.arange(many), low] = 1 - (at - low)
    matrix[np.arange(many), np.minimum(low + 1, few - 1)] += at - low
    return matrix

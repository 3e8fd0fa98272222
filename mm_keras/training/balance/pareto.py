"""MMPareto: the fusion's and an input's own gradient, joined such that neither loss rises."""

import tensorflow as tf

from mm_keras.training.balance.plain import PlainInputs
from mm_keras.training.optimizer import summed


class ParetoGradients(PlainInputs):
    """Conflict-free gradients of each encoder.

    Every input has a head of its own, with the same weight as the fusion's. Of the encoder of an input, with `g` the
    gradient of the fusion's loss and `u` that of its own head's,

        a    = 1/2                                              if g.u > 0
        a    = clip((u - g).u / |u - g|^2, 0, 1), of least norm  else
        h    = 2 a g + 2 (1 - a) u
        step = magnitude * the step of AdamW along h * max(1, |g + u| / |h|).

    All else has the gradient of the sum. The history has the means over the steps of `cosine_<input>`, that of the
    angle between `g` and `u`, and of `weight_<input>`, `2 (1 - a)`.

    Args:
        plan: A `Plan`.
        magnitude: Factor on the encoders' steps.

    Reference:
        Wei and Hu 2024, arXiv:2405.17730, section 3.3 and algorithm 1; norms and `magnitude` as in their code
        (GeWu-Lab/MMPareto_ICML2024). Differs: norms are of the whole encoder, not of each tensor; `magnitude` is on the
        step, which for SGD is the same, since Adam would divide it out.
    """

    def __init__(self, plan, magnitude):
        super().__init__(plan)
        self.magnitude = magnitude
        self.keep_columns(("cosine", "weight"))

    def steps(self):
        return {n: tf.constant(self.magnitude, tf.float32) for n in self.plan.encoders}

    def gradients(self, step):
        variables = self.plan.variables
        joint = [summed(g) for g in step.tape.gradient(step.fusion, variables)]
        alone = [summed(g) for g in step.tape.gradient(list(step.alone.values()), variables)]
        found = [_sum(g, u) for g, u in zip(joint, alone, strict=True)]
        place = {id(w): i for i, w in enumerate(variables)}
        for name, own in self.plan.encoders.items():
            places = [i for i in (place[id(w)] for w in own) if found[i] is not None]
            if not places:
                continue
            g, u = ([_zeros_for(gs[i], found[i]) for i in places] for gs in (joint, alone))
            share, factor, cosine = combine(*(_products(a, b) for a, b in ((g, g), (u, u), (g, u))))
            self.record(f"cosine_{name}", cosine)
            self.record(f"weight_{name}", 2.0 * (1.0 - share))
            for i, own_g, own_u in zip(places, g, u, strict=True):
                found[i] = factor * 2.0 * (share * own_g + (1.0 - share) * own_u)
        return found


def combine(gg, uu, gu):
    """Joins two gradients of which only the inner products are known.

    Args:
        gg: Of the first with itself, a scalar.
        uu: Of the second with itself.
        gu: Of the first with the second.

    Returns:
        `(share, factor, cosine)`: the joint gradient is `factor * 2 * (share * g + (1 - share) * u)`.
    """
    apart = gg + uu - 2.0 * gu
    least = tf.clip_by_value(tf.math.divide_no_nan(uu - gu, apart), 0.0, 1.0)
    share = tf.where(gu > 0.0, 0.5, least)
    rest = 1.0 - share
    joint = 4.0 * (share**2 * gg + rest**2 * uu + 2.0 * share * rest * gu)
    # Two gradients that cancel leave nothing to enlarge: not less than a thousandth of their sizes.
    joint = tf.maximum(joint, 1e-6 * (gg + uu))
    factor = tf.maximum(1.0, tf.sqrt(tf.math.divide_no_nan(tf.maximum(gg + uu + 2.0 * gu, 0.0), joint)))
    return share, factor, tf.math.divide_no_nan(gu, tf.sqrt(gg) * tf.sqrt(uu))


def _products(one, two):
    return tf.add_n([tf.reduce_sum(a * b) for a, b in zip(one, two, strict=True)])


def _sum(one, two):
    return two if one is None else one if two is None else one + two


def _zeros_for(gradient, like):
    return tf.zeros_like(like) if gradient is None else gradient

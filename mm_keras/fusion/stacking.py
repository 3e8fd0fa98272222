"""Fusion of decisions by a second model, fitted on rows that the first one was not trained on."""

import itertools

import keras
import numpy as np
from keras import ops

from mm_keras.fusion.decision import DecisionMean

# More inputs than this have too many subsets to fit them all.
_MOST_ENUMERATED = 5


@keras.saving.register_keras_serializable("mm_keras")
class DecisionStacking(DecisionMean):
    """Trains as `DecisionMean`; then a linear model of all inputs' answers is fitted on the validation rows.

    The second model sees, of every input, the logarithms of its probabilities (or its value) and whether it is present;
    of an absent input, zeros. It is a multinomial logistic regression (or a ridge regression) whose penalty is the
    squared distance to the plain pool, which means the inputs' logarithms: with few rows it stays there. It is fitted
    on each row whole and without some of its inputs; the row as it is counts half of its weight, its subsets together
    the other half. `fit` calls `fit_on` after the last epoch; until then, and when there are no validation rows, the
    plain pool answers. The rows that fitted it also chose the best epoch, so their own scores flatter: judge it by test
    rows. `training.auxiliary` trains each input's head by itself too, which a second model is meant to read.
    Interacts: no.

    Args:
        probabilities: Whether the logits stand for classes.

    Input shape:
        `{input: logits (batch, classes)}` and `{input: (batch, 1)}`.

    Output shape:
        `(batch, classes)`.

    Reference:
        Wolpert 1992, Stacked generalization, sections 2 and 3; on class probabilities as Ting and Witten 1999,
        arXiv:1105.5466, section 2. Differs: their logarithms, in a logistic regression; one held-out part in place of
        folds, since the first model is a network; the ridge draws to the pool and not to zero.
    """

    def build(self, logits_shape, present_shape=None):
        super().build(logits_shape, present_shape)
        self.count = next(iter(logits_shape.values()))[-1]
        shape = (len(self.names) * (self.count + 1), self.count)
        # No gradient reaches them, `fit_on` sets them.
        self.kernel = self.add_weight(shape=shape, initializer="zeros", trainable=False, name="kernel")
        self.kernel.assign(self._pool_kernel())
        self.bias = self.add_weight(shape=(self.count,), initializer="zeros", trainable=False, name="bias")

    def _pool_kernel(self):
        """The plain pool: the mean of what the inputs say, an absent one saying nothing."""
        one = np.vstack([np.eye(self.count), np.zeros((1, self.count))]) / len(self.names)
        return np.tile(one, (len(self.names), 1))

    def call(self, logits, present=None, training=False):
        if training:
            return super().call(logits, present)
        features = []
        for name in self.names:
            said = ops.log_softmax(logits[name], axis=-1) if self.probabilities else logits[name]
            here = ops.ones_like(said[:, :1]) if present is None else present[name]
            features += [said * here, here]
        return ops.matmul(ops.concatenate(features, axis=-1), self.kernel) + self.bias

    def fit_on(self, logits, present, targets, weights):
        """Fits the second model; the same rows give the same weights.

        Args:
            logits: `{input: (rows, classes)}`, NumPy, as `call` takes them.
            present: `{input: (rows, 1)}`; `None` where none can be absent, and then no subsets are fitted.
            targets: Float `(rows, classes)`, one-hot, or `(rows, 1)` values.
            weights: `(rows,)`, how much each row counts; 0 without a label.

        Returns:
            How many rows it was fitted on: those that have a weight and any input.
        """
        said = np.stack([np.asarray(logits[name], np.float64) for name in self.names], axis=1)
        here = np.ones(said.shape[:2])
        if present is not None:
            here = np.concatenate([np.asarray(present[name], np.float64) for name in self.names], axis=1)
        used = (np.asarray(weights) > 0) & here.any(1)
        if not used.any():
            return 0
        said, here = said[used], here[used]
        targets, weights = np.asarray(targets, np.float64)[used], np.asarray(weights, np.float64)[used]
        if self.probabilities:
            top = said.max(-1, keepdims=True)
            said = said - top - np.log(np.exp(said - top).sum(-1, keepdims=True))
        rows, here, shares = (np.arange(len(here)), here, 1.0) if present is None else _subsets(here)
        features = np.concatenate([said[rows] * here[..., None], here[..., None]], axis=-1).reshape(len(rows), -1)
        features = np.concatenate([features, np.ones((len(rows), 1))], axis=1)  # the last is the bias's
        centre = np.vstack([self._pool_kernel(), np.zeros((1, self.count))])
        solve = _fit_logistic if self.probabilities else _fit_ridge
        found = solve(features, targets[rows], weights[rows] * shares, centre)
        self.kernel.assign(found[:-1])
        self.bias.assign(found[-1])
        return int(used.sum())


def _subsets(here):
    """Returns `(row numbers, their presence, their share of the row's weight)`: each row whole, then its subsets.

    Up to five inputs all subsets; of more, 32 drawn with a fixed seed.
    """
    count = here.shape[1]
    if count <= _MOST_ENUMERATED:
        kept = np.array([k for k in itertools.product((0.0, 1.0), repeat=count) if any(k) and not all(k)])
    else:
        kept = np.random.default_rng(0).integers(0, 2, (32, count)).astype(np.float64)
    kept = kept.reshape(-1, count)
    rows, presence, shares = [np.arange(len(here))], [here], []
    for row, own in enumerate(here):
        # As a set: what a row lacks anyway cannot make two subsets of one.
        parts = np.unique(kept * own, axis=0)
        parts = parts[parts.any(1) & (parts != own).any(1)]
        rows.append(np.full(len(parts), row))
        presence.append(parts)
        shares.append(np.full(len(parts), 0.5 / max(len(parts), 1)))
    whole = np.array([0.5 if len(s) else 1.0 for s in shares])
    return np.concatenate(rows), np.concatenate(presence), np.concatenate([whole, *shares])


def _fit_logistic(features, targets, weights, centre):
    """Returns the coefficients of least weighted cross-entropy plus half their squared distance to `centre`."""
    from scipy.optimize import minimize

    def loss(flat):
        coefficients = flat.reshape(centre.shape)
        z = features @ coefficients
        z -= z.max(1, keepdims=True)
        log = z - np.log(np.exp(z).sum(1, keepdims=True))
        slope = features.T @ (weights[:, None] * (np.exp(log) * targets.sum(1, keepdims=True) - targets))
        away = coefficients - centre
        return 0.5 * (away**2).sum() - (weights * (targets * log).sum(1)).sum(), (slope + away).ravel()

    found = minimize(loss, centre.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 1000, "ftol": 1e-10})
    return found.x.reshape(centre.shape)


def _fit_ridge(features, targets, weights, centre):
    """Returns the coefficients of least weighted squared error plus their squared distance to `centre`."""
    weighed = features.T * weights
    penalty = np.eye(features.shape[1])
    return centre + np.linalg.solve(weighed @ features + penalty, weighed @ (targets - features @ centre))

"""One network whose weights are the mean of several."""

import numpy as np


def mean_weights(weights):
    """Returns the mean of networks' weights, a list of arrays like each.

    Statistics of batch normalisation are averaged as weights are. What is no float, such as a table of neighbours, is
    the same in all.

    Args:
        weights: `[model.get_weights()]` of networks of one kind.
    """
    means = []
    for parts in zip(*weights, strict=True):
        is_float = np.issubdtype(parts[0].dtype, np.floating)
        # In float64, so that the mean of equal weights is these weights, bit for bit.
        means.append(np.mean(parts, axis=0, dtype=np.float64).astype(parts[0].dtype) if is_float else parts[0])
    return means


def greedy_soup(weights, scores, score):
    """Adds networks to a mean of weights, the best first, each where it does no harm.

    Args:
        weights: `[model.get_weights()]`.
        scores: Float of each network, more is better.
        score: Function of weights that gives their score, on the rows that gave `scores`.

    Returns:
        `(numbers of the networks that were taken, in that order, their mean weights, its score)`. The score is never
        below the best of `scores`.

    Reference:
        Wortsman et al. 2022, arXiv:2203.05482, section 2, recipe 1.
    """
    order = sorted(range(len(weights)), key=lambda i: -scores[i])
    taken, mean, best = order[:1], weights[order[0]], scores[order[0]]
    for number in order[1:]:
        tried = mean_weights([weights[i] for i in (*taken, number)])
        found = score(tried)
        if found >= best:
            taken, mean, best = [*taken, number], tried, found
    return taken, mean, best

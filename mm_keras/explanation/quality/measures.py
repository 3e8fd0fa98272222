"""How faithful a map is to its model, and how well it points at a known truth. Arrays in, one number a row out."""

import numpy as np
from scipy.stats import rankdata

STEPS = 16
DRAWS, SHARE = 64, 0.2


def curves(values_without, relevance, there, steps=STEPS):
    """Takes units away, and puts them back, the most relevant first.

    Args:
        values_without: Function of bool `(rows, variants, units)`, what is gone, to `(rows, variants)`.
        relevance: Signed `(rows, units)`.
        there: Bool `(rows, units)`: the units that hold anything; the others do not count.
        steps: In how many equal parts of the units.

    Returns:
        `(deletion, insertion)`, each `(rows, steps + 1)`: the outputs with nothing to everything taken away, and with
        nothing to everything there.

    Reference:
        Petsiuk et al. 2018, arXiv:1806.07421, section 4.2. Differs: a part is blanked, not blurred, in the space where
        the input enters; outputs are logits.
    """
    ranks = rankdata(np.where(there, -relevance, np.inf), method="ordinal", axis=1) - 1
    most = np.round(np.arange(steps + 1) / steps * there.sum(axis=1, keepdims=True))  # (rows, steps + 1)
    first = ranks[:, None, :] < most[:, :, None]
    both = values_without(np.concatenate([first, ~first], axis=1))
    return both[:, : steps + 1], both[:, steps + 1 :]


def areas(deletion, insertion):
    """Returns `{"deletion", "insertion", "gap"}`, each `(rows,)`.

    The area between the curve and the output with everything taken away, over how far apart the outputs with all and
    with nothing are, the mean over rows. Deletion is better when lower, insertion and their difference `gap` higher.
    """
    empty = deletion[:, -1:]
    with np.errstate(invalid="ignore"):
        scale = np.nanmean(np.abs(deletion[:, 0] - deletion[:, -1])) if len(deletion) else 0.0
    scale = scale if scale > 0 else np.nan
    down, up = ((curve - empty).mean(axis=1) / scale for curve in (deletion, insertion))
    return {"deletion": down, "insertion": up, "gap": up - down}


def subsets(there, rng, draws=DRAWS, share=SHARE):
    """Returns bool `(rows, draws, units)`: random subsets of the units that hold anything, one unit at least."""
    order = rankdata(np.where(there[:, None, :], rng.random((len(there), draws, there.shape[1])), 2.0), axis=2)
    most = np.maximum(np.round(share * there.sum(axis=1)), 1)
    return (order <= most[:, None, None]) & there[:, None, :]


def sensitivity(relevance, gone, drops):
    """Correlates what subsets of units should be worth with what the output loses without them.

    Args:
        relevance: Signed `(rows, units)`.
        gone: Bool `(rows, draws, units)`.
        drops: `(rows, draws)`, output less the output without the subset.

    Returns:
        `(rows,)`, Pearson's correlation over the draws; NaN where the output does not change at all, 0 where the
        relevance does not.

    Reference:
        Ancona et al. 2018, arXiv:1711.06104, section 4 (sensitivity-n, here n a fifth of the units).
    """
    said = np.einsum("rdu,ru->rd", gone, relevance)
    said, drops = (v - v.mean(axis=1, keepdims=True) for v in (said, drops))
    size = [np.sqrt((v**2).sum(axis=1)) for v in (said, drops)]
    product = size[0] * size[1]
    found = np.divide((said * drops).sum(axis=1), product, out=np.zeros(len(said)), where=product > 1e-12)
    return np.where(size[1] > 1e-6, found, np.nan)


def rank_correlation(one, other, there):
    """Returns `(rows,)`: Spearman's correlation of the sizes of two maps `(rows, units)` over the units that are there.

    Reference:
        Adebayo et al. 2018, arXiv:1810.03292, section 3.
    """
    found = np.full(len(one), np.nan)
    for row, keep in enumerate(there):
        ranks = [rankdata(np.abs(v[row, keep])) for v in (one, other)]
        if keep.sum() > 1 and min(r.std() for r in ranks) > 0:
            found[row] = np.corrcoef(ranks)[0, 1]
        elif keep.sum() > 1:
            found[row] = 0.0
    return found


def pointing(values, truth):
    """Returns whether the largest value of a map lies on the truth, a bool array like it.

    Reference:
        Zhang et al. 2016, arXiv:1608.00507, section 4.2.
    """
    return float(truth.ravel()[np.argmax(values)])


def mass(values, truth):
    """Returns the share of a map's positive relevance that lies on the truth; 0 for a map without any.

    Reference:
        Arras et al. 2022, arXiv:2003.07258, section 3.3 (relevance mass accuracy).
    """
    positive = np.maximum(values, 0)
    total = positive.sum()
    return float(positive[truth].sum() / total) if total > 0 else 0.0

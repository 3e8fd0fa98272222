"""Methods that tf-keras-vis has and we do not, one example at a time; it is imported when one is asked for."""

import numpy as np

from mm_keras.explanation.methods.cams import lay_over
from mm_keras.explanation.methods.substitutes import filled, used


def scorecam(engine, tensors, column, steps):
    """Weighs each channel by the probability of the output when only what the channel marks is left of the input.

    A number without classes is taken as a probability by how far it came from its blank value.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`.
        steps: The most channels asked, those that vary most; each costs one run of the model.

    Returns:
        `(attributions, None)`; of an input without a feature map gradient x input (`methods.used` names it).
    Reference:
        Wang et al. 2019, arXiv:1910.01279, section 3; the choice of channels is that of Faster-ScoreCAM, as
        tf-keras-vis has it.
    """
    from mm_keras.explanation.keras_vis import score_weighted_map

    def one(name, entries, held, row):
        return lay_over(np.maximum(score_weighted_map(engine, name, entries, held, row, steps), 0), entries[name].shape)

    return _one_by_one("scorecam", one, engine, tensors, column, steps)


def activation_maximisation(engine, tensors, column, steps):
    """How the example must change for the output to rise: what steps uphill put in, and what they take away.

    Each input climbs by itself from the example. A picture stays in its range; others go as far as the steps lead,
    each a 64th of the range of the example's numbers at the steepest place.

    Args:
        engine: An `Engine`.
        tensors: `{input: array (rows, ...)}`.
        column: Int32 `(rows,)`.
        steps: How many uphill.

    Returns:
        `(attributions, None)`: the change, in the unit of the input. Texts, tables and entities, of which a step is no
        value that they can have, get gradient x input (`methods.used` names it).
    Reference:
        Erhan et al. 2009, Visualizing Higher-Layer Features of a Deep Network, section 3. Differs: from the example,
        without noise or prior.
    """
    from mm_keras.explanation.keras_vis import climb

    def one(name, entries, held, row):
        return climb(engine, name, entries, held, row, steps, engine.kinds[name]) - entries[name]

    return _one_by_one("activation_maximisation", one, engine, tensors, column, steps)


def _one_by_one(name, one, engine, tensors, column, steps):
    seen, found = engine.observe(tensors), {}
    methods = used(name, engine)
    for n in (n for n, m in methods.items() if m == name):
        rows = []
        for i in range(len(column)):
            entries, held = ({k: v[i : i + 1] for k, v in tree.items()} for tree in (seen.entries, seen.held))
            is_there = engine.present(n, tensors[n][i : i + 1])[0]
            made = one(n, entries, held, column[i : i + 1]) if is_there else np.zeros_like(entries[n])
            rows.append(np.asarray(made, np.float64))
        found[n] = np.concatenate(rows)
    return filled(name, engine, tensors, column, steps, found), None

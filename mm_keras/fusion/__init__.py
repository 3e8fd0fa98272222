"""The embeddings of all inputs -> one joint embedding. A fusion never asks which modality it holds.

`level` says what a fusion joins, and how it is called. All arguments are dicts with the same keys; `present` is
`{input: (batch, 1)}`, 1 or 0, and an absent input's embedding is already its learned one.

`"embeddings"`  a layer, `fusion(embeddings, present) -> (batch, units)`; embeddings are `{input: (batch, channels)}`.
`"tokens"`      a layer, `fusion(embeddings, present, tokens, masks) -> (batch, units)`; tokens are
                `{input: (batch, steps, channels)}`, masks `{input: (batch, steps)}`, 1 keeps; steps and channels differ
                from input to input. Outside its mask a token is zero, and the mask of an absent input is all zero.
`"decisions"`   a layer, `fusion(logits, present) -> (batch, classes)`: each input has its own head, and the fusion
                joins their logits. Made once for each task; `probabilities` tells whether logits stand for classes.
                One with `fit_on(logits, present, targets, weights) -> rows used`, arrays of NumPy, is fitted on the
                validation rows after the last epoch.
`"depths"`      reaches into the encoders: no layer but an object that makes layers. `fusion.exchange(depth, features,
                masks, present) -> features` is called once for each depth, from 1, with the inputs that have it
                (`features` of any rank, `masks` `{input: (batch, steps) or None}`), and then `fusion.join(embeddings,
                present) -> (batch, units)`. Its layers are named `fusion_..`, the last one `fusion`.

What has no `level` is a plain Keras layer, or a function that returns one: it is called on the list of embeddings.
"""

import inspect
from functools import partial

from mm_keras.errors import RecipeError
from mm_keras.extension import is_layer, make_layer
from mm_keras.fusion.plain import PlainFusion
from mm_keras.registry import FUSIONS, resolve


def build_fusion(spec, **kwargs):
    """Returns the fusion layer that a `recipe.Fusion` names.

    Raises:
        RecipeError: When the layer refuses the recipe's `units` or `options`.
    """
    kind = resolve(FUSIONS[spec.kind])
    own = {} if getattr(kind, "level", "") == "decisions" else {"units": spec.units, "dropout": spec.dropout}
    try:
        if not hasattr(kind, "level"):
            return _build_plain(kind, own, spec.options, kwargs)
        # A layer that stands for itself has its own units.
        own = own if isinstance(kind, type) or not is_layer(kind) else {}
        return (partial(make_layer, kind) if is_layer(kind) else kind)(**own, **spec.options, **kwargs)
    except (ValueError, TypeError) as error:
        raise RecipeError(f"fusion {spec.kind!r}: {error}") from None


def _build_plain(kind, own, options, kwargs):
    """Wraps a layer that knows nothing of this package; a class or function gets what its signature names."""
    if is_layer(kind) and not isinstance(kind, type):
        return PlainFusion(make_layer(kind, **options), weights=kind.get_weights(), **kwargs)
    known = inspect.signature(kind).parameters
    own = {k: v for k, v in own.items() if k in known}
    layer = make_layer(kind, **own, **options) if is_layer(kind) else kind(**own, **options)
    if not is_layer(layer):
        raise RecipeError(f"expected a Keras layer. Received: {type(layer).__name__}")
    return PlainFusion(layer, **kwargs)


def fusion_level(spec):
    """Returns what a `recipe.Fusion` joins; see above."""
    return getattr(resolve(FUSIONS[spec.kind]), "level", PlainFusion.level)

"""The embeddings of all inputs -> one joint embedding. A fusion never asks which modality it holds.

Every fusion is a layer called as `fusion(embeddings, present)` with dicts `{input: (batch, channels)}` and
`{input: (batch, 1)}`; an absent input's embedding is already its learned one. `level` says what it joins:
`"embeddings"`, or `"decisions"`, where each input has its own head and the fusion joins their logits.
"""

from mm_keras.errors import RecipeError
from mm_keras.registry import FUSIONS, resolve


def build_fusion(spec, **kwargs):
    """Returns the fusion layer that a `recipe.Fusion` names.

    Raises:
        RecipeError: When the layer refuses the recipe's `units`.
    """
    kind = resolve(FUSIONS[spec.kind])
    if kind.level == "decisions":
        return kind(**kwargs)
    try:
        return kind(units=spec.units, dropout=spec.dropout, **kwargs)
    except ValueError as error:
        raise RecipeError(f"fusion: {error}") from None


def fusion_level(spec):
    """Returns `"embeddings"` or `"decisions"`."""
    return resolve(FUSIONS[spec.kind]).level

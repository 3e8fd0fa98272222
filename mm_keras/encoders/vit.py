"""Pictures as sequences of patches."""

from keras import layers

from mm_keras.encoders import UNITS
from mm_keras.encoders.masking import FullMask, pool_tokens
from mm_keras.encoders.patches import embed_patches
from mm_keras.encoders.transformer import PositionEmbedding, transformer
from mm_keras.errors import RecipeError

# As many as 16 x 16 pixels leave of 224 x 224, the paper's own.
MOST_PATCHES = 196


def build_image_vit(inputs, encoder, tensor):
    """A transformer over patches of the picture, each a token with a learned position.

    Blocks: `tiny` 1, `small` 2, `base` 4; heads of 16 units. Every block is a depth. The option `patch` is a patch's
    side in pixels; 0 takes 4, doubled until at most 196 patches are left.

    Args:
        inputs: Float `(batch, height, width, channels)` in [0, 1].
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.

    Returns:
        `{"tokens": (batch, patches, units), "mask": ones, "embedding": (batch, units)}`.

    Raises:
        RecipeError: When a patch is larger than the picture.

    Reference:
        Dosovitskiy et al. 2021, arXiv:2010.11929, section 3.1. Differs: no class token, all patches are pooled (their
        appendix D.3 finds that equal).
    """
    units = UNITS[encoder.size]
    side = encoder.options["patch"] or _patch_side(tensor.shape)
    if side > max(tensor.shape[:2]):
        raise RecipeError(f"a patch must fit the picture of {tensor.shape[:2]} pixels. Received: patch={side}")
    x, _ = embed_patches(inputs, (side, side), units)
    x = layers.Dropout(encoder.dropout)(PositionEmbedding()(x))
    x, _ = yield from transformer(x, None, encoder)
    return pool_tokens(x, FullMask()(x), units, encoder.dropout)


def _patch_side(shape):
    side = 4
    while -(-shape[0] // side) * -(-shape[1] // side) > MOST_PATCHES:
        side *= 2
    return side

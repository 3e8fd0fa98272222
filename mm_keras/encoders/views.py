"""Several pictures of one thing."""

from mm_keras.encoders.folding import encode_steps
from mm_keras.encoders.pooling import AttentionPooling


def build_views(build, inputs, encoder, tensor, options):
    """One image encoder reads every view, and attention pools their embeddings; the order of views is nothing to it.

    The depths are those of the image encoder.

    Args:
        build: A builder of `registry.ENCODERS["image"]`.
        inputs: Float `(batch, views, height, width, channels)`; a view of zeros is absent.
        encoder: `recipe.Encoder`.
        tensor: `TensorInfo`.
        options: Of the builder.

    Returns:
        `{"tokens": (batch, views, units), "mask": (batch, views), "embedding": (batch, units)}`.

    Reference:
        Ilse et al. 2018, arXiv:1802.04712, section 2.4.
    """
    tokens, mask = yield from encode_steps(build, inputs, encoder, tensor, options)
    return {"tokens": tokens, "mask": mask, "embedding": AttentionPooling(tokens.shape[-1])([tokens, mask])}

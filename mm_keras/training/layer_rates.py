"""The learning rate of each weight beside the others': smaller in an encoder's lower blocks, or by its own `rate`."""

from mm_keras.encoders.blocks import split_blocks
from mm_keras.model import carried_by, encoder_parts


def learning_rates(recipe, model, variables):
    """Returns the factor on the learning rate of each variable, or `None` when all are 1.

    Args:
        recipe: A `Recipe`; an encoder's `rate` is on what it carries, `training.layer_decay` on every encoder.
        model: What `build_model` returned.
        variables: Those that are trained.

    Reference:
        Howard and Ruder 2018, arXiv:1801.06146, section 3.2; Clark et al. 2020, arXiv:2003.10555, appendix A, the
        powers of one factor. Differs: blocks are read from the graph of each encoder; what joins the inputs, and heads,
        have the whole rate.
    """
    factors, decay = {}, recipe.training.layer_decay
    for name, spec in recipe.inputs.items():
        parts = encoder_parts(model, name)
        if spec.encoder.rate != 1.0:
            for part in carried_by(parts):
                factors |= {id(w): spec.encoder.rate for w in part.trainable_weights}
        if decay != 1.0:
            for depth, weights in enumerate(reversed(weights_by_block(parts)), 1):
                factors |= {id(w): factors.get(id(w), 1.0) * decay**depth for w in weights}
    return [factors.get(id(v), 1.0) for v in variables] if factors else None


def weights_by_block(parts):
    """Returns `[trainable weights]` of an encoder's blocks, from the input on; those without any are left out.

    Args:
        parts: The models that it is made of, in order. A backbone among their layers is taken apart.
    """
    blocks = []
    for part in parts:
        for layers in split_blocks(part, through_masks=True):
            inner = [layer for layer in layers if layer.name == "backbone"]
            if inner:
                blocks += [_weights(own) for own in split_blocks(inner[0])]
                layers = [layer for layer in layers if layer is not inner[0]]
            blocks.append(_weights(layers))
    return [block for block in blocks if block]


def _weights(layers):
    return [w for layer in layers for w in layer.trainable_weights]

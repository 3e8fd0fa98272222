"""Which method an input gets where the one that was asked for does not apply to it."""

from mm_keras.errors import DataError
from mm_keras.explanation.methods.gradients import gradient_x_input
from mm_keras.explanation.methods.occlusion import occlusion

# Methods that need a feature map of the input.
MAPPED = ("gradcam", "gradcam++", "layercam", "scorecam")
# What activation maximisation can change: numbers that are no ids and no one-hot cells.
CLIMBED = ("image", "views", "video", "audio", "vector", "series")


def used(name, engine):
    """Returns `{input: method}`: what each input gets when the method `name` is asked for.

    Ids of a model without a graph have no gradient: they are occluded. Where a class activation map finds no feature
    map, or there is nothing to climb, stands gradient x input.

    Args:
        name: Of `METHODS`.
        engine: An `Engine`.

    Raises:
        DataError: On a method of feature maps, where the model shows none of its layers.
    """
    if name in MAPPED and not engine.paths:
        raise DataError(
            f"method {name!r} reads a layer inside the model, and a subclassed model does not show its own. Build it "
            "from keras.Input, or take integrated_gradients, gradient, smoothgrad or occlusion."
        )
    return {n: _one(name, engine, n) for n in engine.kinds}


def _one(name, engine, given):
    if given in engine.closed:
        return "occlusion"
    if name in MAPPED and engine.maps[given] is None:
        return "gradient_x_input"
    if name == "activation_maximisation" and engine.kinds[given] not in CLIMBED:
        return "gradient_x_input"
    return name


def filled(name, engine, tensors, column, steps, found):
    """Returns attributions of all inputs: those found, and those of the substitutes."""
    methods = used(name, engine)
    for other, attribute in (("gradient_x_input", gradient_x_input), ("occlusion", occlusion)):
        if names := [n for n, m in methods.items() if m == other and n not in found]:
            made, _ = attribute(engine, tensors, column, steps)
            found |= {n: made[n] for n in names}
    return {n: found[n] for n in tensors}

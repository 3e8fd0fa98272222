"""How a prediction is shared out among the numbers that went in. A file for a family, all methods with one face.

`method(engine, tensors, column, steps) -> (attributions, start)`: `tensors` is a batch `{input: array (rows, ...)}`,
`column` int32 `(rows,)` the outputs explained, `steps` how often a method that averages or climbs asks the model;
others leave it be. `attributions` is `{input: float64 array}`, shaped as the input where it enters (`Engine.entries`),
such that numbers that a person sees as one (the channels of a pixel, the vector of a word) are to be added up. `start`
`(rows,)` is the output that they are measured from, so that they sum to the output less `start`, or `None` for a method
that keeps no such sum. What the inputs are (`kinds`, `groups`), which layers hold their feature maps and what stands
for nothing is told to the engine beforehand, by `Engine.asked`.

Signed methods speak for and against the output, in its unit; those in `UNSIGNED` tell how much, not which way.
"""

from mm_keras.explanation.methods.cams import gradcam, gradcam_plus_plus, layercam
from mm_keras.explanation.methods.gradients import gradient, gradient_x_input, integrated_gradients, smoothgrad
from mm_keras.explanation.methods.library import activation_maximisation, scorecam
from mm_keras.explanation.methods.occlusion import occlusion
from mm_keras.explanation.methods.substitutes import used

METHODS = {
    "integrated_gradients": integrated_gradients,
    "gradient": gradient,
    "gradient_x_input": gradient_x_input,
    "smoothgrad": smoothgrad,
    "gradcam": gradcam,
    "gradcam++": gradcam_plus_plus,
    "layercam": layercam,
    "scorecam": scorecam,
    "occlusion": occlusion,
    "activation_maximisation": activation_maximisation,
}
UNSIGNED = ("gradient", "smoothgrad", "gradcam", "gradcam++", "layercam", "scorecam")

__all__ = [
    "METHODS",
    "UNSIGNED",
    "activation_maximisation",
    "gradcam",
    "gradcam_plus_plus",
    "gradient",
    "gradient_x_input",
    "integrated_gradients",
    "layercam",
    "occlusion",
    "scorecam",
    "smoothgrad",
    "used",
]

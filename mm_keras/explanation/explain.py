"""`mm_keras.explain`: from a model and an example to an `Explanation`."""

import numpy as np

from mm_keras.explanation.coalitions import contributions, pairs_of
from mm_keras.explanation.explanation import Explanation
from mm_keras.explanation.methods import METHODS, used
from mm_keras.explanation.subjects import subject_of
from mm_keras.explanation.targets import find_target, find_task, known, name_of


def explain(
    run,
    example,
    target=None,
    method="integrated_gradients",
    task=None,
    steps=32,
    *,
    layers=None,
    inputs=None,
    baselines=None,
    names=None,
):
    """Shows what each input, and each part of it, contributed to one prediction.

    The inputs' scores are Shapley values: the model's output with every subset of them, the others missing, as
    it learned to do without. The maps inside an input are the method's; where it does not apply to an input, another
    stands in, which `Explanation.methods` names.

    A Keras model that mm_keras did not build is explained with the same words, once `inputs` says what its inputs hold:
    an input that is left out of a subset is its baseline. Read are the logits of an output that ends in a softmax or a
    sigmoid, be it a `Dense` with that activation or a layer of its own; else the output itself. A text enters at its
    `Embedding`; masks of `Embedding` and `Masking` layers stay as the example has them. Of a subclassed model nothing
    inside is known, so there are no class activation maps, and texts are occluded.

    Args:
        run: A `Run` or its folder, or a `keras.Model`.
        example: `{field: raw value}`, as `Run.encode` takes; an absent field is missing. Of a Keras model what it
            takes, without the batch: `{input: array}`, a list of arrays or one array.
        target: The class explained, by name or number. Defaults to the predicted one. A regression has none. Of an
            output with several axes, such as the tokens of a caption, a tuple: `(3, 17)` is token 17 at the fourth
            place. Or a function of the outputs, `{task: tensor (rows, ...)}`, logits where a task has classes, to a
            tensor `(rows,)`: `lambda o: o["category"][:, 0] - o["category"][:, 1]` tells one class from another, and
            `lambda o: keras.ops.sum(o["image"] * o["text"], axis=-1)` explains the similarity of a pair. A function of
            which several explanations are wanted is best defined once, since it is compiled.
        method: A name of `methods.METHODS`.
        task: Which task or output, by name or number. Defaults to the first.
        steps: How often the model is asked by methods that average or climb: points on the way of integrated
            gradients, of which 32 leave a median error under one percent; noisy examples of SmoothGrad; channels of
            Score-CAM; steps of activation maximisation.
        layers: `{input: path}`: the layers whose output is the feature map of class activation maps, in place of the
            last; a nested layer is `"mobilenet/out_relu"`.
        inputs: What the inputs of a Keras model hold, in the structure of `example`: `"image"`, `"text"` (int ids),
            `"audio"`, `"tabular"`, `"vector"` or `"series"`.
        baselines: Of a Keras model, `{input: array}` that stands for nothing. Defaults to zeros.
        names: Of a Keras model, `{input: names of its parts}`, a list (a text's by id) or a function of the array; and
            `{output: names of its units}`.

    Returns:
        An `Explanation`.

    Raises:
        DataError: On an unknown field, input, task, class, method or layer, and on a value that cannot be decoded or
            does not fit the model.
    """
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
    attribute = METHODS[known("method", method, METHODS)]
    subject = subject_of(run, example, inputs, layers, baselines, names)
    engine, tensors, task = subject.engine, subject.tensors, find_task(task, subject.tasks)
    seen = engine.observe(tensors)
    if callable(target):
        engine, column, name = engine.scored(target), 0, name_of(target)
    else:
        number, name = find_target(subject.tasks[task], target, seen.scores[0, engine.columns[task]])
        column = engine.columns[task].start + number

    shared = contributions(engine, tensors, np.array([column], np.int32), subject.blanks)
    attributions, start = attribute(engine, tensors, np.array([column], np.int32), steps)
    views = {n: subject.panel(n, a[0]) for n, a in attributions.items()}
    return Explanation(
        task=task,
        target=name,
        method=method,
        prediction=_prediction(subject.tasks[task], seen.outputs[task]),
        value=float(shared.values[0]),
        base_value=float(shared.base_values[0]),
        scores=dict(zip(shared.names, shared.scores[0].tolist(), strict=True)),
        score_errors=dict(zip(shared.names, shared.errors[0].tolist(), strict=True)),
        interactions=pairs_of(shared.names, shared.interactions[0]),
        interaction_errors=pairs_of(shared.names, shared.interaction_errors[0]),
        maps={n: values for n, (values, _) in views.items()},
        start_value=None if start is None else float(start[0]),
        panels={n: panel for n, (_, panel) in views.items()},
        methods=used(method, engine),
    )


def _prediction(task, outputs):
    columns = {name: values[0] for name, values in task.decode(outputs).items()}
    return {name: v.item() if hasattr(v, "item") else v for name, v in columns.items()}

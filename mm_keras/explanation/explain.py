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
        baselines: What maps are measured from, in place of the blank values of a run: `{field: raw value}`, as of
            `example`; for instance a white picture for pictures on white, of which the margin then counts for nothing.
            Of a Keras model `{input: array}` that stands for nothing. Defaults to zeros.
        names: Of a Keras model, `{input: names of its parts}`, a list (a text's by id) or a function of the array; and
            `{output: names of its units}`.

    Returns:
        An `Explanation`.

    Raises:
        DataError: On an unknown field, input, task, class, method or layer, and on a value that cannot be decoded or
            does not fit the model.
    """
    return explain_subject(subject_of(run, example, inputs, layers, baselines, names), target, method, task, steps)[0]


def explain_subject(subject, target=None, method="integrated_gradients", task=None, steps=32):
    """Returns an `Explanation` of each example of a subject, all in one batched pass; see `explain`."""
    if steps < 1:
        raise ValueError(f"`steps` must be at least 1. Received: steps={steps}")
    attribute = METHODS[known("method", method, METHODS)]
    engine, tensors, task = subject.engine, subject.tensors, find_task(task, subject.tasks)
    (engine, seen), own = engine.having_seen(tensors), engine.columns[task]
    if callable(target):
        engine, columns = engine.scored(target), [0] * len(seen.scores)
        names = [name_of(target)] * len(columns)
    else:
        found = [find_target(subject.tasks[task], target, scores[own]) for scores in seen.scores]
        columns, names = [own.start + number for number, _ in found], [name for _, name in found]
    columns = np.array(columns, np.int32)

    shared = contributions(engine, tensors, columns, subject.blanks)
    attributions, start = attribute(engine, tensors, columns, steps)
    predictions, methods = subject.tasks[task].decode(seen.outputs[task]), used(method, engine)
    made = []
    for row, name in enumerate(names):
        views = {n: subject.panel(n, row, a[row]) for n, a in attributions.items()}
        made.append(
            Explanation(
                task=task,
                target=name,
                method=method,
                prediction={c: _plain(values[row]) for c, values in predictions.items()},
                value=float(shared.values[row]),
                base_value=float(shared.base_values[row]),
                scores=dict(zip(shared.names, shared.scores[row].tolist(), strict=True)),
                score_errors=dict(zip(shared.names, shared.errors[row].tolist(), strict=True)),
                interactions=pairs_of(shared.names, shared.interactions[row]),
                interaction_errors=pairs_of(shared.names, shared.interaction_errors[row]),
                maps={n: values for n, (values, _) in views.items()},
                start_value=None if start is None else float(start[row]),
                panels={n: panel for n, (_, panel) in views.items()},
                methods=methods,
                is_logit=bool(engine.is_chance(columns[row])),
                started=subject.started,
            )
        )
    return made


def _plain(value):
    return value.item() if hasattr(value, "item") else value

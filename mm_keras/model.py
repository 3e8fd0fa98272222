"""One recipe -> one plain functional Keras model: inputs, graph, outputs."""

import re

import keras

from mm_keras.encoders import build_encoder, build_encoder_parts
from mm_keras.encoders.missing import MaskAbsent, MissingEmbedding, ModalityDropout, Presence
from mm_keras.fusion import build_fusion, fusion_level
from mm_keras.fusion.members import Beside
from mm_keras.registry import FUSIONS, resolve
from mm_keras.tasks.temperature import Temperature


def build_model(recipe, tensors, tasks, **options):
    """Builds the network that a recipe declares.

    Args:
        recipe: A `Recipe`.
        tensors: `{input: TensorInfo}`.
        tasks: `{task: task object}`, adapted.
        options: For the encoders; see `build_encoder`.

    Returns:
        A `keras.Model`, `{input: (batch, *shape)}` -> `{task: (batch, classes)}` of probabilities, or `(batch, 1)` in
        the task's unit. Layers are named `<input>_encoder`, `<input>_present`, `<input>_missing`, `fusion`,
        `<task>_logits`, `<task>_temperature` of a classification, and `<task>`.
    """
    inputs = {n: keras.Input(t.input_shape, dtype=t.dtype, name=n) for n, t in tensors.items()}

    present = {n: Presence(name=f"{n}_present")(x) for n, x in inputs.items()}
    kept = ModalityDropout(recipe.training.modality_dropout, recipe.training.seed, name="presence")(present)

    level = fusion_level(recipe.fusion)
    if level == "depths":
        fusion = build_fusion(recipe.fusion, name="fusion")
        encoded = _encode_together(recipe, tensors, inputs, kept, fusion, options)
    else:
        encoded = {n: build_encoder(n, recipe.inputs[n], tensors[n], **options)(x) for n, x in inputs.items()}
    embeddings = {n: MissingEmbedding(name=f"{n}_missing")([e["embedding"], kept[n]]) for n, e in encoded.items()}

    if level == "decisions":
        logits = {
            t: build_fusion(recipe.fusion, probabilities=task.is_categorical, name=f"{t}_logits")(
                {n: task.head(f"{t}_{n}_logits")(e) for n, e in embeddings.items()}, kept
            )
            for t, task in tasks.items()
        }
        return _model(inputs, logits, tasks)
    if level == "tokens":
        steps = {n: tensors[n].shape[0] if e["tokens"].shape[1] is None else None for n, e in encoded.items()}
        sequences = {
            n: MaskAbsent(steps[n], name=f"{n}_tokens")([e["tokens"], e["mask"], kept[n]]) for n, e in encoded.items()
        }
        tokens, masks = ({n: s[i] for n, s in sequences.items()} for i in (0, 1))
        joint = build_fusion(recipe.fusion, name="fusion")(embeddings, kept, tokens, masks)
    elif level == "depths":
        joint = fusion.join(embeddings, kept)
    else:
        joint = build_fusion(recipe.fusion, name="fusion")(embeddings, kept)
    return _model(inputs, {t: task.head(f"{t}_logits")(joint) for t, task in tasks.items()}, tasks)


def _model(inputs, logits, tasks):
    outputs = {}
    for t, task in tasks.items():
        calibrated = Temperature(name=f"{t}_temperature")(logits[t]) if task.is_categorical else logits[t]
        outputs[t] = task.output()(calibrated)
    return keras.Model(inputs, outputs, name="mm_keras")


def _encode_together(recipe, tensors, inputs, kept, fusion, options):
    """Runs all encoders depth by depth; at each, the fusion may read and change what is inside them.

    Encoders of fewer depths join at the last ones, where features mean most.
    """
    parts = {n: build_encoder_parts(n, recipe.inputs[n], tensors[n], **options) for n in inputs}
    deepest, states = max(len(p) for p in parts.values()) - 1, dict(inputs)
    for depth in range(1, deepest + 1):
        # Those that have as many parts left as the deepest one; its last comes after the last depth.
        here = [n for n in inputs if len(parts[n]) == deepest - depth + 2]
        for n in here:
            states[n] = parts[n].pop(0)(states[n])
        features, masks = {n: states[n]["features"] for n in here}, {n: states[n].get("mask") for n in here}
        for n, changed in fusion.exchange(depth, features, masks, kept).items():
            states[n] = {**states[n], "features": changed}
    return {n: parts[n].pop()(states[n]) for n in inputs}


def build_joined(recipe, tensors, tasks, count, kind, **options):
    """Builds several networks of one recipe and joins them; see `join_models`, and `build_model` for the arguments."""
    return join_models(recipe, [build_model(recipe, tensors, tasks, **options) for _ in range(count)], tasks, kind)


def join_models(recipe, models, tasks, kind):
    """Returns one network that asks several of the same recipe and joins their answers.

    Args:
        recipe: Their `Recipe`.
        models: As `build_model` returns them.
        tasks: `{task: task object}`, adapted.
        kind: Of the fusions of decisions, which here joins the models' decisions: `"decision_mean"`, say.

    Returns:
        A `keras.Model` as of `build_model`. The models are nested as `member_1`, `member_2` and so on, in layers of
        these names; `<task>_logits` joins what they say before the last layer; `<input>_missing` and `fusion`, of a
        fusion that has one, hold their embeddings side by side.
    """
    inputs = {n: keras.Input(t.shape[1:], dtype=t.dtype, name=n) for n, t in models[0].input.items()}
    stations = [f"{n}_missing" for n in inputs]
    stations += [] if fusion_level(recipe.fusion) == "decisions" else ["fusion"]
    said, embeddings = {t: {} for t in tasks}, {s: [] for s in stations}
    for number, model in enumerate(models, 1):
        # What the last layer takes, whatever stands between the head and it.
        outputs = {t: model.get_layer(t).input for t in tasks} | {s: model.get_layer(s).output for s in stations}
        member = keras.Model(model.input, outputs, name=f"member_{number}")
        found = member(inputs)
        for t in tasks:
            said[t][member.name] = found[t]
        for s in stations:
            embeddings[s].append(found[s])
    beside = {s: keras.layers.Concatenate(name=s)(values) for s, values in embeddings.items()}
    said = Beside(name="members")(said, beside)
    join = resolve(FUSIONS[kind])
    logits = {t: join(task.is_categorical, name=f"{t}_logits")(said[t]) for t, task in tasks.items()}
    return _model(inputs, logits, tasks)


def encoder_parts(model, name):
    """Returns the models that one input's encoder is made of, in order; one, unless a fusion reaches into it."""
    return [layer for layer in model.layers if re.fullmatch(rf"{name}_encoder(_\d+)?", layer.name)]


def carried_by(parts):
    """Returns what `train` and `rate` speak of, `[backbone]`, or all parts of an encoder that has none."""
    backbones = [layer for part in parts for layer in part.layers if layer.name == "backbone"]
    return backbones or parts


def temperature_of(model, task):
    """Returns the layer that calibrates a classification, a `Temperature`."""
    return model.get_layer(f"{task}_temperature")


def with_temperatures(model, tasks):
    """Returns the model, or, of one stored before there were temperatures, its equal with temperatures of 1."""
    known = {layer.name for layer in model.layers}
    if all(f"{t}_temperature" in known for t, task in tasks.items() if task.is_categorical):
        return model
    return _model(model.input, logits_model(model, tasks).output, tasks)


def logits_model(model, tasks):
    """Returns a model on the same layers that ends at `<task>_logits`, not yet calibrated: what losses read."""
    return keras.Model(model.input, {t: model.get_layer(f"{t}_logits").output for t in tasks}, name="logits")

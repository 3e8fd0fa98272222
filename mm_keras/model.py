"""One recipe -> one plain functional Keras model: inputs, graph, outputs."""

import re

import keras

from mm_keras.encoders import build_encoder, count_depths, encode_by_depths
from mm_keras.encoders.missing import MaskAbsent, MissingEmbedding, ModalityDropout, Presence
from mm_keras.fusion import build_fusion, fusion_level


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
        `<task>_logits` and `<task>`.
    """
    inputs = {n: keras.Input(t.shape, dtype=t.dtype, name=n) for n, t in tensors.items()}

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
        sequences = {n: MaskAbsent(name=f"{n}_tokens")([e["tokens"], e["mask"], kept[n]]) for n, e in encoded.items()}
        tokens, masks = ({n: s[i] for n, s in sequences.items()} for i in (0, 1))
        joint = build_fusion(recipe.fusion, name="fusion")(embeddings, kept, tokens, masks)
    elif level == "depths":
        joint = fusion.join(embeddings, kept)
    else:
        joint = build_fusion(recipe.fusion, name="fusion")(embeddings, kept)
    return _model(inputs, {t: task.head(f"{t}_logits")(joint) for t, task in tasks.items()}, tasks)


def _model(inputs, logits, tasks):
    return keras.Model(inputs, {t: task.output()(logits[t]) for t, task in tasks.items()}, name="mm_keras")


def _encode_together(recipe, tensors, inputs, kept, fusion, options):
    """Runs all encoders depth by depth; at each, the fusion may read and change what is inside them.

    Encoders of fewer depths join at the last ones, where features mean most.
    """
    walks = {n: encode_by_depths(n, recipe.inputs[n], tensors[n], x, **options) for n, x in inputs.items()}
    counts = {n: count_depths(recipe.inputs[n], tensors[n]) for n in inputs}
    depth_count, states, encoded = max(counts.values()), dict.fromkeys(inputs), {}
    for depth in range(1, depth_count + 1):
        here = {}
        for n in inputs:
            if depth > depth_count - counts[n]:
                here[n] = walks[n].send(states[n])
        states |= here
        changed = fusion.exchange(depth, {n: s["features"] for n, s in here.items()}, _masks(here), kept)
        states |= {n: {**s, "features": changed[n]} for n, s in here.items()}
    for n in inputs:
        try:
            walks[n].send(states[n])
        except StopIteration as end:
            encoded[n] = end.value
    return encoded


def _masks(states):
    return {n: s.get("mask") for n, s in states.items()}


def encoder_parts(model, name):
    """Returns the models that one input's encoder is made of, in order; one, unless a fusion reaches into it."""
    return [layer for layer in model.layers if re.fullmatch(rf"{name}_encoder(_\d+)?", layer.name)]


def logits_model(model, tasks):
    """Returns a model on the same layers that ends at `<task>_logits`: what losses and explanations read."""
    return keras.Model(model.input, {t: model.get_layer(f"{t}_logits").output for t in tasks}, name="logits")

"""One recipe -> one plain functional Keras model: inputs, graph, outputs."""

import keras

from mm_keras.encoders import build_encoder
from mm_keras.encoders.missing import MissingEmbedding, ModalityDropout, Presence
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
    embeddings = {}
    for n, x in inputs.items():
        encoded = build_encoder(n, recipe.inputs[n], tensors[n], **options)(x)
        embeddings[n] = MissingEmbedding(name=f"{n}_missing")([encoded["embedding"], kept[n]])

    if fusion_level(recipe.fusion) == "decisions":
        logits = {
            t: build_fusion(recipe.fusion, probabilities=task.is_categorical, name=f"{t}_logits")(
                {n: task.head(f"{t}_{n}_logits")(e) for n, e in embeddings.items()}, kept
            )
            for t, task in tasks.items()
        }
    else:
        joint = build_fusion(recipe.fusion, name="fusion")(embeddings, kept)
        logits = {t: task.head(f"{t}_logits")(joint) for t, task in tasks.items()}
    return keras.Model(inputs, {t: task.output()(logits[t]) for t, task in tasks.items()}, name="mm_keras")


def logits_model(model, tasks):
    """Returns a model on the same layers that ends at `<task>_logits`: what losses and explanations read."""
    return keras.Model(model.input, {t: model.get_layer(f"{t}_logits").output for t in tasks}, name="logits")

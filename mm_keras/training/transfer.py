"""Encoders that start from weights learned elsewhere, and what of them is trained, how fast."""

import importlib
import math
import warnings
from http.client import HTTPException
from pathlib import Path

import keras

from mm_keras.encoders.backbones import make_network
from mm_keras.encoders.blocks import split_blocks
from mm_keras.encoders.pieces import PieceVectors
from mm_keras.errors import RecipeError
from mm_keras.extension import first_line
from mm_keras.model import carried_by, encoder_parts
from mm_keras.recipe.hub import is_preset, read_part
from mm_keras.registry import nearest
from mm_keras.training.run import load_assets, load_run

FILES = (".h5", ".keras")
# Fields of an input that say what its tensor means: an encoder understands no other.
MEANING = {
    "image": ("channels",),
    "video": ("channels",),
    "text": ("remove",),
    "audio": ("sampling_rate", "window_ms", "hop_ms", "num_mel_bins", "min_hz", "max_hz"),
    "tabular": ("numeric", "categorical"),
}


def source_folder(spec):
    """Returns the run folder that an input's encoder starts from, or `None`."""
    weights = spec.encoder.weights
    if weights in ("", "imagenet") or weights.endswith(FILES) or _is_hub_preset(spec):
        return None
    return Path(weights)


def _is_hub_preset(spec):
    return spec.encoder_kind == "hub" and is_preset(spec.encoder.weights)


def source_state(name, spec):
    """Returns what preprocessing learned in the run that an input's encoder starts from, or `None`.

    An encoder understands only the vocabulary, statistics and categories that it was trained with.

    Raises:
        RecipeError: When there is no such run, or none of its inputs fits.
    """
    folder = source_folder(spec)
    if folder is None:
        return None
    recipe, preprocessors, _ = _assets(name, folder)
    return dict(preprocessors[source_input(name, spec, recipe.inputs)].state)


def source_input(name, spec, inputs):
    """Returns the name of the other run's input whose encoder is taken.

    Args:
        name: The input's name.
        spec: Its part of the recipe.
        inputs: `{name: input}` of the other run.

    Raises:
        RecipeError: When none fits, several do, or the one named does not.
    """
    place, wanted = f"inputs.{name}.encoder", (spec.layout, spec.encoder_kind)
    fitting = [n for n, other in inputs.items() if (other.layout, other.encoder_kind) == wanted]
    chosen = spec.encoder.weights_input or (name if name in fitting else fitting[0] if len(fitting) == 1 else None)
    if chosen is None:
        raise RecipeError(
            f"{place}: needs `weights_input`, one of {fitting}, the inputs of {spec.encoder.weights} that are {wanted}."
            if fitting
            else f"{place}: {spec.encoder.weights} has no {spec.layout} input with the encoder {wanted[1]!r}."
        )
    if chosen not in inputs:
        raise RecipeError(
            f"{place}: `weights_input` must be one of {sorted(inputs)}.{nearest(chosen, inputs)} Received: {chosen!r}"
        )
    if chosen not in fitting:
        other = inputs[chosen]
        raise RecipeError(
            f"{place}: {chosen!r} of {spec.encoder.weights} is {other.layout} with {other.encoder_kind!r}. "
            f"Expected: {wanted[0]} with {wanted[1]!r}"
        )
    differing = {f: getattr(inputs[chosen], f) for f in MEANING.get(spec.kind, ())}
    differing = {f: value for f, value in differing.items() if value != getattr(spec, f)}
    if differing:
        raise RecipeError(f"inputs.{name}: the run {spec.encoder.weights} was trained with {differing}; take the same.")
    return chosen


def start_encoders(recipe, model, preprocessors, load=True):
    """Gives encoders the weights that the recipe names, and freezes what is not to be trained.

    Args:
        recipe: A `Recipe`.
        model: Its model, new; changed in place.
        preprocessors: `{input: preprocessor}`, adapted.
        load: Whether to load the weights; else what is frozen is frozen alone, for weights that come from elsewhere.
            Defaults to `True`.

    Returns:
        Lines that tell a person what was done.

    Raises:
        RecipeError: When weights are absent or do not fit.
    """
    lines = []
    for name, spec in recipe.inputs.items():
        parts = encoder_parts(model, name)
        if getattr(preprocessors[name], "word_vectors", None) is not None:
            lines.append(f"{name}: {_give_vectors(parts, preprocessors[name])}")
        if not spec.encoder.weights:
            continue
        if load:
            _load(name, spec, parts)
        carried = carried_by(parts)
        freeze(name, spec.encoder, carried)
        counts = [sum(math.prod(w.shape) for w in ws) for ws in _by_trainability(carried)]
        lines.append(f"{name}: starts from {spec.encoder.weights}; {counts[0]:,} weights train, {counts[1]:,} do not")
    return lines


def _give_vectors(parts, preprocessor):
    vectors, facts = preprocessor.word_vectors, preprocessor.state["vectors"]
    for layer in (layer for part in parts for layer in part.layers if isinstance(layer, PieceVectors)):
        layer.vectors.assign(vectors)
        # Pieces without a vector begin as large as those with one: Keras draws them from +-0.05.
        layer.embeddings.assign(layer.embeddings * (vectors.std() / (0.05 / 3**0.5)))
    return (
        f"{facts['words']:,} of {len(preprocessor.state['vocabulary']):,} pieces are words with a vector of "
        f"{facts['file']}; they cover {facts['coverage']:.1%} of the training rows' words"
    )


def _by_trainability(parts):
    return (w for p in parts for w in p.trainable_weights), (w for p in parts for w in p.non_trainable_weights)


def freeze(name, encoder, carried):
    """Freezes what a recipe does not train; what is frozen runs as in inference.

    Args:
        name: The input's name.
        encoder: Its `recipe.Encoder`.
        carried: `[backbone]`, or the models of an encoder that has none, whose dropout stays as the recipe has it.

    Raises:
        RecipeError: When there are no more blocks than are to be trained.
    """
    if encoder.train == "all":
        return
    if encoder.train == "none":
        for part in carried:
            part.trainable = False
    if carried[0].name != "backbone":
        return
    blocks = split_blocks(carried[0])
    if encoder.train == "last" and encoder.blocks >= len(blocks):
        raise RecipeError(
            f"inputs.{name}.encoder: `blocks` must be less than the {len(blocks)} that it has. "
            f"Received: {encoder.blocks}. `train: all` trains them all."
        )
    for block in blocks[: -encoder.blocks] if encoder.train == "last" else blocks:
        for layer in block:
            # Normalisation of a layer that is not trainable is that of inference; dropout must be told.
            layer.trainable = False
            for inner in layer._flatten_layers():
                for rate in ("rate", "drop_path_rate"):
                    if isinstance(getattr(inner, rate, None), float):
                        setattr(inner, rate, 0.0)


def _load(name, spec, parts):
    source, place = spec.encoder.weights, f"inputs.{name}.encoder.weights"
    folder = source_folder(spec)
    if folder is not None:
        _assets(name, folder)
        run = load_run(folder)
        if (count := run.info.get("ensemble", {}).get("nested", 1)) > 1:
            raise RecipeError(
                f"{place}: {folder} holds {count} networks; take an ensemble of the kind 'soup', or a run."
            )
        other = encoder_parts(run.model, source_input(name, spec, run.recipe.inputs))
        _copy(place, source, other, parts)
        return
    carried = carried_by(parts)
    if source == "imagenet":
        _copy(place, source, [_download(place, spec.encoder_options)], carried)
        return
    if _is_hub_preset(spec):
        _copy(place, source, [_preset_network(place, spec)], carried)
        return
    if not Path(source).is_file():
        raise RecipeError(f"{place}: no such file. Received: {source!r}")
    if len(carried) > 1:
        raise RecipeError(f"{place}: this fusion cuts the encoder in {len(carried)}; take the weights of a run folder.")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)  # "retain their freshly-initialized weights"
            if source.endswith(".keras"):
                other = [keras.saving.load_model(source, compile=False)]
            else:
                carried[0].load_weights(source)
                return
    except (ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        raise RecipeError(
            f"{place}: {source} does not fit {_called(spec)}, whose file is made with `include_top=False`: "
            f"{first_line(error)}"
        ) from None
    _copy(place, source, other, carried)


def _assets(name, folder):
    if not (folder / "run.json").is_file():
        raise RecipeError(
            f"inputs.{name}.encoder.weights: expected a run folder, a .h5 or .keras file, or 'imagenet'. "
            f"Received: {str(folder)!r}"
        )
    return load_assets(folder)


def _download(place, options):
    try:
        return make_network(options, weights="imagenet")
    except ValueError as error:
        raise RecipeError(f"{place}: {options['name']} has no such published weights: {first_line(error)}") from None
    except Exception as error:
        # Keras raises a bare `Exception` when it is refused; a connection that breaks passes through as it is.
        if type(error) is not Exception and not isinstance(error, OSError | HTTPException):
            raise
        raise RecipeError(
            f"{place}: the weights of {options['name']} could not be downloaded: {first_line(error)}. "
            "Without a network, give a file: weights: path/to/weights.h5"
        ) from None


def _preset_network(place, spec):
    make = getattr(importlib.import_module("mm_keras.encoders.hub"), f"{spec.kind}_network")
    folder = Path(spec.encoder.weights)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            return make(read_part(folder, "config"), folder / "model.weights.h5")
    except (ValueError, OSError, KeyError, TypeError, UserWarning) as error:
        raise RecipeError(f"{place}: the preset {folder} cannot be read: {first_line(error)}") from None


def _copy(place, source, others, parts):
    """Copies weights in order; a head at the end of the other network is left out."""
    given, wanted = ([w for p in ps for w in p.weights] for ps in (others, parts))
    for at, weight in enumerate(wanted):
        shape = given[at].shape if at < len(given) else None
        if shape != weight.shape:
            raise RecipeError(
                f"{place}: {source} does not fit: {weight.path} has the shape {tuple(weight.shape)}. "
                f"Received: {None if shape is None else tuple(shape)}"
            )
    for weight, value in zip(wanted, given, strict=False):
        weight.assign(value)


def _called(spec):
    return spec.encoder_options.get("name", f"the encoder {spec.encoder_kind!r}")

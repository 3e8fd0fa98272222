"""What to change in a recipe or its files, from where the time goes."""

import statistics
import wave

from PIL import Image as Picture

GIB = 2**30
FEW = 8  # files that are looked at
SLOW = 0.25  # share of the reading time from which a stage is named


def advice_for(verdict, recipe, rows, seconds, size, cached, own):
    """Returns sentences, the one that brings most first.

    Args:
        verdict: `"input-bound"` or `"compute-bound"`.
        recipe: A `Recipe`.
        rows: The `Rows` that were measured.
        seconds: `{input: {stage: seconds a row}}`.
        size: Bytes of all training rows, decoded.
        cached: Whether the recipe keeps them.
        own: Share of a step on the chain that the model would need alone.
    """
    training = recipe.training
    if verdict == "compute-bound":
        return _for_compute(training, own)
    found = []
    files = any("decode" in stages for stages in seconds.values())
    if files and not cached:
        found.append(_for_cache(training, size))
    elif files and own < 0.5:
        found.append("The rows are kept decoded; what is left is `finish`, which every pass does anew.")
    # With a cache only what comes after it is paid in every pass.
    total = sum(s for stages in seconds.values() for s in stages.values())
    ranked = sorted(((s, n, stage) for n, stages in seconds.items() for stage, s in stages.items()), reverse=True)
    for took, name, stage in ranked:
        if took >= SLOW * total and not (cached and stage != "finish"):
            found.append(_for_stage(recipe.inputs[name], name, stage, took / total, rows))
    return found


def _for_compute(training, own):
    found = ["The files are quick enough: a faster model, a smaller `size` of its encoders, or a GPU brings more."]
    if own < 0.8:
        found.append("On this machine reading and the model share the cores; with a GPU they would not.")
    if training.batch_size < 64:
        found.append(f"A `batch_size` above {training.batch_size} may give more rows a second; measure it again.")
    return found


def _for_cache(training, size):
    if training.cache == "none":
        return f"`cache` is 'none': with 'memory' and `cache_gb: {_rounded_up(size)}` files are decoded once."
    return (
        f"`cache_gb: {training.cache_gb:g}` is too small for the {size / GIB:.2f} GB that the training rows take "
        f"decoded: raise it to {_rounded_up(size)}, with `cache: disk` where that is more than memory."
    )


def _rounded_up(size):
    return f"{max(1.02 * size / GIB, 0.01):.2f}"


def _for_stage(spec, name, stage, share, rows):
    """Returns what to do about the slowest stage of an input."""
    text = f"{stage.capitalize()} of {name!r} takes {share:.0%} of the reading time"
    if stage == "read":
        return f"{text}: pack the small files into few large ones, as shards."
    if spec.kind == "image" and stage == "decode":
        return text + _for_pictures(spec, _first(rows.cells[name]))
    if spec.kind == "audio" and stage == "decode":
        return text + _for_sounds(spec, _first(rows.cells[name]))
    if spec.kind == "video":
        return f"{text}: fewer `frames`, or frames that are shrunk once."
    if stage == "finish" and any(getattr(spec, word) for word in spec.augmentation if hasattr(spec, word)):
        return f"{text}; augmentation is part of it, every pass anew: {', '.join(_used(spec))}."
    return f"{text}."


def _used(spec):
    return [word for word in spec.augmentation if getattr(spec, word)]


def _first(cells):
    return [path for path in cells.reshape(-1)[: 4 * FEW] if path][:FEW]


def _for_pictures(spec, paths):
    sizes, kinds = [], set()
    for path in paths:
        try:
            with Picture.open(path) as picture:
                sizes.append(picture.size)
                kinds.add(picture.format)
        except OSError:
            continue
    if not sizes:
        return "."
    width, height = (int(statistics.median(side)) for side in zip(*sizes, strict=True))
    text = f"; the files are {width} x {height} for an input of {spec.size[1]} x {spec.size[0]}"
    if width < 2 * spec.size[1] or height < 2 * spec.size[0]:
        return text + "."
    side = 2 * max(spec.size)
    once = f"shrink them once to about {side} pixels (`mm-keras prepare --image-side {side}`)"
    if kinds <= {"JPEG"} and spec.channels != 4 and not spec.fast_decode:
        return f"{text}: `mm.Image(fast_decode=True)`, or {once}."
    return f"{text}: {once}."


def _for_sounds(spec, paths):
    rates = []
    for path in paths:
        try:
            with wave.open(path) as file:
                rates.append(file.getframerate())
        except (OSError, EOFError, wave.Error):
            continue
    if rates and statistics.median(rates) != spec.sampling_rate:
        return f"; the files have {statistics.median(rates):g} Hz for an input of {spec.sampling_rate}: resample once."
    return "."

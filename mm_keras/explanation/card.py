"""An explanation as HTML: one string that loads nothing from elsewhere. The layout is in `templates/`."""

import base64
import io

import numpy as np
from PIL import Image as Picture

from mm_keras.explanation.shading import (
    AGAINST,
    FOR,
    bars,
    grey_of,
    largest,
    marked,
    opacity,
    overlay,
    overlay_picture,
    plain,
    signed,
    strip,
    weights,
)
from mm_keras.explanation.words import join_parts
from mm_keras.pages import template

MOST_BARS, MOST_WORDS = 12, 3
# As CSS writes them.
HUES = {"for_": ", ".join(map(str, FOR)), "against": ", ".join(map(str, AGAINST))}


def render(explanation, page, style=True):
    """Returns the card.

    Args:
        explanation: An `Explanation`.
        page: Whether to return a whole page; else a fragment for a notebook, whose styles touch nothing else.
        style: Whether the fragment brings its styles, which one of several on a page does.
    """
    share = weights(explanation.scores)
    zero, spans = bars(list(explanation.scores.values()))
    inputs = [_input(explanation, n, share[n], span) for n, span in zip(explanation.panels, spans, strict=True)]
    top = max(map(abs, explanation.scores.values()))
    view = {"inputs": inputs, "hues": HUES, "zero": zero, "top": top, "chance": _chance(explanation)}
    return template("mm_keras.explanation", "card", signed=signed, plain=plain).render(
        e=explanation, page=page, style=style, **view
    )


def _chance(explanation):
    """Returns the probability of the class explained, as people write it, or nothing for a number."""
    share = explanation.prediction.get(f"{explanation.task}_{explanation.target}")
    if share is None:
        return ""
    return "> 99.9 %" if share > 0.999 else f"{100 * share:.1f} %"


def _input(explanation, name, weight, span):
    """Returns what the template needs of one input."""
    panel, values = explanation.panels[name], explanation.maps[name]
    score, share = explanation.scores[name], explanation.shares[name]
    view = {"name": name, "kind": panel.kind, "missing": panel.missing, "score": score, "share": share, "span": span}
    view |= {"error": explanation.score_errors[name], "side": "for" if score >= 0 else "against"}
    return view if panel.missing else view | VIEWS[panel.kind](panel, values, weight)


def _image(panel, values, weight):
    picture = np.asarray(panel.drawn) if panel.original is None else panel.original
    seen = "{}\N{MULTIPLICATION SIGN}{}".format(*values.shape[::-1])
    return {"picture": _photo(picture), "map": _photo(overlay_picture(panel, values, weight)), "seen": seen}


def _strip(panel, values, weight):
    pictures = np.asarray(panel.drawn)
    sheets = {"picture": strip(pictures), "map": strip(overlay(grey_of(panel), values, weight))}
    return {k: _png(sheet) for k, sheet in sheets.items()} | {"width": 130 * min(len(pictures), 8)}


def _series(panel, values, weight):
    steps, features = values.shape
    rows, columns = (marked(n) for n in (features, steps))
    names = [(round(100 - 100 * (r + 0.5) / features, 2), panel.names[r]) for r in rows]
    numbers = [(round(100 * (c + 0.5) / steps, 2), str(c + 1)) for c in columns]
    return {"map": _png(np.swapaxes(overlay(grey_of(panel), values, weight), 0, 1)), "names": names, "steps": numbers}


def _text(panel, values, weight):
    alphas = opacity(values, weight)
    words = [
        [{"text": t, "value": values[i], "alpha": round(float(alphas[i]), 3)} for i, t in word]
        for word in join_parts(panel)
    ]
    totals = np.array([sum(piece["value"] for piece in word) for word in words])
    strongest = np.argsort(-np.abs(totals), kind="stable")[:MOST_WORDS]
    said = ["".join(piece["text"] for piece in word).strip() or "\N{OPEN BOX}" for word in words]
    return {"words": words, "is_spelt": panel.is_spelt, "strongest": [(said[i], totals[i]) for i in strongest]}


def _audio(panel, values, weight):
    bands = len(panel.hertz)
    rows = np.linspace(0, bands - 1, min(bands, 5)).round().astype(int)
    hertz = [(round(100 * (r + 0.5) / bands, 2), f"{panel.hertz[r]:.0f}") for r in rows]
    seconds = [(25 * i, f"{panel.seconds * i / 4:.3g}") for i in range(5)]
    shape = {"map": _png(overlay(grey_of(panel), values, weight)[::-1]), "hertz": hertz, "seconds": seconds}
    return shape | {"sound": _data("audio/wav", panel.sound)}


def _table(panel, values, weight):
    rows = largest(values, MOST_BARS)
    zero, spans = bars(values[rows].tolist())
    parts = [(panel.names[i], panel.shown[i], float(values[i]), span) for i, span in zip(rows, spans, strict=True)]
    # Pale, not gone, where the whole input hardly counts: each panel has its own scale.
    shade = {"alpha": max(round(weight**0.5, 2), 0.3), "top": float(np.abs(values).max())}
    return {"bars": parts, "zero": zero, "left_out": len(values) - len(rows), **shade}


VIEWS = {
    "image": _image,
    "views": _strip,
    "video": _strip,
    "text": _text,
    "audio": _audio,
    "tabular": _table,
    "vector": _table,
    "series": _series,
    "entity": _table,
}


def _photo(pixels):
    """A large opaque picture as JPEG, which takes a tenth of the page that PNG does; else PNG, which loses nothing."""
    if max(pixels.shape[:2]) <= 128 or pixels.shape[-1] == 4:
        return _png(pixels)
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, "JPEG", quality=88)
    return _data("image/jpeg", file.getvalue())


def _png(pixels):
    file = io.BytesIO()
    Picture.fromarray(pixels).save(file, "PNG")
    return _data("image/png", file.getvalue())


def _data(kind, content):
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

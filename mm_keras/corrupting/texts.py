"""Texts that get worse: typing errors, and words left out."""

import re

import numpy as np

KEYBOARD = ("1234567890", "qwertyuiop", "asdfghjkl", "zxcvbnm")
# Of scripts without spaces each character is a word, as for the tokenizer.
_WORD = re.compile(r"(?:[\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]|[^\s\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff]+)\s*")


def _find_neighbours():
    """Returns `{key: the keys around it}`; each row stands half a key to the right of the one above."""
    place = {key: (row, column) for row, keys in enumerate(KEYBOARD) for column, key in enumerate(keys)}
    around = ((0, -1), (0, 1), (-1, 0), (-1, 1), (1, -1), (1, 0))
    at = {p: key for key, p in place.items()}
    return {
        key: "".join(at[row + dy, column + dx] for dy, dx in around if (row + dy, column + dx) in at)
        for key, (row, column) in place.items()
    }


NEIGHBOURS = _find_neighbours()


def open_text(preprocessor, raw):
    """Returns the text; bytes that are no UTF-8 come back as they were when it is written."""
    return raw[preprocessor.name].decode("utf-8", "surrogateescape")


def typing_errors(preprocessor, text, share, rng):
    """Makes one typing error at each letter by chance.

    The errors are, equally often: the letter is left out, changes places with the next, is followed by a wrong one, or
    is a wrong one. A wrong letter is a neighbour on the QWERTY keyboard, or, of what is not on it, another letter of
    the text.

    Args:
        preprocessor: Of the input.
        text: A string.
        share: Chance of an error at each character that is no white space.
        rng: A NumPy generator.

    Reference:
        Belinkov and Bisk 2018, arXiv:1711.02173, section 4 (swaps and neighbouring keys); Pruthi et al. 2019,
        arXiv:1905.11268, section 3 (the four kinds). Differs: any letter, the first and last of a word too.
    """
    draws, kinds, picks = rng.random((3, len(text)))
    letters, written = list(text), []
    for i in range(len(letters)):
        letter = letters[i]
        if letter.isspace() or draws[i] >= share:
            written.append(letter)
            continue
        kind, wrong = int(4 * kinds[i]), _wrong_letter(letter, picks[i], text)
        following = letters[i + 1] if i + 1 < len(letters) else " "
        if kind == 0:
            continue
        if kind == 1 and not following.isspace() and following != letter:
            written.append(following)
            letters[i + 1] = letter  # which comes next, and may itself be hit
        elif kind == 2:
            written.append(letter + wrong)
        else:
            written.append(wrong)
    return _written(preprocessor, "".join(written))


def word_drop(preprocessor, text, share, rng):
    """Leaves out each word by chance `share`; a text without any left is missing."""
    words = list(_WORD.finditer(text))
    gone = rng.random(len(words)) < share
    kept = "".join(w.group() for w, g in zip(words, gone, strict=True) if not g)
    return _written(preprocessor, text if not np.any(gone) else kept)


def _wrong_letter(letter, pick, text):
    others = NEIGHBOURS.get(letter.lower()) or sorted({c for c in text if c != letter and not c.isspace()})
    wrong = others[int(pick * len(others))] if others else ""
    return wrong.upper() if letter.isupper() else wrong


def _written(preprocessor, text):
    return {preprocessor.name: text.encode("utf-8", "surrogateescape")}

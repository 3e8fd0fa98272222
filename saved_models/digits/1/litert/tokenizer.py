"""Text -> token ids as the exported model takes them; the reference for phones. Needs nothing but Python.

This file lies in the `litert/` folder of an export, beside `vocab.json` and `characters.tsv`, which it reads:

    tokenize = load_tokenizers("litert")["title"]
    ids = tokenize("A text")  # list of int, as long as the model's input `title`

WordPiece: each character is replaced as `characters.tsv` says; what stands between spaces is a word; of each word the
longest piece in the vocabulary is taken, again and again, `##` before all pieces but the first. A word that cannot be
spelt so, or has more than 100 bytes, is unknown.
"""

import json
import re
from pathlib import Path

MAX_WORD_BYTES = 100
_HANGUL, _LEADS, _VOWELS, _TAILS = 0xAC00, 0x1100, 0x1161, 0x11A7
_SPACES = b" \t\n\v\f\r"


def load_tokenizers(folder):
    """Reads the tokenizer of each text input; returns `{input: function of a str that gives a list of int}`."""
    folder = Path(folder)
    characters = read_characters(folder / "characters.tsv")
    settings = json.loads((folder / "vocab.json").read_text(encoding="utf-8"))
    return {name: make_tokenizer(s, characters) for name, s in settings.items()}


def make_tokenizer(settings, characters):
    """Returns the function of one input.

    Args:
        settings: What `vocab.json` holds of the input.
        characters: What `read_characters` returns.
    """
    length = settings["length"]
    remove = re.compile(settings["remove"]) if settings["remove"] else None

    def tokenize(text):
        text = remove.sub("", text) if remove else text
        if settings["tokens"] == "bytes":
            return _padded(_byte_ids(text), length)
        ids = wordpiece_ids(text, vocabulary, settings["unknown"], characters)
        if settings["begin"] is not None and ids:
            ids = [settings["begin"], *ids[: length - 2], settings["end"]]
        return _padded(ids, length)

    vocabulary = {piece: i for i, piece in enumerate(settings.get("vocabulary", ()))}
    return tokenize


def wordpiece_ids(text, vocabulary, unknown, characters):
    """Returns the ids of a text, neither cut nor padded.

    Args:
        text: A str.
        vocabulary: `{piece: id}`.
        unknown: Id of words that no pieces spell.
        characters: What `read_characters` returns.
    """
    ids = []
    for word in "".join([characters.get(c, c) for c in text]).split(" "):
        if word:
            ids += _pieces(word, vocabulary) or [unknown]
    return ids


def _pieces(word, vocabulary):
    if len(word.encode("utf-8", "surrogatepass")) > MAX_WORD_BYTES:
        return None
    ids, start = [], 0
    while start < len(word):
        for end in range(len(word), start, -1):
            piece = word[start:end] if start == 0 else "##" + word[start:end]
            if piece in vocabulary:
                ids.append(vocabulary[piece])
                start = end
                break
        else:
            return None
    return ids


def _byte_ids(text):
    data = text.encode("utf-8", "surrogatepass")
    return [byte + 1 for byte in data] if data.strip(_SPACES) else []


def _padded(ids, length):
    return ids[:length] + [0] * (length - len(ids))


def read_characters(path):
    """Reads `{character: its replacement}`; a character that is absent stays as it is.

    A line of the file is the first and the last code point of a range, in hexadecimal, and what becomes of each:
    `delete`; `space`; `alone`, itself between spaces; `hangul`, the letters of the syllable; `+8` or `-8`, another code
    point; else the code points of the replacement.
    """
    characters = {}
    for line in Path(path).read_text(encoding="ascii").splitlines():
        first, last, rule = line.split("\t")
        for code in range(int(first, 16), int(last, 16) + 1):
            characters[chr(code)] = _replacement(code, rule)
    return characters


def _replacement(code, rule):
    if rule == "delete":
        return ""
    if rule == "space":
        return " "
    if rule == "alone":
        return f" {chr(code)} "
    if rule == "hangul":
        return hangul(code)
    if rule[0] in "+-":
        return chr(code + int(rule))
    return "".join(chr(int(c, 16)) for c in rule.split(" "))


def hangul(code):
    """Returns the letters of a Hangul syllable; The Unicode Standard, section 3.12.

    Example:
        >>> [hex(ord(c)) for c in hangul(0xD55C)]
        ['0x1112', '0x1161', '0x11ab']
    """
    lead, rest = divmod(code - _HANGUL, 588)
    vowel, tail = divmod(rest, 28)
    return chr(_LEADS + lead) + chr(_VOWELS + vowel) + (chr(_TAILS + tail) if tail else "")

"""Makes `characters.tsv`, what the in-graph tokenizer does to each character, by asking it.

usage: python -m mm_keras.exporting.litert.phone.characters

The tokenizer replaces characters one by one (a test holds it), so a table says all; a phone's own Unicode tables may be
of another year. The file is kept in the package; a test makes it anew and compares.
"""

from pathlib import Path

from mm_keras.exporting.litert.phone.tokenizer import hangul

CHARACTERS = Path(__file__).with_name("characters.tsv")


def make_characters():
    """Returns the text of the file; see `tokenizer.read_characters`."""
    import tensorflow as tf
    import tensorflow_text as tf_text

    codes = [c for c in range(0x110000) if not 0xD800 <= c <= 0xDFFF]
    normalise = tf_text.FastBertNormalizer(lower_case_nfd_strip_accents=True).normalize
    normal = [b.decode() for b in normalise(tf.constant([chr(c) for c in codes])).numpy()]
    # How it cuts: between two letters, a space leaves two words, and a character that stands alone three.
    splitter = tf_text.FastWordpieceTokenizer(["[UNK]", "x"], token_out_type=tf.int32, unknown_token="[UNK]")
    counts = splitter.tokenize(tf.constant([f"x{chr(c)}x" for c in codes])).row_lengths().numpy()
    spaced = {chr(c): {1: chr(c), 2: " ", 3: f" {chr(c)} "}[n] for c, n in zip(codes, counts.tolist(), strict=True)}
    rules = [_rule(c, "".join(spaced[x] for x in text)) for c, text in zip(codes, normal, strict=True)]
    return "".join(f"{first:X}\t{last:X}\t{rule}\n" for first, last, rule in _ranges(codes, rules))


def _rule(code, text):
    if text == chr(code):
        return None
    if text in ("", " ", f" {chr(code)} "):
        return {"": "delete", " ": "space"}.get(text, "alone")
    if 0xAC00 <= code <= 0xD7A3 and text == hangul(code):
        return "hangul"
    return f"{ord(text) - code:+d}" if len(text) == 1 else " ".join(f"{ord(c):X}" for c in text)


def _ranges(codes, rules):
    """Yields `(first, last, rule)` of neighbours with one rule; characters that stay are left out."""
    first = last = current = None
    for code, rule in zip(codes, rules, strict=True):
        if rule == current and last == code - 1:
            last = code
            continue
        if current is not None:
            yield first, last, current
        first = last = code
        current = rule
    if current is not None:
        yield first, last, current


if __name__ == "__main__":
    CHARACTERS.write_text(make_characters(), encoding="ascii")

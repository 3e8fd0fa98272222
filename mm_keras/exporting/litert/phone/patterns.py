"""A pattern as the served graph reads it (RE2) -> one that Python, Java and Android read in the same way."""

from mm_keras.errors import ExportError

_WORD, _NO_WORD = "[0-9A-Za-z_]", "[^0-9A-Za-z_]"
_START, _END = rf"(?<!{_WORD})(?={_WORD})", rf"(?<={_WORD})(?!{_WORD})"
_INSIDE = rf"(?<={_WORD})(?={_WORD})|(?<!{_WORD})(?!{_WORD})"
_LAST = r"(?![\s\S])"
# Elsewhere these follow Unicode, or the flavour: `\s` takes a vertical tab, `$` stops before a last line break.
_ESCAPES = {
    "d": "[0-9]", "D": "[^0-9]", "w": _WORD, "W": _NO_WORD, "s": r"[\t\n\f\r ]", "S": r"[^\t\n\f\r ]",
    "b": f"(?:{_START}|{_END})", "B": f"(?:{_INSIDE})", "z": _LAST, "A": r"\A",
}  # fmt: skip
_IN_CLASS = {"d": "0-9", "w": "0-9A-Za-z_", "s": r"\t\n\f\r "}
_CONTROLS = {"t": r"\t", "n": r"\n", "r": r"\r", "f": r"\f", "v": r"\x0b", "a": r"\x07"}


def portable_pattern(pattern):
    r"""Rewrites a pattern.

    Args:
        pattern: RE2, or an empty text.

    Raises:
        ExportError: When it holds what other flavours lack or read otherwise: flags, `\p`, `[:alpha:]`, `\Q`, octal.

    Example:
        >>> portable_pattern(r"\d+$")
        '[0-9]+(?![\\s\\S])'
    """
    found, at, in_class = [], 0, False
    while at < len(pattern):
        text, at, in_class = _step(pattern, at, in_class)
        found.append(text)
    return "".join(found)


def _step(pattern, at, in_class):
    """Returns `(text, next place, whether that is inside brackets)`."""
    char, rest = pattern[at], pattern[at:]
    if char == "\\":
        return *_escape(pattern, at, in_class), in_class
    if in_class:
        if rest.startswith("[:"):
            _refuse(pattern, rest[:3])
        if char == "]":
            return "]", at + 1, False
        return ("\\" + char if char in "[&~|^" else char), at + 1, True
    if char == "[":
        # A bracket that closes is a letter right behind the one that opens.
        head = next(h for h in ("[^]", "[]", "[^", "[") if rest.startswith(h))
        return head.replace("]", r"\]"), at + len(head), True
    if rest.startswith("{,") or (rest.startswith("(?") and rest[2:3] != ":"):
        _refuse(pattern, rest[:3])
    return {".": r"[^\n]", "$": _LAST}.get(char, char), at + 1, False


def _escape(pattern, at, in_class):
    letter = pattern[at + 1 : at + 2]
    if letter == "x":
        brace = pattern[at + 2 : at + 3] == "{"
        end = pattern.index("}", at) if brace else at + 4
        code = int(pattern[at + 2 + brace : end], 16)
        return _literal(chr(code)), end + brace
    if letter in _CONTROLS:
        return _CONTROLS[letter], at + 2
    known = _IN_CLASS if in_class else _ESCAPES
    if letter in known:
        return known[letter], at + 2
    if not letter or letter.isalnum():
        _refuse(pattern, "\\" + letter)
    return "\\" + letter, at + 2


def _literal(char):
    return "\\" + char if char.isascii() and not char.isalnum() and char.isprintable() else char


def _refuse(pattern, part):
    raise ExportError(
        f"the tokenizers for phones cannot follow {part!r} of `remove`; write it otherwise, or export with litert=(). "
        f"Received: remove={pattern!r}"
    )

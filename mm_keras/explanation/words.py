"""WordPieces and characters joined for reading."""

import unicodedata


def join_pieces(pieces):
    """Returns words, each a list of `(piece number, text)`.

    A piece that starts with `##` continues its word. A wide character that is no Hangul (an ideograph, kana) is a
    token of its own and is written without a space beside another one.

    Args:
        pieces: WordPieces in order.

    Example:
        >>> [[text for _, text in word] for word in join_pieces(["play", "##ing", "chess"])]
        [['play', 'ing'], ['chess']]
    """
    words, last = [], ""
    for number, piece in enumerate(pieces):
        inside = piece.startswith("##") and len(piece) > 2
        text = piece[2:] if inside else piece
        if words and (inside or (_is_unspaced(last) and _is_unspaced(text[0]))):
            words[-1].append((number, text))
        else:
            words.append([(number, text)])
        last = text[-1]
    return words


def join_characters(characters):
    """Returns words, each a list of `(character number, text)`, split behind white space.

    Nothing is left out: joined again, they are the text.

    Args:
        characters: The text's, in order.

    Example:
        >>> [[text for _, text in word] for word in join_characters("a bc")]
        [['a', ' '], ['b', 'c']]
    """
    words, is_new = [], True
    for number, character in enumerate(characters):
        if is_new:
            words.append([])
        words[-1].append((number, character))
        is_new = character.isspace()
    return words


def join_parts(panel):
    """Returns the words of a text's panel, from its characters or its WordPieces."""
    return join_characters(panel.names) if panel.is_spelt else join_pieces(panel.spelling or panel.names)


def _is_unspaced(character):
    is_wide = unicodedata.east_asian_width(character) in "WF"
    return is_wide and not unicodedata.name(character, "").startswith("HANGUL")

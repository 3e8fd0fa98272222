"""Which names can stand in a served signature and in the graph."""

import keyword
import re

NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
# Layer names that Keras or the graph uses by itself, and outputs that every served model has.
RESERVED = {"embedding", "fusion", "error", "presence", "inputs", "self", "training", "mask"}


def can_be_served(name):
    """Tells whether a name is letters, digits and underscores, a letter first, no Python keyword and not reserved."""
    return bool(NAME.fullmatch(name)) and not keyword.iskeyword(name) and name not in RESERVED

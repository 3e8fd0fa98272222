"""How large the reference model is."""

from dataclasses import dataclass

WIDTHS = {"tiny": (16, 32), "small": (32, 64, 128), "base": (64, 128, 256, 256)}
UNITS = {"tiny": 32, "small": 64, "base": 128}
DEPTH = {"tiny": 1, "small": 2, "base": 4}
TOKEN_UNITS = {"tiny": 8, "small": 16, "base": 32}
HEAD_UNITS = 16
DROPOUT = 0.1


@dataclass(frozen=True)
class Sizes:
    """What comes in and goes out, and how wide it is between.

    Args:
        picture: `(height, width, channels)`.
        sound: `(frames, bands)`.
        length: Words in a text.
        vocabulary: Number of word ids; 0 pads.
        features: Numbers that a row of the table becomes.
        columns: Columns of that table.
        classes: Of the classification.
        encoder: `"tiny"`, `"small"` or `"base"`.
        joint: Units of the joint embedding.
    """

    picture: tuple[int, int, int] = (16, 16, 1)
    sound: tuple[int, int] = (13, 64)
    length: int = 12
    vocabulary: int = 60
    features: int = 10
    columns: int = 4
    classes: int = 10
    encoder: str = "tiny"
    joint: int = 64

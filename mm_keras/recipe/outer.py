"""How many numbers an outer product of the inputs has, known from the recipe alone."""

from mm_keras.errors import RecipeError

# Of one example. A dense layer of 64 units on as many holds 4 million weights; one input more would multiply them.
LIMIT = 65_536
# What `size: 0` aims at: a dense layer of 64 units on them holds a quarter of a million weights.
_AIM = 4096


def tensor_width(inputs, size):
    """Returns how many numbers the product of all inputs has, each of `size` and a constant one."""
    return (size + 1) ** inputs


def bilinear_width(inputs, size):
    """Returns how many numbers the constant, the inputs of `size` and the products of all pairs have."""
    return 1 + inputs * size + inputs * (inputs - 1) // 2 * size**2


WIDTHS = {"tensor": tensor_width, "bilinear": bilinear_width}


def factor_size(kind, inputs, size):
    """Returns the size that each input is brought to before the product.

    Args:
        kind: `"tensor"` or `"bilinear"`.
        inputs: How many there are.
        size: As the recipe gives it; 0 takes the largest up to 32 whose product has at most 4096 numbers.

    Raises:
        RecipeError: When `size` is negative, or the product has more than 65,536 numbers.
    """
    width = WIDTHS[kind]
    if size < 0:
        raise RecipeError(f"fusion {kind!r}: option 'size' must be at least 0, which chooses it. Received: {size}")
    used = size or max((s for s in range(1, 33) if width(inputs, s) <= _AIM), default=1)
    if width(inputs, used) > LIMIT:
        fits = max((s for s in range(1, used) if width(inputs, s) <= LIMIT), default=0)
        advice = f"Set `size` to at most {fits}" if fits else "Leave some inputs out"
        raise RecipeError(
            f"fusion {kind!r}: {inputs} inputs of size {used} multiply out to {width(inputs, used)} numbers, over the "
            f"limit of {LIMIT}. {advice}, or take 'low_rank', which grows with the sum. Received: size={size}"
        )
    return used

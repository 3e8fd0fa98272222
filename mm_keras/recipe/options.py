"""Settings that only one kind of encoder or fusion has, checked before Keras is imported."""

from mm_keras.registry import nearest

Option = bool | int | float | str


def check_options(options, known, owner):
    """Raises when a kind's settings are unknown or of the wrong type.

    Args:
        options: `{name: value}`, as the recipe gives them.
        known: `{name: default}`; a value must have the type of its default. A default of 1 or more asks for a whole
            number of at least 1, one of 0 for none below it, a default of `""` for a string, a tuple for one of its
            words. `None` for a kind that a user registered, which checks for itself.
        owner: What the message calls the kind.

    Raises:
        ValueError: With the nearest right word, or what was expected.
    """
    if known is None:
        return
    for name, value in options.items():
        if name not in known:
            raise ValueError(f"{owner} has no option {name!r}.{nearest(name, known)} Known options: {sorted(known)}.")
        default = known[name]
        if isinstance(default, tuple):
            if value not in default:
                raise ValueError(
                    f"{owner}: option {name!r} must be one of {list(default)}.{nearest(value, default)} "
                    f"Received: {value!r}"
                )
            continue
        kind = type(default)
        fits = isinstance(value, kind) or (kind is float and isinstance(value, int))
        if not fits or (isinstance(value, bool) and kind is not bool):
            raise ValueError(f"{owner}: option {name!r} must be of type {kind.__name__}. Received: {value!r}")
        if kind is int and value < (least := min(default, 1)):
            raise ValueError(f"{owner}: option {name!r} must be at least {least}. Received: {value!r}")


def with_defaults(options, known):
    """Returns `{name: value}` of all settings of a kind; `options` and `known` as in `check_options`."""
    defaults = {name: value[0] if isinstance(value, tuple) else value for name, value in (known or {}).items()}
    return {**defaults, **options}

"""The three faults a user can cause; the command line prints them without a traceback."""


class RecipeError(ValueError):
    """A recipe that cannot be built: an unknown word, an impossible value, a name that cannot be served."""


class DataError(ValueError):
    """Data that does not fit the recipe: an absent column, too many bad rows, a file of the wrong kind."""


class ExportError(ValueError):
    """An export that is not equal to the trained model, or that a target cannot run."""

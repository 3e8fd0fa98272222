"""What functions return that people look at: a page, and, of most, the same four files."""

from mm_keras.saving import RESULT_FORMS, save


class Shown:
    """A result that has a page; `_render(page)` returns it whole or as a fragment."""

    def _repr_html_(self):
        return self._render(page=False)

    def to_html(self):
        """Returns a whole HTML page: one string, nothing loaded from elsewhere."""
        return self._render(page=True)


class Result(Shown):
    """A result that is a picture, numbers, a table and a page: it has `plot`, `to_json`, `to_csv` and `_render`."""

    SUFFIXES = RESULT_FORMS
    NOUN = "a result"

    def save(self, path):
        """Writes the picture, the numbers, the table or the page: `.png`, `.json`, `.csv` or `.html`.

        Returns:
            The path, a `pathlib.Path`.

        Raises:
            DataError: On another suffix.
        """
        made = (self.plot, self.to_json, self.to_csv, self.to_html)
        return save(path, self.NOUN, dict(zip(self.SUFFIXES, made, strict=True)))

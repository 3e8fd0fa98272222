"""Templates, figures as text, and the page of a result: sentences, a picture, tables."""

import base64
import io
from functools import cache

import jinja2

ROOM = "mm_keras.pages"


def template(package, name, **filters):
    """Returns `templates/<name>.html.jinja` of a package; what it is given is escaped, and a gap is an error.

    Args:
        package: Dotted name of a package of mm_keras.
        name: Of the template.
        **filters: More filters.
    """
    environment = _environment(package)
    environment.filters |= filters
    return environment.get_template(f"{name}.html.jinja")


@cache
def _environment(package):
    # `.jinja` is no suffix that jinja's own rule escapes.
    options = {"autoescape": True, "undefined": jinja2.StrictUndefined, "trim_blocks": True}
    loaders = [jinja2.PackageLoader(name) for name in dict.fromkeys((package, ROOM))]
    return jinja2.Environment(loader=jinja2.ChoiceLoader(loaders), **options)


def png(figure, dpi=120):
    """Returns a `matplotlib.figure.Figure` as a PNG in base64, ready for `data:image/png;base64,`."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=dpi)
    return base64.b64encode(file.getvalue()).decode()


def result_page(page, title, *, sentences=(), warnings=(), pictures=(), tables=(), notes=()):
    """Returns a result as HTML that loads nothing from elsewhere.

    Args:
        page: Whether to return a whole page; else a fragment for a notebook, whose styles touch nothing else.
        title: Of the page.
        sentences: What the numbers say; the first is the heading.
        warnings: Advice, which stands out.
        pictures: `(alternative text, matplotlib.figure.Figure)` of each.
        tables: `(caption, DataFrame)` of each; cells are shown as text.
        notes: Small print.
    """
    drawn = [(alt, png(figure)) for alt, figure in pictures]
    return template(ROOM, "result").render(
        page=page, title=title, sentences=sentences, warnings=warnings, pictures=drawn, tables=tables, notes=notes
    )

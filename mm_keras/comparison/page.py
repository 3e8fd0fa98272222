"""A comparison as HTML: the verdict, the picture and the table."""

import base64
import io
from functools import cache

import jinja2


@cache
def _template():
    loader = jinja2.PackageLoader("mm_keras.comparison")
    # `.jinja` is no suffix that jinja's own rule escapes.
    environment = jinja2.Environment(loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True)
    return environment.get_template("comparison.html.jinja")


def render(found, page):
    """Returns a `Comparison` as HTML, a whole page or a fragment for a notebook; nothing is loaded from elsewhere."""
    file = io.BytesIO()
    found.plot().savefig(file, format="png", dpi=130)
    table = found.table()
    return _template().render(
        found=found,
        page=page,
        picture=base64.b64encode(file.getvalue()).decode(),
        columns=list(table.columns),
        rows=[(name, found.lines.loc[name, "role"], list(table.loc[name])) for name in table.index],
    )

"""Robustness as HTML: what the numbers say, the picture and the table."""

import base64
import html
import io

_STYLE = """
.mmr { font: 400 .95rem/1.5 system-ui, sans-serif; max-width: 1120px; margin: 0 auto; padding: 1rem; color: #1b1d22;
  background: #fff; border-radius: 8px; box-sizing: border-box; }
.mmr p { margin: .25rem 0; }
.mmr img { max-width: 100%; height: auto; background: #fff; border-radius: 4px; }
.mmr .mmr-wide { overflow-x: auto; }
.mmr table { border-collapse: collapse; font-size: .88rem; white-space: nowrap; border: 0; }
.mmr th, .mmr td { padding: .25rem .7rem .25rem 0; text-align: left; border: 0; border-bottom: 1px solid #8884; }
.mmr td { font-variant-numeric: tabular-nums; }
@media (prefers-color-scheme: dark) { .mmr { color: #e7e8ea; background: #1a1c20; } }
"""
_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title}</title>
</head>
<body>
{body}
</body>
</html>
"""


def render(found, page):
    """Returns a `Robustness` as HTML, a whole page or a fragment for a notebook; nothing is loaded from elsewhere."""
    file = io.BytesIO()
    found.plot().savefig(file, format="png", dpi=130)
    picture = base64.b64encode(file.getvalue()).decode()
    said = "\n".join(f"<p>{html.escape(sentence)}</p>" for sentence in found.sentences)
    body = (
        f'<style>{_STYLE}</style>\n<section class="mmr">\n{said}\n'
        f'<img alt="{html.escape(found.measure)} of each input as it gets worse, as in the table below" '
        f'src="data:image/png;base64,{picture}">\n'
        f'<div class="mmr-wide">{found.table().to_html(border=0)}</div>\n</section>'
    )
    return _PAGE.format(title=html.escape(f"{found.task}: worse inputs"), body=body) if page else body

"""Writes a page from its Jinja template; `base.html` holds what all pages share."""

from __future__ import annotations

from pathlib import Path

from sightsound.files import write_whole


def write_page(template: Path, path: Path, **values: object) -> None:
    """Write the page that `template` makes of `values`; it appears whole.

    The template extends `base.html`: style, light and dark, and tables of class `sortable`.
    """
    import jinja2

    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader([template.parent, Path(__file__).parent]),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.policies["json.dumps_kwargs"] = {}  # in the order given, not sorted
    text = templates.get_template(template.name).render(values)
    write_whole(path, text)

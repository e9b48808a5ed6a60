"""Templates into self-contained pages.

What goes in is untrusted (replies of models, names from outside): everything is escaped, a missing
value is an error, and the shared ``page.html.j2`` forbids scripts and every outside resource.
"""

from __future__ import annotations

import jinja2


def render(template: str, **content: object) -> str:
    """The page as text; ``template`` names a file beside this one."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("cogaudio_rl.eval", "."),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template(template).render(**content)

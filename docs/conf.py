"""How `make docs` builds the site: plain pages that need no network, and no server either."""

from sphinx.application import Sphinx

project = "lakehouse-ml"
author = "the authors of lakehouse-ml"
extensions = ["myst_parser"]
root_doc = "index"
myst_heading_anchors = 3
# A page that is listed and not there yet is left out; every dead link within a page still ends the build.
suppress_warnings = ["toc.not_readable"]

html_theme = "alabaster"
html_title = project
html_theme_options = {"fixed_sidebar": True, "page_width": "1100px", "sidebar_width": "240px", "show_powered_by": False}
html_sidebars = {"**": ["searchfield.html", "globaltoc.html"]}
html_show_copyright = False
html_copy_source = False
html_css_files = ["wide.css"]
html_static_path = ["theme"]

_MERMAID = "```mermaid\n"


def _draw(_app: Sphinx, name: str, source: list[str]) -> None:
    """Put the picture of the flow in place of its chart, which only GitHub draws."""
    before, found, after = source[0].partition(_MERMAID)
    if found:
        source[0] = before + f"![The stages and what passes between them]({name}.svg)\n" + after.partition("```\n")[2]


def setup(app: Sphinx) -> None:
    """Called by Sphinx."""
    app.connect("source-read", _draw)

"""Builds the site for `make docs`: static pages that need neither a network nor a server."""

project = "lakehouse-ml"
author = "the authors of lakehouse-ml"
extensions = ["myst_parser"]
root_doc = "index"
myst_heading_anchors = 3
# Messages and options are shown as they are typed: Sphinx would make a dash of the two in --runner.
smartquotes = False
# A page that the index lists and that does not exist is left out; a dead link in a page still stops the build.
suppress_warnings = ["toc.not_readable"]

# A theme of our own on Sphinx's basic one: a menu that a phone can close, dark mode, and nothing from elsewhere.
html_theme = "theme"
html_theme_path = ["."]
html_title = project
html_copy_source = False
html_use_index = False

"""Configuration of the documentation site: ``python -m sphinx -W docs site``."""

from profiler import __version__

project = "energy-profiler"
author = "energy-profiler contributors"
release = __version__
copyright = author  # noqa: A001 - the name that Sphinx reads

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_heading_anchors = 3
autodoc_member_order = "bysource"
autodoc_mock_imports = ["lightning", "pytorch_lightning", "torch", "transformers"]
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
napoleon_use_ivar = True
exclude_patterns = ["samples"]
html_theme = "furo"
html_title = f"energy-profiler {__version__}"
html_copy_source = False
# The highlighter does not know the struct literals of DuckDB's SQL.
suppress_warnings = ["misc.highlighting_failure"]

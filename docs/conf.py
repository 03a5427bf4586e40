"""The documentation's site. One command builds it, warnings are errors, and nothing is asked of a network:

    python -m sphinx -W --keep-going -D plot_gallery=0 -b html docs docs/_build/html

Without ``-D plot_gallery=0`` the examples of the gallery run too, which takes some minutes.
"""

from __future__ import annotations

import os
import sys
import tomllib
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE / "_ext"), str(HERE.parent / "src")]
os.environ.setdefault("OMP_NUM_THREADS", "1")

import inventories  # noqa: E402

import hardgrad  # noqa: E402

project = "hardgrad"
author = "the authors of hardgrad"
copyright = author
release = version = hardgrad.__version__
urls = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"].get("urls", {})
repository = next((urls[name].rstrip("/") for name in ("Repository", "Source", "Homepage") if name in urls), "")

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
    "mathml",
    "public_names",
    "references",
    "markup",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "_ext", "inventories", "scripts", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
suppress_warnings = ["config.cache"]  # sphinx-gallery's own settings hold functions

# ------------------------------------------------------------------------------------------------------ the text
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
myst_update_mathjax = False
html_math_renderer = "mathml"
intersphinx_mapping = inventories.write(HERE / "inventories", HERE / "_build" / "inventories")
intersphinx_cache_limit = -1

# ------------------------------------------------------------------------------------------------------- the API
autodoc_default_options = {"member-order": "bysource"}
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autodoc_type_aliases = {"ArrayLike": "ArrayLike", "Array": "ndarray"}
python_maximum_signature_line_length = 90
python_use_unqualified_type_names = True
python_trailing_comma_in_multi_line_signatures = False
toc_object_entries_show_parents = "hide"
napoleon_numpy_docstring = False
napoleon_custom_sections = [("Attributes", "params_style")]
viewcode_line_numbers = True

# ------------------------------------------------------------------------------------------------------ the look
html_theme = "furo"
html_title = "hardgrad"
pygments_style = "a11y-high-contrast-light"
pygments_dark_style = "github-dark-high-contrast"
html_static_path = ["_static"]
html_css_files = ["site.css", "gallery.css"]
html_favicon = "_static/favicon.svg"
html_show_sphinx = False
html_copy_source = False
html_show_sourcelink = False
html_theme_options = {
    "light_logo": "wordmark-light.svg",
    "dark_logo": "wordmark-dark.svg",
    "sidebar_hide_name": True,
    "light_css_variables": {
        "color-brand-primary": "#0b5a8f",
        "color-brand-content": "#0b5a8f",
        "color-brand-visited": "#6b3fa0",
        "color-foreground-muted": "#5a6069",
        "color-foreground-border": "#6d737c",
        "font-stack--monospace": "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', monospace",
    },
    "dark_css_variables": {
        "color-brand-primary": "#7cc4f5",
        "color-brand-content": "#7cc4f5",
        "color-brand-visited": "#c7a6f2",
        "color-foreground-muted": "#a3a9b3",
        "color-foreground-border": "#8b919b",
    },
}

# Each file of examples/gallery is run while the site is built; -D plot_gallery=0 leaves that out.
sys.path.append(str(HERE / "scripts"))  # gallery.py: how the pictures look, and their order
sphinx_gallery_conf = {
    "examples_dirs": str(HERE.parent / "examples" / "gallery"),
    "gallery_dirs": "gallery",
    "filename_pattern": r"\.py$",
    "subsection_order": "gallery.order",
    "within_subsection_order": "gallery.Order",
    "plot_gallery": True,
    "abort_on_example_error": True,
    "parallel": 2,
    "reset_modules": ("gallery.reset",),
    "image_scrapers": ("gallery.scrape",),
    "min_reported_time": 1,
    "write_computation_times": False,
    "show_memory": False,
    "show_signature": False,
    "download_all_examples": False,
    "remove_config_comments": True,
    "backreferences_dir": "gallery/backreferences",
    "doc_module": ("hardgrad",),
    "log_level": {"backreference_missing": "debug"},  # most names have no example, and need none
}


def setup(app: Any) -> None:
    """Read ``-D plot_gallery=0`` as the truth value that sphinx-gallery wants, which warns of a text otherwise."""

    def as_bool(_: Any, config: Any) -> None:
        config.plot_gallery = str(config.plot_gallery) not in ("0", "False")

    app.connect("config-inited", as_bool, priority=1)

"""The documentation site: python -m sphinx -W --keep-going -b html docs docs/_build/html."""

from __future__ import annotations

import sys
from pathlib import Path

import hardgrad

HERE = Path(__file__).parent

project = "hardgrad"
author = "the hardgrad authors"
copyright = "2026, the hardgrad authors"
version = release = hardgrad.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.intersphinx",
    "sphinx.ext.viewcode",
    "sphinx_copybutton",
    "sphinx_gallery.gen_gallery",
]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "scripts", "gallery/*.ipynb", "gallery/*.py", "gallery/*.md5"]
html_theme = "furo"
html_title = "hardgrad"
html_static_path = ["_static"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 4
suppress_warnings = ["config.cache"]  # sphinx-gallery's own settings hold functions

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
html_css_files = [*globals().get("html_css_files", ()), "gallery.css"]

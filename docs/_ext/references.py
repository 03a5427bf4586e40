"""What Markdown of the forge and plain docstrings need to be good pages of a site too.

- A name in code style, ```hg.soft.rank``` or ```torch.compile(...)```, becomes a link where something is known by it.
- ``<a id="x"></a>`` is an anchor that links may name, as on the forge.
- A link that leaves docs/ leads to the repository's page of that file, or stays plain where no address is set.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.transforms import SphinxTransform

import hardgrad

SHORT = {"hg": "hardgrad", "nn": "torch.nn", "np": "numpy", "F": "torch.nn.functional"}
NAMED = re.compile(r"([A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*)(?:\(.*\))?", re.DOTALL)
ROOMS = ("hardgrad", "hardgrad_lab", "torch", "numpy", "sklearn", "functools")
ANCHOR = re.compile(r'<\w+ (?:[^>]* )?id="([\w.-]+)"')
CLASSES = {name for name in dir(hardgrad) if name[0].isupper() and not name.isupper()}


def known_as(text: str) -> str | None:
    """Return the full name that a piece of code calls by, if it may be one that has a page."""
    found = NAMED.fullmatch(text)
    if not found:
        return None
    first, _, rest = found[1].partition(".")
    if first in CLASSES:
        return f"hardgrad.{found[1]}"
    first = SHORT.get(first, first)
    return f"{first}.{rest}" if rest and first.split(".")[0] in ROOMS else None


class Literals(SphinxTransform):
    """Link names in code style."""

    default_priority = 500

    def apply(self, **kwargs: Any) -> None:
        for node in list(self.document.findall(nodes.literal)):
            inside = node.parent
            while inside is not None and not isinstance(inside, (nodes.reference, addnodes.pending_xref, nodes.title)):
                inside = inside.parent
            name = known_as(node.astext()) if inside is None else None
            if name:
                options = {"refdomain": "py", "reftype": "obj", "refexplicit": True, "refwarn": False}
                link = addnodes.pending_xref("", reftarget=name, refdoc=self.env.docname, **options)
                node.replace_self(link)
                link += node


class Anchors(SphinxTransform):
    """Tell MyST of anchors that are written in HTML, which it takes for links of its own page and of others."""

    default_priority = 200

    def apply(self, **kwargs: Any) -> None:
        slugs: dict[str, tuple[int, str, str]] = getattr(self.document, "myst_slugs", {})
        for node in self.document.findall(nodes.raw):
            for anchor in ANCHOR.findall(node.astext()):
                slugs.setdefault(anchor, (node.line or 0, anchor, anchor))
        if slugs:
            self.env.metadata[self.env.docname]["myst_slugs"] = slugs


class Outside(SphinxTransform):
    """Send links to files outside docs/ to the repository."""

    default_priority = 100

    def apply(self, **kwargs: Any) -> None:
        docs = Path(self.env.srcdir)
        here = Path(self.env.doc2path(self.env.docname)).parent
        for node in list(self.document.findall(addnodes.pending_xref)):
            if node.get("reftype") != "myst" or not node.get("reftarget"):
                continue
            is_page = node.get("refdomain") == "doc"
            path = Path(os.path.normpath(here / node["reftarget"].split("#")[0]))
            path = path.with_name(f"{path.name}.md") if is_page else path
            if path.exists() and docs.parent in path.parents and docs not in (path, *path.parents):
                link = self.link(path.relative_to(docs.parent).as_posix(), is_folder=path.is_dir())
                link += node.children
                node.replace_self(link)

    def link(self, path: str, *, is_folder: bool) -> nodes.Element:
        if path == "README.md":
            to = {"refdomain": "std", "reftype": "doc", "reftarget": "/index", "refexplicit": True}
            return addnodes.pending_xref("", refdoc=self.env.docname, refwarn=True, **to)
        if self.config.repository:
            kind = "tree" if is_folder else "blob"
            return nodes.reference("", "", refuri=f"{self.config.repository}/{kind}/main/{path}")
        return nodes.inline()


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_config_value("repository", "", "env")
    for transform in (Literals, Anchors, Outside):
        app.add_transform(transform)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

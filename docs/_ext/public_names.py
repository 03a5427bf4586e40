"""The directive ``public``: a table of names, one line each, then each name from its docstring.

.. code-block:: rst

   .. public::

      hardgrad.Bridge
      hardgrad.graft

Of a class the members are what a user calls: what the docstrings of ours describe, not what a base of torch's brings.
A method that classes of one page share is described with the first of them.
"""

from __future__ import annotations

import inspect
import re
from pkgutil import resolve_name
from typing import Any

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

# Sections of our docstrings that are a text, where napoleon looks for a type; "Source: text" stands on one line.
SECTIONS = ("Shape", "Graphs", "Returns", "Yields")
# Methods that other files of ours call and no user does.
INTERNAL = {"as_rows", "begin", "bundle", "compare", "empty", "finish", "routed", "scaled", "span", "through_branches"}
SOURCE = re.compile(r"^(Sources?): (?=\S)")


def members(kind: type) -> dict[str, Any]:
    """Return the methods and properties of a class that have a docstring of ours, in the order of the code."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        if not base.__module__.startswith("hardgrad"):
            continue
        for name, value in vars(base).items():
            function = value.fget if isinstance(value, property) else getattr(value, "__func__", value)
            told = (
                inspect.isfunction(function) and function.__doc__ and not name.startswith("_") and name not in INTERNAL
            )
            if told and not (name == "forward" and "forward" not in (function.__doc__ or "")):
                found[name] = function
    return found


def summary(value: Any) -> str:
    """Return the first sentence of a docstring, which is its first paragraph."""
    return " ".join((inspect.getdoc(value) or "").split("\n\n")[0].split())


class Public(SphinxDirective):
    """See the module."""

    has_content = True

    def run(self) -> list[nodes.Node]:
        paths = [line.strip() for line in self.content if line.strip()]
        lines = [".. list-table::", "   :class: public-names", "   :widths: auto", ""]
        entries: list[str] = []
        for path in paths:
            value, name = resolve_name(path), path.rpartition(".")[2]
            lines += [f"   * - :py:obj:`{name} <{path}>`", f"     - {summary(value) or 'see below'}"]
            entries += ["", *self.entry(path, value)]
        return self.parse_text_to_nodes(StringList([*lines, *entries], source=self.get_source_info()[0]))

    def entry(self, path: str, value: Any) -> list[str]:
        if not inspect.isclass(value):
            return [f".. auto{'function' if callable(value) and inspect.isroutine(value) else 'data'}:: {path}"]
        told = self.env.current_document.setdefault("told", {})
        shared: dict[str, list[str]] = {}
        own = []
        for name, function in members(value).items():
            first = told.setdefault(function, path)
            own += [name] if first == path else []
            if first != path:
                shared.setdefault(first, []).append(name)
        options = [f"   :members: {', '.join(own)}"] if own else []
        kind = "autoexception" if issubclass(value, BaseException) else "autoclass"
        again = [
            f"   Also, as of :py:obj:`{first.rpartition('.')[2]} <{first}>`: "
            + ", ".join(f":py:obj:`{name}() <{first}.{name}>`" for name in names)
            + "."
            for first, names in shared.items()
        ]
        return [f".. {kind}:: {path}", *options, "", *again]


def sections(app: Sphinx, what: str, name: str, value: Any, options: Any, lines: list[str]) -> None:
    """Make fields of our own sections, as napoleon does of its, and of the line that names the source."""
    del app, what, name, value, options
    made: list[str] = []
    inside = False
    for line in lines:
        if line.rstrip() in {f"{section}:" for section in SECTIONS}:
            made += [f":{line.strip()}"]
        elif found := SOURCE.match(line):
            made += [f":{found[1]}:", f"    {line[found.end() :]}"]
            inside = True
            continue
        else:
            made.append(f"    {line}" if inside and line.strip() else line)
        inside = inside and bool(line.strip())
    lines[:] = made


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_directive("public", Public)
    app.connect("autodoc-process-docstring", sections, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}

"""Formulas as MathML, which browsers draw and screen readers read by themselves: nothing is loaded for them."""

from __future__ import annotations

import html
import re

from docutils import nodes
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.util import logging
from sphinx.writers.html5 import HTML5Translator

logger = logging.getLogger(__name__)


def mathml(latex: str, *, block: bool) -> str:
    r"""Return MathML of a formula; several lines (``\\``) are set under each other, aligned at ``&``."""
    latex = re.sub(r"\\arg(?![a-z])", lambda _: r"\operatorname{arg}", latex.strip())
    if r"\\" in latex and r"\begin" not in latex:
        latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    made = convert(latex, display="block" if block else "inline")
    if unknown := re.findall(r"<m[iot]>(\\[a-zA-Z]+)</m[iot]>", made):
        logger.warning("no MathML for %s in %r", ", ".join(sorted(set(unknown))), latex)
    said = html.escape(" ".join(latex.split()), quote=True)
    return made.replace("<math ", f'<math alttext="{said}" ', 1)


def inline(self: HTML5Translator, node: nodes.math) -> None:
    """Write a formula within a line."""
    self.body.append(mathml(node.astext(), block=False))
    raise nodes.SkipNode


def display(self: HTML5Translator, node: nodes.math_block) -> None:
    """Write a formula on lines of its own, which scroll where they are too wide."""
    self.body.append(f'<div class="math" tabindex="0">{mathml(node.astext(), block=True)}</div>')
    raise nodes.SkipNode


def setup(app: Sphinx) -> dict[str, bool]:
    """Tell Sphinx."""
    app.add_html_math_renderer("mathml", (inline, None), (display, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}

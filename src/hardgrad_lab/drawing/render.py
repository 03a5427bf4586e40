"""How every page is made: one environment, the colours of light and dark, links to the other pages."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jinja2

from hardgrad_lab.drawing.palette import DARK_PAGE, LIGHT_PAGE, style_of

# A template lies beside the code that fills it, or here where every page is made of it.
FOLDERS = ("drawing", "report", "fit/page", "doctor/page")
DATE = re.compile(r"\d{4}-\d\d-\d\d")


@dataclass(frozen=True, kw_only=True)
class Link:
    """A link to another page of the same folder.

    Args:
        text: of the link.
        href: relative to the page.
        rel: what it is to the page, such as ``next``.
    """

    text: str
    href: str
    rel: str = ""


def environment() -> jinja2.Environment:
    """Return what renders the templates of the reports; a name that a template lacks is an error."""
    made = jinja2.Environment(
        loader=jinja2.ChoiceLoader([jinja2.PackageLoader("hardgrad_lab", folder) for folder in FOLDERS]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.tests["dated"] = lambda cell: bool(DATE.match(str(cell)))
    made.globals["light"] = {"page": LIGHT_PAGE, "colours": style_of(dark=False)}
    made.globals["dark"] = {"page": DARK_PAGE, "colours": style_of(dark=True)}
    return made


def render(template: str, *, runs: Sequence[Mapping[str, str]] = (), **given: Any) -> str:
    """Return a page.

    Args:
        template: its file.
        runs: where the numbers come from, one line a run.
        given: what else the template asks for.
    """
    values = {"source": "", "links": (), "figures": (), "warnings": (), "rows": (), **given}
    return environment().get_template(template).render(runs=[list(run.values()) for run in runs], **values)

"""The pages of the documentation, as files: every public name on one API page, and no link that leads nowhere.

The site itself is built and looked at by tests/site, which needs the ``docs`` extra and a browser.
"""

from __future__ import annotations

import ast
import builtins
import fnmatch
import importlib.util
import inspect
import re
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from pkgutil import resolve_name
from types import ModuleType

import pytest

import hardgrad as hg
import hardgrad_lab
from hardgrad_lab import audio, experiments
from hardgrad_lab.runs import experiment
from rooms import ROOMS

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
MADE = ("_build", "gallery")  # by the build, and no part of the repository
LAB = {
    hardgrad_lab: ("SwitchClassifier", "SwitchRegressor", "load_model", "save_model"),
    audio: ("Parameter", "ladspa", "plugin", "plugins"),
    experiments: ("experiment", "experiments"),
    experiment: ("Experiment",),
}
CODE = re.compile(r"^```.*?^```|^~~~.*?^~~~", re.MULTILINE | re.DOTALL)
LITERAL = re.compile(r"(`+)(?!`)(.+?)(?<!`)\1(?!`)", re.DOTALL)
LINK = re.compile(r"\]\(\s*<?([^()\s>]+(?:\([^()\s]*\)[^()\s>]*)*)>?(?:\s+\"[^\"]*\")?\s*\)")
TAG = re.compile(r"<(?:a|img|source)\b[^>]*>")
ADDRESS = re.compile(r'\b(?:href|src|srcset)="([^"]*)"')
IMAGE = re.compile(r"!\[([^\]]*)\]\(")
NAME = re.compile(r"(?<![\w./@-])(?:hg|hardgrad|hardgrad_lab)(?:\.[A-Za-z_]\w*)+")
OF_A_READER = re.compile(r"hardgrad_lab\.experiments\.(bridges|switches)\.")  # the file of an experiment to be written
FILE = re.compile(r".*\.(bash|c|csv|fish|h|html|json|lv2|md|npz|onnx|pt|pth|pt2|py|sh|svg|toml|txt|zsh)")


def pages() -> list[Path]:
    """Return the Markdown that people read: the repository's and the site's."""
    mine = [path for path in sorted(DOCS.rglob("*.md")) if not set(path.relative_to(DOCS).parts) & set(MADE)]
    return [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *mine]


every_page = pytest.mark.parametrize("page", pages(), ids=lambda path: path.relative_to(ROOT).as_posix())


# ------------------------------------------------------------------------------------------------------- the API


def offered(room: ModuleType) -> set[str]:
    """Return the names that a room offers: what its file imports under the same name, or defines and does not hide."""
    named = set(dir(room)) if room is hg else set(vars(room))
    typed = [node for node in ast.walk(ast.parse(inspect.getsource(room))) if isinstance(node, ast.ImportFrom)]
    again = {alias.asname for node in typed for alias in node.names if alias.asname == alias.name}
    return {
        name
        for name in named
        if not name.startswith("_")
        and not isinstance(getattr(room, name), ModuleType)
        and (name in again or getattr(getattr(room, name), "__module__", "") == room.__name__)
    }


def public_names() -> list[str]:
    """Return the full name of everything public."""
    ours = [f"{room.__name__}.{name}" for room in ROOMS for name in offered(room)]
    return sorted([*ours, *(f"{room.__name__}.{name}" for room, names in LAB.items() for name in names)])


def named_in_the_api() -> dict[str, list[str]]:
    """Return the names of each page of the API: the lines of its ``public`` directives."""
    found = {}
    for page in sorted((DOCS / "api").glob("*.rst")):
        blocks = re.findall(r"^\.\. public::\n\n((?:   .*\n)+)", page.read_text(encoding="utf-8"), re.MULTILINE)
        found[page.name] = [line.strip() for block in blocks for line in block.splitlines()]
    return found


def test_every_public_name_is_on_one_page_of_the_api() -> None:
    counted = Counter(name for names in named_in_the_api().values() for name in names)
    assert {name: times for name, times in counted.items() if times > 1} == {}
    missing = set(public_names()) - set(counted)
    assert not missing, "add them to a page in docs/api"
    assert not set(counted) - set(public_names()), "these are no public names"


def test_the_names_of_the_lab_are_all_it_offers() -> None:
    assert set(LAB[hardgrad_lab]) == set(hardgrad_lab._LIVES_IN)
    assert set(LAB[audio]) == offered(audio)
    assert set(LAB[experiments]) == {name for name in offered(experiments) if name.islower()}


@pytest.mark.parametrize("name", public_names())
def test_a_docstring_says_what_it_is_and_names_what_exists(name: str) -> None:
    value = resolve_name(name)
    if not (inspect.isclass(value) or inspect.isfunction(value)):
        return  # the name of a type, which has no docstring of its own
    said = inspect.getdoc(value) or ""
    assert said
    first = said.split("\n\n")[0]
    assert len(first) < 240, "the first paragraph is a line of a table"
    assert unknown(said) == []


def unknown(text: str) -> list[str]:
    """Return the names of ours in a text that name nothing."""
    found = []
    for path in dict.fromkeys(NAME.findall(text)):
        short = "hardgrad" + path[2:] if path.startswith("hg.") else path
        if FILE.fullmatch(short) or OF_A_READER.match(short):
            continue
        try:
            resolve_name(short)
        except (AttributeError, ImportError):
            found.append(path)
    return found


@pytest.mark.parametrize("page", [page for page in pages() if page.name != "CHANGELOG.md"], ids=lambda path: path.stem)
def test_a_page_names_what_exists(page: Path) -> None:  # the changelog names what has gone
    text = page.read_text(encoding="utf-8")
    code = [*CODE.findall(text), *(found[2] for found in LITERAL.finditer(CODE.sub("", text)))]
    assert unknown("\n".join(code)) == []


def test_an_unknown_name_is_found() -> None:
    assert unknown("hg.Bridge(f), hg.Brigde(f), hardgrad.soft.rank, hg.soft.Rank, results/hg.pt") == [
        "hg.Brigde", "hg.soft.Rank",
    ]  # fmt: skip


# --------------------------------------------------------------------------------------------------------- links


def prose(page: Path) -> str:
    """Return a page without what is code."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    return LITERAL.sub(lambda found: "x" * len(found[2]), text)


def addresses(text: str) -> Iterator[str]:
    yield from LINK.findall(text)
    for tag in TAG.findall(text):
        yield from ADDRESS.findall(tag)


def anchors(page: Path, deepest: int) -> set[str]:
    """Return the anchors of a page: those of its headings to a depth, and those that it sets itself."""
    text = CODE.sub("", page.read_text(encoding="utf-8"))
    found = set(re.findall(r'\bid="([^"]+)"', text)) | set(re.findall(r"^\(([\w-]+)\)=$", text, re.MULTILINE))
    times: Counter[str] = Counter()
    for marks, title in re.findall(r"^(#{1,6})[ \t]+(.+?)[ \t]*#*$", text, re.MULTILINE):
        if len(marks) > deepest:
            continue
        shown = re.sub(r"!?\[([^\]]*)\]\([^)]*\)", r"\1", title).replace("`", "").replace("*", "")
        slug = re.sub(r"[^\w\- ]", "", shown.strip().lower()).replace(" ", "-")
        found.add(f"{slug}-{times[slug]}" if times[slug] else slug)
        times[slug] += 1
    return found


def leads_nowhere(page: Path, address: str) -> bool:
    """Return whether a relative address has no file, or its file not the anchor, on the forge or on the site."""
    if re.match(r"[a-z][a-z0-9+.-]*:", address):
        return False
    name, _, anchor = address.partition("#")
    there = (page.parent / name).resolve() if name else page
    if there.is_relative_to(DOCS / "gallery"):  # made by the build from the examples
        source = ROOT / "examples" / "gallery" / there.relative_to(DOCS / "gallery")
        return not (source.stem == "index" or source.with_suffix(".py").is_file())
    if not there.exists():
        return True
    on_the_site = 4  # myst_heading_anchors
    return bool(anchor) and there.suffix == ".md" and anchor not in anchors(there, on_the_site)


@every_page
def test_every_link_leads_somewhere(page: Path) -> None:
    assert [each for each in addresses(prose(page)) if leads_nowhere(page, each)] == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text(
        "# A title: `code`, and more\n\n##### Deep\n\n"
        "[a](page.md) [b](other.md) [c](#a-title-code-and-more) [d](#a-title) [e](page.md#deep) [f](https://x.org/y)\n"
        '`[g](gone.md)` <a id="here"></a> [h](#here) <img src="gone.svg" alt="gone">\n\n```\n[i](gone.md)\n```\n'
    )
    found = [each for each in addresses(prose(page)) if leads_nowhere(page, each)]
    assert found == ["other.md", "#a-title", "page.md#deep", "gone.svg"]


@every_page
def test_every_picture_says_what_it_shows(page: Path) -> None:
    text = prose(page)
    assert [alt for alt in IMAGE.findall(text) if len(alt.strip()) < 4] == []
    pictures = [tag for tag in TAG.findall(text) if tag.startswith("<img")]
    assert [tag for tag in pictures if not re.search(r'\balt="[^"]{4,}"', tag)] == []


def test_every_page_is_in_a_table_of_contents() -> None:
    listed: set[str] = set()
    blocks = re.compile(r"^```\{toctree\}\n(.*?)^```", re.MULTILINE | re.DOTALL)
    on_site = [page for page in pages() if page.is_relative_to(DOCS)]
    names = {page.relative_to(DOCS).with_suffix("").as_posix() for page in [*on_site, *(DOCS / "api").glob("*.rst")]}
    for page in on_site:
        for block in blocks.findall(page.read_text(encoding="utf-8")):
            for line in block.splitlines():
                entry = re.sub(r"^.*<(.+)>$", r"\1", line.strip()).removesuffix(".md").removesuffix(".rst")
                if not entry or entry.startswith(":"):
                    continue
                path = (page.parent / entry).relative_to(DOCS).as_posix()
                if not path.startswith(MADE):
                    assert fnmatch.filter(names, path), f"{page.name} lists {entry}, which is not there"
                listed |= set(fnmatch.filter(names, path))
    assert names - listed == {"index"}


# --------------------------------------------------------------------------------------- names of other libraries


def inventories() -> ModuleType:
    spec = importlib.util.spec_from_file_location("inventories", DOCS / "_ext" / "inventories.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


LISTS = sorted((DOCS / "inventories").glob("*.txt"))


@pytest.mark.parametrize("listed", LISTS, ids=lambda path: path.stem)
def test_every_name_that_pages_link_to_exists_in_its_library(listed: Path) -> None:
    base, entries = inventories().read(listed)
    assert base.startswith("https://")
    assert base.endswith("/")
    assert len({name for name, _, _ in entries}) == len(entries)
    for name, role, address in entries:
        builtin = listed.stem == "python" and hasattr(builtins, name)
        value = getattr(builtins, name) if builtin else None if name == "None" else resolve_name(name)
        assert role in ("py:class", "py:function", "py:exception", "py:data", "py:module"), name
        assert (role == "py:module") == inspect.ismodule(value), name
        assert "$" in address or name.rpartition(".")[2] in address, name


def test_an_inventory_is_written_as_sphinx_reads_it(tmp_path: Path) -> None:
    (tmp_path / "some.txt").write_text("https://x.org/\nsome.name  py:class  a.html#$ # why\n\n")
    made = inventories().write(tmp_path, tmp_path / "out")
    assert made == {"some": ("https://x.org/", str(tmp_path / "out" / "some.inv"))}
    head, _, packed = Path(made["some"][1]).read_bytes().partition(b"zlib.\n")
    assert head.startswith(b"# Sphinx inventory version 2\n")
    assert zlib.decompress(packed) == b"some.name py:class 1 a.html#some.name -\n"

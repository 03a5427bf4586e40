"""The pages of docs/commands and README.md against the command line: what they name is there, and all is named."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest
from cyclopts import App

from hardgrad_lab.app import build
from hardgrad_lab.plan.file import read

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "docs" / "commands"
PAGES = [ROOT / "README.md", *sorted(FOLDER.glob("*.md"))]
# Options of other programs that the pages name: of pip, Ray, torchrun.
OTHERS = {"--head", "--nproc-per-node", "--no-deps", "--only-binary", "--python-version"}


def walk(app: App, words: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], App]]:
    """Yield every command with the words that call it; --help and its like are commands, too."""
    for name in app:
        yield (*words, name), app[name]
        if not name.startswith("-"):
            yield from walk(app[name], (*words, name))


@cache
def commands() -> dict[tuple[str, ...], App]:
    return dict(walk(build()))


@cache
def options(*words: str) -> frozenset[str]:
    app = commands()[words]
    if app.default_command is None or words[-1] in ("--help", "-h", "--version"):
        return frozenset()
    return frozenset(name for each in app.assemble_argument_collection() for name in each.names)


def blocks(page: Path, language: str = "sh") -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), flags=re.DOTALL)


def typed(page: Path) -> list[list[str]]:
    """Return the words of each command of ours in a page's blocks."""
    found: list[list[str]] = []
    for block in blocks(page):
        for line in re.sub(r"<<'END'\n.*?\nEND\n", "\n", block, flags=re.DOTALL).splitlines():
            rest = shlex.split(line, comments=True)
            while rest:
                end = next((n for n, word in enumerate(rest) if word in ("&&", "|", ";")), len(rest))
                words, rest = rest[:end], rest[end + 1 :]
                ours = [n for n, word in enumerate(words) if word.endswith("hardgrad") or word == "hardgrad_lab.cli"]
                found += [words[ours[0] + 1 :]] if ours else []
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_command_of_a_page_is_one_that_the_command_line_takes(page: Path) -> None:
    for words in typed(page):
        if words[-1] in ("--help", "--version"):
            assert words[:-1] == [] or tuple(words[:-1]) in commands()
        else:
            build().parse_args(words, exit_on_error=False, print_error=False)


def test_the_pages_show_commands() -> None:
    assert len(typed(FOLDER / "fit.md")) >= 5
    assert len(typed(FOLDER / "doctor.md")) >= 5
    assert len(typed(FOLDER / "reproduce.md")) >= 8
    assert ["reproduce", "sorting"] in typed(ROOT / "README.md")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_option_of_a_page_exists(page: Path) -> None:
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z0-9-]+", page.read_text(encoding="utf-8")))
    known = {name for words in commands() for name in (words[-1], *options(*words))}
    assert named <= known | OTHERS, f"{page.name} names {sorted(named - known - OTHERS)}"


def test_the_index_has_every_command() -> None:
    index = (FOLDER / "index.md").read_text(encoding="utf-8")
    first = {words[0] for words in commands() if not words[0].startswith("-")}
    below = {words for words in commands() if len(words) == 2 and words[0] == "doctor" and words[1][0] != "-"}
    for words in [*((word,) for word in first), *below]:
        assert re.search(rf"^\| `hardgrad {' '.join(words)}` \|", index, flags=re.MULTILINE), words
    named = re.findall(r"^\| `hardgrad ([a-z ]+)` \|", index, flags=re.MULTILINE)
    assert named
    assert all(tuple(each.split()) in commands() for each in named)


def test_the_reference_has_every_experiment_of_the_papers() -> None:
    text = (FOLDER / "experiments.md").read_text(encoding="utf-8")
    named = set(re.findall(r"^\| `(\w+)` \|", text, flags=re.MULTILINE))
    assert named
    assert all(("reproduce", name) in commands() for name in named)


def test_the_plan_of_a_page_is_one(tmp_path: Path) -> None:
    (text,) = re.findall(
        r"cat > mine\.toml <<'END'\n(.*?)END\n", (FOLDER / "reproduce.md").read_text(), flags=re.DOTALL
    )
    (tmp_path / "mine.toml").write_text(text, encoding="utf-8")
    (group,) = read(tmp_path / "mine.toml")
    assert [run.seed for run in group.runs] == [0, 1, 2]


@pytest.mark.parametrize("page", sorted(FOLDER.glob("*.md")), ids=lambda page: page.stem)
def test_programs_of_a_page_are_python(page: Path) -> None:
    for name, text in re.findall(
        r"cat > (\S+\.py) <<'END'\n(.*?)END\n", page.read_text(encoding="utf-8"), flags=re.DOTALL
    ):
        compile(text, name, "exec")

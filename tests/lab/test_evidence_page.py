"""What README.md and docs/evidence/index.md say of the records, held to the records."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from hardgrad_lab.drawing.section import Section
from hardgrad_lab.report.glance import glance_at, in_brief

ROOT = Path(__file__).parents[2]
AGAIN = "write it again with: python docs/scripts/evidence.py"


def script(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / "docs" / "scripts" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def evidence() -> ModuleType:
    return script("evidence")


@pytest.fixture(scope="module")
def pages(evidence: ModuleType) -> dict[str, str]:
    return {page.name: text for page, text in evidence.written().items()}


@pytest.mark.parametrize("name", ["README.md", "docs/evidence/index.md"])
def test_a_page_says_what_the_records_hold(pages: dict[str, str], name: str) -> None:
    page = ROOT / name
    assert page.read_text(encoding="utf-8") == pages[page.name], AGAIN


@pytest.fixture(scope="module")
def sections(evidence: ModuleType) -> list[Section]:
    return evidence.sections(evidence.read_records(evidence.RESULTS), brief=False)


def test_the_first_screen_agrees_with_the_whole_page(sections: list[Section]) -> None:
    whole = (ROOT / "docs" / "evidence" / "reproduction.md").read_text(encoding="utf-8")
    brief = in_brief(sections, "reproduction.md")
    assert brief.splitlines()[0] == glance_at(sections).headline
    assert brief.splitlines()[0] in whole
    for line in re.findall(r"^- \[.*", brief, flags=re.MULTILINE):
        assert line.replace("reproduction.md#", "#") in whole


def test_the_first_screen_tells_all_numbers(sections: list[Section]) -> None:
    brief = in_brief(sections, "reproduction.md")
    kinds = [each.kind for section in sections for each in section.standings]
    assert f"{kinds.count('not run')} numbers are not run" in brief
    for section in sections:
        for each in section.standings:
            if each.kind in ("as published", "better"):
                assert f"{each.number.value:{each.metric.form}}" in brief


def test_links_of_the_readme_lead_to_files() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    records = re.findall(r"\]\((results/[^)]+)\)", text)
    assert len(records) >= 3
    assert all((ROOT / each).is_file() for each in records)
    assert not re.search(r"\{[a-z]|:::|^```\{", text, flags=re.MULTILINE)  # a forge knows no MyST


def test_the_readme_says_what_its_picture_says() -> None:
    drawn = (ROOT / "docs" / "_static" / "bridge.svg").read_text(encoding="utf-8")
    (said,) = re.findall(r"<desc>(.*?)</desc>", drawn)
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    losses = re.findall(r"\d\.\d\d", said)
    assert len(losses) == 3
    none, straight, bridge = losses
    said = f"{none} with autograd alone, {straight} with a straight-through gradient, {bridge} with a bridge"
    assert f"ends at {said}" in text


@pytest.mark.parametrize("name", ["bridge", "bridge-narrow"])
def test_the_picture_is_small_and_asks_for_nothing(name: str) -> None:
    text = (ROOT / "docs" / "_static" / f"{name}.svg").read_text(encoding="utf-8")
    assert len(text.encode()) < 30_000
    assert "prefers-color-scheme:dark" in text
    assert "<script" not in text
    assert not re.search(r'(?:href|src)="(?!#)', text)
    assert "@import" not in text
    assert "url(h" not in text


def test_the_picture_trains_what_it_says(monkeypatch: pytest.MonkeyPatch) -> None:
    bridge = script("bridge")
    monkeypatch.setattr(bridge, "STEPS", 3)
    for kind in bridge.LOOKS:
        model, losses = bridge.train(kind, 0)
        assert len(losses) == 4
        assert bool(model[0].weight.grad.any()) == (kind != "none")  # autograd alone lets nothing through the stairs

"""The package as a whole: what it needs is what it says, under licences that its users can live with."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from functools import cache
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import hardgrad as hg

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
EXTRAS = PROJECT["optional-dependencies"]
# What people install to use the library, not to work on it.
USED = ("lab", "cluster", "tensorboard", "audio", "excel", "onnx")
# Needed, and imported by others on our behalf.
ON_BEHALF = {
    "onnxruntime": "runs what `hardgrad export --to onnx` writes",
    "onnxscript": "torch.onnx",
    "openpyxl": "pandas.read_excel",
    "pyarrow": "pandas",
    "tensorboard": "torch.utils.tensorboard",
    "auraloss": "the losses of sounds, by name",
}
COPYLEFT = re.compile(r"\bA?GPL|GNU (Affero )?General", re.IGNORECASE)  # the lesser one asks nothing of a user


def needs(names: tuple[str, ...]) -> set[str]:
    """Return the distributions that extras name, those of extras within them too."""
    found = set()
    for line in (line for name in names for line in EXTRAS[name]):
        asked = Requirement(line)
        found |= needs(tuple(asked.extras)) if asked.name == PROJECT["name"] else {canonicalize_name(asked.name)}
    return found


@cache
def imported() -> frozenset[str]:
    """Return the distributions of other people that the source imports."""
    names = set()
    for path in (ROOT / "src").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                names.add(node.module.partition(".")[0])
    owners = metadata.packages_distributions()
    others = names - {"hardgrad", "hardgrad_lab", *sys.stdlib_module_names}
    return frozenset(canonicalize_name(owners[name][0]) for name in others)


def all_under(names: set[str]) -> set[str]:
    """Return distributions with all that they need in turn, of what is installed here."""
    found, todo = set(), set(names)
    while todo:
        name = todo.pop()
        found.add(name)
        try:
            lines = metadata.requires(name) or []
        except metadata.PackageNotFoundError:
            continue
        asked = (Requirement(line) for line in lines)
        todo |= {canonicalize_name(each.name) for each in asked if not each.marker or each.marker.evaluate()} - found
    return found


def licence(name: str) -> str:
    """Return what a distribution says of its licence: the expression if there is one, else words and classifiers."""
    about = metadata.metadata(name)
    said = about.get("License-Expression")
    if said:
        return said
    classes = [each for each in about.get_all("Classifier") or [] if each.startswith("License ::")]
    # A whole licence may stand in the field, which names others in its text.
    return " ".join([*((about.get("License") or "").splitlines()[:1]), *classes])


def test_what_is_imported_is_declared_and_what_is_declared_is_used() -> None:
    brought = {"threadpoolctl"}  # by scikit-learn
    assert imported() - {"torch"} - brought <= needs(USED)
    assert needs(USED) - imported() <= set(ON_BEHALF)
    assert set(ON_BEHALF) <= needs(USED)


def test_only_the_audio_extra_brings_a_licence_that_binds_what_is_made_with_it() -> None:
    free = all_under(needs(tuple(name for name in USED if name != "audio")) | {"torch"})
    bound = {name: licence(name) for name in free if known(name) and COPYLEFT.search(licence(name))}
    assert not bound
    assert {name for name in needs(("audio",)) if COPYLEFT.search(licence(name))} == {"pedalboard"}


def known(name: str) -> bool:
    """Return whether a distribution is installed here: some are for other systems."""
    try:
        metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return False
    return True


def test_the_licences_of_most_of_what_is_needed_are_read_at_all() -> None:
    names = {name for name in all_under(needs(USED) | {"torch"}) if known(name)}
    silent = {name for name in names if not licence(name).strip()}
    assert len(names) > 40
    assert len(silent) <= 2, silent


@pytest.mark.parametrize(
    "version",
    [
        PROJECT["version"],
        re.search(r"^version: (\S+)$", (ROOT / "CITATION.cff").read_text(encoding="utf-8"), re.MULTILINE)[1],  # type: ignore[index]
    ],
)
def test_there_is_one_version(version: str) -> None:
    assert version == hg.__version__


def test_every_hook_runs_what_ci_runs() -> None:
    asked = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    hooks = re.findall(r"entry: (.*)", (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert len(hooks) == 4
    for hook in hooks:
        command = hook.replace(" --force-exclude", "")
        assert f"  {command}" in asked.replace(" --check .", "").replace("ruff check .", "ruff check"), hook

"""A plan file: groups of runs in TOML, one ``[[run]]`` a group, read whole before anything starts.

::

    [[run]]
    about = "Table II, signum-rnn at 5 numbers"
    priority = 1                # 1 is done before 2; within one priority, as the file has them
    experiment = "sorting"
    task = "5"                  # sorting: how many numbers; a list takes each
    contestant = "signum-rnn"   # sorting: the system; a list takes each
    budget = "small"
    seeds = [0, 1, 2]
    core_minutes = 6.0          # that one run should take on one core; corrected by those that are done
    options.samples = 6_000_000
    options.near_ties = [0.5, 0.75]   # a list takes each

Lists make every combination. Task and contestant may be left out, for all that the budget plans.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, get_type_hints

from hardgrad_lab.experiments import LIST, experiment
from hardgrad_lab.plan.groups import Group
from hardgrad_lab.plan.values import choices, typed
from hardgrad_lab.runs.experiment import BUDGETS, Budget, Experiment
from hardgrad_lab.runs.options import OptionError, require
from hardgrad_lab.runs.record import Run

MOST = 100_000  # runs of an entry: more are a slip, and would fill the memory
KEYS = (
    "experiment", "task", "contestant", "budget", "seeds", "priority", "core_minutes", "about", "options",
)  # fmt: skip
NEEDED = ("experiment", "seeds", "core_minutes")


class PlanFileError(ValueError):
    """A plan file with a mistake; the message names the file, the entry, its line, what is wrong and what is right."""


def read(path: Path) -> list[Group]:
    """Return the groups of a plan file, those of priority 1 first.

    Args:
        path: of the file.

    Raises:
        PlanFileError: if it is no TOML, or an entry of it cannot be run, or makes a run that another one makes.
    """
    text = _text(path)
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise PlanFileError(f"{path} must be TOML: {error}") from None
    other = sorted(content.keys() - {"run"})
    if other:
        raise PlanFileError(f"{path} must hold [[run]] entries and nothing else, got {', '.join(other)} beside them")
    entries = content.get("run", [])
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise PlanFileError(f"{path} must hold at least one entry that begins with [[run]]")
    places = _places(text, len(entries))
    groups = [_group(entry, f"{path}, {place}") for entry, place in zip(entries, places, strict=True)]
    _check_once(groups, places, path)
    return sorted(groups, key=lambda group: group.priority)  # a stable sort: the file's order within a priority


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise PlanFileError(f"{path} must be text in UTF-8: {error.reason} at byte {error.start}") from None
    except OSError as error:
        raise PlanFileError(f"{path} cannot be read: {error.strerror or error}") from None


def _places(text: str, count: int) -> list[str]:
    """Return the number of every entry, and its line where that can be told."""
    heads = [number for number, line in enumerate(text.splitlines(), 1) if re.match(r"\s*\[\[\s*run\s*\]\]", line)]
    found = heads if len(heads) == count else []
    return [f"entry {place + 1}" + (f" (line {found[place]})" if found else "") for place in range(count)]


def _group(entry: Mapping[str, Any], place: str) -> Group:
    try:
        return _checked(entry)
    except OptionError as error:
        raise PlanFileError(f"{place}: {error}") from None


def _checked(entry: Mapping[str, Any]) -> Group:
    for name in entry:
        require(name in KEYS, name, f"one of {', '.join(KEYS)}, which are all that an entry has", entry[name])
    for name in NEEDED:
        require(name in entry, name, f"in every entry, as {' and '.join(NEEDED)} are", "none")
    name = typed("experiment", str, entry["experiment"])
    require(name in LIST, "experiment", f"one of {', '.join(LIST)}", name)
    minutes = typed("core_minutes", float, entry["core_minutes"])
    require(minutes > 0, "core_minutes", "the minutes that one run should take on one core", minutes)
    priority = typed("priority", int, entry.get("priority", 1))
    require(priority >= 0, "priority", "a whole number from 0, and 1 is done before 2", priority)
    seeds, configs = _seeds(entry), _configs(entry, experiment(name))
    require(len(seeds) * len(configs) <= MOST, "seeds", f"so few that an entry has at most {MOST:,} runs", len(seeds))
    runs = [experiment(name).run(config, seed) for seed in seeds for config in configs]
    title = typed("about", str, entry.get("about", ""))
    return Group(title=title or _title(entry), runs=runs, priority=priority, core_minutes=minutes)


def _title(entry: Mapping[str, Any]) -> str:
    words = (entry.get(name, "") for name in ("experiment", "task", "contestant"))
    return " ".join(", ".join(map(str, word)) if isinstance(word, list) else str(word) for word in words if word)


def _seeds(entry: Mapping[str, Any]) -> list[int]:
    seeds = entry["seeds"]
    numbers = isinstance(seeds, list) and all(isinstance(seed, int) and not isinstance(seed, bool) for seed in seeds)
    right = numbers and seeds and min(seeds) >= 0 and len(set(seeds)) == len(seeds)
    require(bool(right), "seeds", "a list of different whole numbers from 0, such as [0, 1, 2]", seeds)
    return list(seeds)


def _configs(entry: Mapping[str, Any], kind: Experiment) -> list[Any]:
    budget = typed("budget", str, entry.get("budget", "small"))
    require(budget in BUDGETS, "budget", f"one of {', '.join(BUDGETS)}", budget)
    pairs = _pairs(entry, kind.pairs(budget))
    options = _options(entry.get("options", {}), kind)
    count = len(pairs) * prod(len(values) for values in options.values())
    require(count <= MOST, "options", f"lists that make at most {MOST:,} combinations", count)
    return [
        _config(kind, budget, task, contestant, dict(zip(options, values, strict=True)))
        for (task, contestant), values in product(pairs, product(*options.values()))
    ]


def _config(kind: Experiment, budget: Budget, task: str, contestant: str, given: Mapping[str, Any]) -> Any:
    config = kind.configure(budget, task, contestant, given)
    for name, value in given.items():
        own = getattr(config, name)
        require(own == value, name, f"left out or {own!r}, which is {contestant}'s own", value)
    return config


def _pairs(entry: Mapping[str, Any], planned: Sequence[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the tasks and contestants of an entry; what it leaves out is what the budget plans."""
    tasks, contestants = (_names(entry, name) for name in ("task", "contestant"))
    if not contestants:
        pairs = [pair for pair in planned if not tasks or pair[0] in tasks]
        missing = ", ".join(task for task in tasks if task not in {task for task, _ in pairs})
        require(not missing, "contestant", f"given, as this budget plans none for {missing}", "none")
        return pairs
    return list(product(tasks or dict.fromkeys(task for task, _ in planned), contestants))


def _names(entry: Mapping[str, Any], name: str) -> list[str]:
    value = entry.get(name, [])
    several = value if isinstance(value, list) else [value]
    right = all(isinstance(each, str | int) and not isinstance(each, bool) for each in several)
    require(right and (name not in entry or several != []), name, "a name, or a list of names", value)
    names = [str(each) for each in several]
    require(len(set(names)) == len(names), name, "a list in which each name stands once", value)
    return names


def _options(given: Any, kind: Experiment) -> dict[str, list[Any]]:
    require(isinstance(given, dict), "options", "a table of names and values, such as options.lr = 0.01", given)
    known, hints = kind.options(), get_type_hints(kind.config)
    for name, value in given.items():
        require(name in known, name, f"left out: it is no option here; those are {', '.join(known)}", value)
    return {name: choices(name, hints[name], value) for name, value in given.items()}


def _check_once(groups: Sequence[Group], places: Sequence[str], path: Path) -> None:
    first: dict[str, str] = {}
    for group, place in zip(groups, places, strict=True):
        for run in group.runs:
            if run.name in first:
                raise PlanFileError(f"{path}, {place}: must make runs that no other makes, but {_said(run, first)}")
            first[run.name] = place


def _said(run: Run, first: Mapping[str, str]) -> str:
    return f"{run.name} is made by {first[run.name]} already; take one of the two out"

"""One entry of the bank: a model and, read off comments in its source, the lines where its gradient ends.

`# BREAK cut` marks a line to be found, `# BREAK dead|suspicious` one that may be called either way, `# OR` a line that
is as good an answer as the mark before it, `# HARMLESS` one that must be explained away. A case that can be argued
about is `debatable`: it is run and not counted.
"""

from __future__ import annotations

import inspect
import re
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

Factory = Callable[[], "Setup"]
MARK = re.compile(r"#.*\bBREAK ([a-z|]+)")
HARMLESS = re.compile(r"#.*\bHARMLESS\b")
ALTERNATIVE = re.compile(r"#.*\bOR\b")


@dataclass(frozen=True)
class Setup:
    """What is handed to `breaks`: a model or function, its inputs, and a loss of its output."""

    model: Callable[..., Any]
    inputs: tuple[Any, ...]
    loss: Callable[[Any], torch.Tensor] | None = None

    def value(self) -> torch.Tensor:
        """The loss, by plain torch."""
        out = self.model(*self.inputs)
        return out.sum() if self.loss is None else self.loss(out)

    def backward(self) -> None:
        loss = self.value()
        if loss.requires_grad:
            loss.backward()


@dataclass(frozen=True)
class Mark:
    """A break to be found: its kinds and lines, of which one will do."""

    kinds: tuple[str, ...]
    lines: tuple[int, ...]

    def __str__(self) -> str:
        return f"{'|'.join(self.kinds)} at line {' or '.join(map(str, self.lines))}"


@dataclass(frozen=True)
class Case:
    """An entry. `cures` are names of hardgrad of which one must stand in the cure; none if the cure is plain torch."""

    name: str
    factory: Factory
    story: str = ""
    cures: tuple[str, ...] = ()
    marks: tuple[Mark, ...] = ()
    file: str = ""
    debatable: str = ""
    harmless: tuple[int, ...] = ()
    whole: bool = True  # every trainable parameter of a sound model gets a gradient that is not zero

    def __str__(self) -> str:
        return self.name

    def build(self) -> Setup:
        with torch.random.fork_rng(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            torch.manual_seed(0)
            return self.factory()


def broken(
    story: str, *cures: str, helpers: tuple[Callable[..., Any], ...] = (), debatable: str = ""
) -> Callable[[Factory], Case]:
    """Make a case of a factory whose source, or that of its helpers, has marked lines."""

    def made(factory: Factory) -> Case:
        marks = tuple(mark for part in (factory, *helpers) for mark in _marks(part))
        name = factory.__name__.replace("_", " ")
        return Case(name, factory, story, cures, marks, inspect.getsourcefile(factory) or "", debatable)

    return made


def sound(factory: Factory) -> Case:
    """A model in which nothing is to be found."""
    return _sound(factory, whole=True)


def sound_in_part(factory: Factory) -> Case:
    """A sound model some of whose parameters rightly get no gradient, or zero, in this step."""
    return _sound(factory, whole=False)


def _sound(factory: Factory, whole: bool) -> Case:
    source, first = inspect.getsourcelines(factory)
    harmless = tuple(number for number, line in enumerate(source, first) if HARMLESS.search(line))
    file = inspect.getsourcefile(factory) or ""
    return Case(factory.__name__.replace("_", " "), factory, file=file, whole=whole, harmless=harmless)


def cases_in(names: dict[str, Any]) -> list[Case]:
    return [case for case in names.values() if isinstance(case, Case)]


def _marks(part: Callable[..., Any]) -> list[Mark]:
    lines, first = inspect.getsourcelines(part)
    marks: list[Mark] = []
    for number, line in enumerate(lines, first):
        if found := MARK.search(line):
            marks.append(Mark(tuple(found[1].split("|")), (number,)))
        elif ALTERNATIVE.search(line) and marks:
            marks[-1] = Mark(marks[-1].kinds, (*marks[-1].lines, number))
    return marks

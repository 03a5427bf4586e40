"""What a ``model.json`` must say before anything is built from it: types, ranges, lengths, and what follows from what.

A folder may come from a stranger. What passes here builds a network of bounded size and imports nothing.
"""

from __future__ import annotations

import math
import reprlib
from collections.abc import Mapping, Sequence
from dataclasses import fields
from itertools import pairwise
from pathlib import Path
from typing import Any

from hardgrad_lab.fit.options import BRANCHES
from hardgrad_lab.fit.training.factories import names_code, origin
from hardgrad_lab.fit.training.network import Architecture
from hardgrad_lab.runs.model_files import CURE, FolderError

MOST_COLUMNS, MOST_WINDOW = 1_000_000, 1 << 17
WIDEST, DEEPEST = 1 << 16, 64  # features of a hidden layer, and how many layers
ENDS = {"-inf": -math.inf, "inf": math.inf}  # how plain JSON says where a range has no end


def ends(points: Sequence[Any]) -> tuple[float, ...]:
    """Return points as numbers, where ``plain`` said an infinite end in a word."""
    return tuple(ENDS[point] if isinstance(point, str) else float(point) for point in points)


def require_trust(path: Path, said: Mapping[str, Any]) -> None:
    """Raise a FolderError if a description names code to import. Nothing is imported to say so."""
    named = [said["architecture"]["branch"], said["options"].get("branch")]
    for branch in filter(names_code, named):
        raise FolderError(
            f"{path} names code to import, and nothing of it was run: its branch is {branch!r}, whose module comes "
            f"from {origin(branch)}; if you trust who made this folder and that file, say so with --trust, or with "
            "load_model(path, trust=True)"
        )


class Check:
    """A description under examination: each method refuses one kind of fault.

    Args:
        path: of the file, for the words.
        said: its content.
        parameters: of the estimators, by kind: which options there may be.
    """

    def __init__(self, path: Path, said: Mapping[str, Any], parameters: Mapping[str, Sequence[str]]) -> None:
        self.path, self.said, self.parameters = path, said, parameters

    def all(self) -> None:
        """Refuse whatever cannot be a fitted model.

        Raises:
            FolderError: with the place, the rule and the value.
        """
        self._columns()
        self._architecture()
        self._points()
        self._scalings()
        self._options()
        self._training()

    def _columns(self) -> None:
        count = self._whole("column_count", 1, MOST_COLUMNS)
        names = self._get("columns")
        if names is not None:
            self._list("columns", names, str, count)
            self._require(len(set(names)) == len(names), "columns", "names that differ", names)
        self._whole("key", 0, count - 1)
        inputs = self._get("inputs")
        self._list("inputs", inputs, int)
        proper = all(0 <= column < count for column in inputs) and len(set(inputs)) == len(inputs) > 0
        self._require(proper, "inputs", f"different columns from 0 to {count - 1}", inputs)
        if "target" in self.said:
            self._require(isinstance(self.said["target"], str), "target", "a word", self.said["target"])

    def _architecture(self) -> None:
        drawn = self._dict("architecture", [each.name for each in fields(Architecture)])
        branch, hidden = drawn["branch"], drawn["hidden"]
        named = isinstance(branch, str) and (branch in BRANCHES or ":" in branch)
        self._require(named, "architecture.branch", f"one of {', '.join(BRANCHES)}, or module:factory", branch)
        self._require(isinstance(drawn["learn_points"], bool), "architecture.learn_points", "true or false", drawn)
        self._list("architecture.hidden", hidden, int)
        proper = len(hidden) <= DEEPEST and all(1 <= width <= WIDEST for width in hidden)
        self._require(proper, "architecture.hidden", f"at most {DEEPEST} widths from 1 to {WIDEST}", hidden)
        self._whole("architecture.columns", len(self.said["inputs"]), len(self.said["inputs"]))
        window = self._whole("architecture.window", 1, MOST_WINDOW)
        if drawn["raw"] is not None:
            self._whole("architecture.raw", 0, window * drawn["columns"] - 1)
        classes = self.said.get("classes")
        if self.said["kind"] == "SwitchClassifier":
            proper = isinstance(classes, list) and all(isinstance(each, str | int | float) for each in classes)
            self._require(proper and bool(classes), "classes", "a list of labels", classes)
        self._whole("architecture.out_features", 1, len(classes) if isinstance(classes, list) else MOST_COLUMNS)

    def _points(self) -> None:
        for place in ("points", "architecture.points"):
            points = self._get(place)
            whole = isinstance(points, list) and len(points) > 1
            known = whole and all(_is_number(point) or (isinstance(point, str) and point in ENDS) for point in points)
            rising = known and all(a < b for a, b in pairwise(ends(points)))
            self._require(rising, place, "at least two numbers that rise", points)
        found, drawn = self.said["points"], self.said["architecture"]["points"]
        self._require(len(found) == len(drawn), "points", f"{len(drawn)}, as architecture.points", len(found))

    def _scalings(self) -> None:
        widths = {"input_scaling": len(self.said["inputs"])}
        if self.said["kind"] == "SwitchRegressor":
            widths["target_scaling"] = self.said["architecture"]["out_features"]
        for place, width in widths.items():
            scaling = self._dict(place, ["mean", "scale"])
            for name in ("mean", "scale"):
                self._numbers(f"{place}.{name}", scaling[name], width)
            self._require(all(s > 0 for s in scaling["scale"]), f"{place}.scale", "numbers above 0", scaling["scale"])

    def _options(self) -> None:
        options = self._dict("options", [])
        known = self.parameters[self.said["kind"]]
        for name in options:
            self._require(name in known, "options", f"among {', '.join(known)}", name)
        drawn = self.said["architecture"]
        for name in ("branch", "window"):  # what a new fit, and predicting, go by
            self._require(options.get(name) == drawn[name], f"options.{name}", f"{drawn[name]!r}", options.get(name))

    def _training(self) -> None:
        trained = self._dict("training", ["epochs", "steps", "best_epoch", "rows", "rows_per_range", "curve"])
        for name in ("epochs", "steps", "best_epoch"):
            self._whole(f"training.{name}", 0, 1 << 62)
        self._list("training.rows", trained["rows"], int, 2)
        self._list("training.rows_per_range", trained["rows_per_range"], int, len(self.said["points"]) - 1)
        self._list("training.curve", trained["curve"], dict)

    def _get(self, place: str) -> Any:
        found: Any = self.said
        for name in place.split("."):
            if not isinstance(found, Mapping) or name not in found:
                raise FolderError(f"{self.path} lacks or garbles {name!r}; {CURE}")
            found = found[name]
        return found

    def _dict(self, place: str, names: Sequence[str]) -> dict[str, Any]:
        found = self._get(place)
        self._require(isinstance(found, dict), place, "names with values", found)
        for name in names:
            self._get(f"{place}.{name}")
        return dict(found)

    def _whole(self, place: str, least: int, most: int) -> int:
        found = self._get(place)
        proper = isinstance(found, int) and not isinstance(found, bool) and least <= found <= most
        rule = f"{least}" if least == most else f"a whole number from {least} to {most}"
        self._require(proper, place, rule, found)
        return int(found)

    def _list(self, place: str, found: Any, kind: type, length: int | None = None) -> None:
        proper = isinstance(found, list) and all(isinstance(e, kind) and not isinstance(e, bool) for e in found)
        self._require(proper and length in (None, len(found)), place, _listed(kind, length), found)

    def _numbers(self, place: str, found: Any, length: int) -> None:
        proper = isinstance(found, list) and len(found) == length and all(map(_is_number, found))
        self._require(proper, place, _listed(float, length), found)

    def _require(self, holds: bool, place: str, rule: str, got: Any) -> None:
        if not holds:
            raise FolderError(f"{self.path}: {place} must be {rule}, got {reprlib.repr(got)}; {CURE}")


def _listed(kind: type, length: int | None) -> str:
    words = {str: "words", int: "whole numbers", float: "numbers", dict: "names with values"}[kind]
    return f"a list of {'' if length is None else f'{length} '}{words}"


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and -1e308 <= value <= 1e308

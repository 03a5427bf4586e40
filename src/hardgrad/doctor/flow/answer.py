"""What a judge found, as a reader wants it: places for calls, names for bits."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hardgrad.doctor.flow.judge import Judge, Verdict
from hardgrad.doctor.flow.places import Place
from hardgrad.doctor.flow.report import Break, Breaks, Harmless
from hardgrad.doctor.flow.values import Call
from hardgrad.doctor.flow.words import cure_of, spelled, why_of

# They read rows by whole numbers, or drop some of them.
_BY_INDEX = frozenset({"embedding", "gather", "index_select", "take_along_dim", "max_pool1d", "max_pool2d", "dropout"})


def fill(found: Breaks, judge: Judge, modules: Mapping[int, str]) -> None:
    """Write what a judge found into an answer, with the names of modules by their ``id``."""
    answer = _Answer(judge, modules)
    found._found, found._harmless, found._parameters = answer.breaks(), answer.harmless(), answer.parameters()


class _Answer:
    def __init__(self, judge: Judge, modules: Mapping[int, str]) -> None:
        self.judge, self.tape, self.modules = judge, judge.tape, modules

    def breaks(self) -> tuple[Break, ...]:
        merged: dict[tuple[Any, ...], tuple[Call, Verdict]] = {}
        calls = dict.fromkeys(value.call for value in self.tape.values)  # in the order of the step
        for call in (call for call in calls if call in self.judge.found):
            verdict = self.judge.found[call]
            key = (*self._where(call), spelled(call), verdict.kind)
            first, before = merged.get(key, (call, verdict))
            merged[key] = first, before._replace(mask=before.mask | verdict.mask)
        return tuple(self._break(call, verdict) for call, verdict in merged.values())

    def _break(self, call: Call, verdict: Verdict) -> Break:
        roots = [root for bit, root in enumerate(self.tape.roots) if verdict.mask >> bit & 1]
        lost = tuple(self.judge.names[id(root)] for root in roots if id(root) in self.judge.names)
        codes = not verdict.mask & ~self.judge.relations.codes
        words = spelled(call), cure_of(call, codes), verdict.why or why_of(call)
        return Break(verdict.kind, *self._where(call), *words, lost, *self._flow(call))

    def _where(self, call: Call) -> tuple[str, int, str]:
        place: Place = call.off if call.off and call.off.file and call.kind in ("", "detach") else call.place
        module = call.place.module
        name = "" if module is None else self.modules.get(id(module), "") or type(module).__name__
        return place.file, place.line, name

    def _flow(self, call: Call) -> tuple[tuple[int, ...], float, float]:
        value = next(value for value in self.tape.values if value.call is call)
        shape = value.inputs[0].shape if call.kind == "python" and value.inputs else value.shape
        relations = self.judge.relations
        flows = [flow for node, flows in relations.flows.items() for flow in flows if relations.calls.get(node) is call]
        rows = max((flow.rows for flow in flows), default=0.0)
        passed = any(size for flow in flows for size in flow.passed)
        return shape, 1.0 if passed else rows, float(passed)

    def harmless(self) -> tuple[Harmless, ...]:
        lines: dict[tuple[Any, ...], Harmless] = {}
        taken = {self._where(call)[:2] for call in self.judge.found}
        for value in self.tape.values:
            call = value.call
            if call is None or (call.place.inside in ("torch", "hardgrad") and call.name not in _BY_INDEX):
                continue
            if call.kind in ("", "custom") and call.off is None and call.name not in _BY_INDEX:
                continue
            file, line, module = self._where(call)
            key = file, line, spelled(call)
            if file and key not in lines and (file, line) not in taken:
                lines[key] = Harmless(file, line, module, spelled(call), self._why(call, value))
        return tuple(lines.values())

    def _why(self, call: Call, value: Any) -> str:
        if call.kind == "" and call.off is None:
            return "it picks, by index or at random: what it picks passes its gradient on"
        if not any(term.made & self.judge.asked for term in value.terms):
            return "nothing before it needs a gradient"
        if call in self.judge.relations.back:
            return "what it loses is differentiable beside it: it only chooses, masks or copies a value"
        if any(call in term.lost for term in self.judge.terms):
            return "what is cut here has its gradient from elsewhere"
        return "nobody differentiates what follows from it"

    def parameters(self) -> dict[str, str]:
        used = 0
        for value in self.tape.values:
            for term in value.terms if value.call is not None else ():
                used |= term.made
        bits = {id(root): bit for bit, root in enumerate(self.tape.roots)}
        said = {}
        for identity, name in self.judge.names.items():
            bit = bits.get(identity, -1)
            size = self.judge.relations.got.get(bit)
            if size is None:
                said[name] = "none" if bit >= 0 and used >> bit & 1 else "unused"
            elif size in (0.0, float("inf")):
                said[name] = "not finite" if size else "zero"
        return said

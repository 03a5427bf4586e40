"""The words of a finding: what happened at a call, and the call of hardgrad that mends it."""

from __future__ import annotations

from hardgrad.doctor.flow.calls import COMPARE, PROGRAM
from hardgrad.doctor.flow.values import Call

_TRUNCATES = {"div": "floor", "floor_divide": "floor", **dict.fromkeys(("fix", "long", "int", "to", "short"), "trunc")}
_DRAW = "hg.score_function(q, f) of the distribution q and what follows; or hg.reinmax, hg.gumbel, hg.arms"
_PROGRAM = "keep it a tensor; a program as a layer: hg.perturb(hg.BlackBox(program), scale), or hg.Bridge"
_OPEN = "take the detach or no_grad away; if the value must stay exact: hg.graft(value, path)"
_CHOICE = f"hg.straight_through(hg.hard.one_hot_argmax, soft), hg.Switch, or, if it may be a draw, {_DRAW}"
_ORDER = "multiply by the scores that chose; or hg.Bridge(hard, approximator) of hg.hard.top_k, hg.hard.rank"
_POINTS = "hg.Switch(hg.LearnedRanges(points), branches): a condition whose points learn, one branch a row"
_NEAREST = (
    "hg.Codebook(codes, width), which lends x a gradient and lets the codes learn; or hg.graft(code, x) for x alone"
)


def cure_of(call: Call, codes: bool = False) -> str:
    """Return what mends a break, of which nothing is lost but ``codes`` that are looked up."""
    if call.kind == "python":
        return _POINTS if call.name in ("__bool__", "is_nonzero", "equal", "allclose", "__contains__") else _PROGRAM
    if call.kind == "custom":
        silent = (
            "its layer in .train(), or made with differentiable_in_eval=True; " if call.name[:7] == "_Silent" else ""
        )
        return silent + "hg.straight_through(hard, soft): the value of one function, the gradient of another"
    if call.kind == "one":
        return "normalize over all before one is chosen (softmax, then top k); the choice itself: hg.Switch, hg.reinmax"
    if call.kind not in ("chosen", "sample") and (call.kind == "detach" or call.off is not None):
        return _NEAREST if codes else _OPEN
    return {"sample": _DRAW, "copy": _PROGRAM}.get(call.kind) or _of_a_step(call)


def _of_a_step(call: Call) -> str:
    name, twins = call.name, "hg.surrogate.twins"
    if name in ("argmin", "argmax", "max", "min"):
        return _NEAREST if name in ("argmin", "min") or call.kind == "chosen" else _CHOICE
    if name in ("topk", "sort", "argsort", "kthvalue", "median", "unique", "nonzero"):
        return _ORDER
    if name in ("sign", "sgn"):
        return f"hg.straight_through(hg.hard.sign, {twins}.tanh()); bits of a code: hg.lookup_free(bits)"
    if name in COMPARE | {"heaviside", "bool"}:
        return f"hg.straight_through(hg.hard.step, {twins}.sigmoid(slope)) of the difference of both sides"
    if name in ("bucketize", "searchsorted"):
        return f"{_POINTS}; or hg.RangeEmbedding"
    if name == "round":
        return (
            "hg.straight_through(hg.hard.round); a step that learns: hg.LearnedScale(bits); a code: hg.levels(levels)"
        )
    if name in _TRUNCATES or name in ("floor", "ceil", "trunc"):
        return f"hg.straight_through(torch.{_TRUNCATES.get(name, name)})"
    if name in ("relu", "clamp", "clip", "hardtanh", "sigmoid", "tanh", "leaky_relu", "relu6"):
        return "scale or normalize what goes in; a hard range whose gradient goes on outside: hg.straight_through"
    return "hg.straight_through(hard, soft), or hg.Bridge(hard, approximator), which learns one"


_MEANS = {
    "python": "the value leaves torch here, and autograd cannot follow",
    "flat": "its derivative is zero wherever it exists",
    "whole": "whole numbers have no derivative",
    "chosen": "the choice has no derivative in the numbers it was made by, and nothing copies the gradient past it",
    "sample": "a draw has no derivative in the numbers it was drawn by",
    "copy": "a new tensor of old numbers has no history",
    "one": "normalized over one element it is the same whatever goes in, so its gradient is zero",
    "detach": "the gradient is cut off by hand here",
    "": "torch has no derivative of it",
}


def why_of(call: Call) -> str:
    """Return why no gradient passes a call."""
    if call.name in ("__bool__", "is_nonzero"):
        return "Python decides by this value, and a decision has no derivative"
    switched_off = call.off is not None and call.kind in ("", "detach")
    return "gradients are switched off here" if switched_off else _MEANS.get(call.kind, "")


def spelled(call: Call) -> str:
    """Return what a reader calls a call."""
    if call.off is not None and call.kind in ("", "detach"):
        return "no_grad"
    if call.name in PROGRAM:
        return "numpy"
    name = {"__bool__": "if", "__setitem__": "[...] =", "=data": ".data ="}.get(call.name, call.name)
    return name.strip("_")

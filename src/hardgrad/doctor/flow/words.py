"""The words of a finding: what happened at a call, and the call of hardgrad that mends it."""

from __future__ import annotations

from hardgrad.doctor.flow.tape import Call

_STEPS = frozenset("gt ge lt le heaviside greater greater_equal less less_equal step".split())
_COMPARES = _STEPS | {"eq", "ne", "not_equal", "isclose"}
_ROUNDS = {"fix": "trunc", "floor_divide": "floor", "div": "floor", "long": "trunc", "int": "trunc", "to": "trunc"}
_TABLES = frozenset("bucketize searchsorted".split())
_TWIN = "hg.surrogate.twins"


def cure_of(call: Call) -> str:
    """Return the call of hardgrad that mends a break."""
    name = call.name
    if call.kind == "sample":
        return "hg.score_function(q, f) over the distribution q, or another Monte Carlo gradient: hg.reinmax, hg.arms"
    if name in ("__bool__", "is_nonzero", "equal", "allclose", "__contains__"):
        return "hg.Switch(hg.LearnedRanges(...), branches): a condition whose points learn, one branch a row"
    if call.kind == "python" or call.kind == "copy":
        return "keep it a tensor; a program as a layer: hg.Bridge(program, approximator)"
    if call.kind == "custom":
        return "hg.straight_through(hard, soft): the value of one function, the gradient of another"
    if call.kind == "one":
        return "take the softmax over all before the top k; for the choice itself hg.reinmax(q, f), or hg.Switch"
    if call.kind == "detach" or call.off is not None and call.kind in ("", "flat"):
        return "take the detach or no_grad away; if the value must stay exact: hg.graft(value, path)"
    return _of_a_step(name)


def _of_a_step(name: str) -> str:
    if name in ("sign", "sgn"):
        return f"hg.straight_through(hg.hard.sign, {_TWIN}.tanh())"
    if name in _COMPARES:
        return f"hg.straight_through(hg.hard.step, {_TWIN}.sigmoid(slope)) of the difference of both sides"
    if name in _TABLES:
        return "hg.Switch(hg.LearnedRanges(points), branches), or hg.RangeEmbedding: points that learn"
    if name in ("argmin", "argmax", "one_hot", "topk", "sort", "argsort", "kthvalue", "max", "min"):
        return _OF_A_CHOICE.get(name, "hg.Bridge(hard, approximator), or multiply by the scores that chose")
    if name in ("round", "floor", "ceil", "trunc", *_ROUNDS):
        hard = "hg.hard.round" if name == "round" else f"torch.{_ROUNDS.get(name, name)}"
        return f"hg.straight_through({hard})"
    return "hg.straight_through(hard, soft), or hg.Bridge(hard, approximator), which learns one"


_OF_A_CHOICE = {
    "argmin": "hg.graft(code, x): the chosen code's value, x's gradient; or hg.Bridge(hg.hard.nearest_code, ...)",
    "argmax": "hg.straight_through(hg.hard.one_hot_argmax, softmax), or hg.score_function(q, f) if it may be a draw",
}

_MEANS = {
    "flat": "its derivative is zero wherever it exists",
    "chosen": "the value of what was chosen depends on the numbers that it was chosen by, and has no derivative in them",
    "whole": "whole numbers have no derivative",
    "sample": "a draw has no derivative in the numbers it was drawn by",
    "copy": "a new tensor of old numbers has no history",
    "one": "normalized over one element it is the same whatever goes in, so its gradient is zero",
    "detach": "the gradient ends here by hand",
    "": "torch has no derivative of it",
}


def why_of(call: Call) -> str:
    """Return why no gradient passes a call."""
    if call.kind == "python":
        if call.name in ("__bool__", "is_nonzero"):
            return "Python decides by this value, and a decision has no derivative"
        return "the value leaves torch here, and autograd cannot follow"
    if call.off is not None and call.kind in ("", "detach"):
        return "gradients are switched off here"
    return _MEANS.get(call.kind, "")


def spelled(call: Call) -> str:
    """Return what a reader calls a call."""
    if call.off is not None and call.kind in ("", "detach"):
        return "no_grad"
    name = {"__bool__": "if", "__float__": "float", "__int__": "int", "__index__": "index", "__array__": "numpy"}
    return name.get(call.name, call.name.strip("_="))

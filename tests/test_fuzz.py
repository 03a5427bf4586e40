"""Wrong arguments: whatever is spoilt, a call is right, or says which argument is wrong; it never hangs or is NaN."""

from __future__ import annotations

import inspect
import os
import re
import traceback
import warnings
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from torch import Tensor

import hardgrad as hg
from fuzz_calls import CALLS, ODD, WITH_NAN, Call

EXAMPLES = int(os.environ.get("HARDGRAD_FUZZ", "3000"))
BY_WEIGHT = [call for call in CALLS for _ in range(20 // call.slow)]


def _says(error: Exception, call: Call, spoilt: dict[str, str]) -> bool:
    """Whether an error names the function and one of the arguments that were spoilt."""
    if not isinstance(error, ValueError | TypeError | RuntimeError):
        return False
    text = str(error)
    owner = "|".join(map(re.escape, (call.name, *call.named)))
    words = [word for name in spoilt for word in call.aliases.get(name, (name,))]
    return bool(re.match(rf"({owner})\b", text)) and any(re.search(rf"\b{re.escape(word)}\b", text) for word in words)


def _is_the_users_own(error: Exception) -> bool:
    """Whether the error comes from code that was given to us, such as a branch of the wrong width."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    ours = max((i for i, name in enumerate(files) if "/hardgrad/" in name), default=None)
    behind = files if ours is None else files[ours + 1 : ours + 2]
    return any("/torch/nn/" in name or name.endswith("fuzz_calls.py") for name in behind)


def _numbers(result: Any) -> list[Tensor]:
    if isinstance(result, Tensor):
        return [result]
    if isinstance(result, list | tuple):
        return [each for part in result for each in _numbers(part)]
    return []


def _attempt(call: Call, spoilt: dict[str, str]) -> str | None:
    """Call with these arguments spoilt; return what is wrong with what happened, or None."""
    arguments = {name: (ODD[spoilt[name]] if name in spoilt else make)() for name, make in call.arguments.items()}
    positional = [arguments.pop(name) for name in call.positional]
    torch.manual_seed(0)
    try:
        result = call.function(*positional, **arguments)
        result = result if call.use is None else call.use(result)
    except Exception as error:
        right = _says(error, call, spoilt) or _is_the_users_own(error)
        return None if right else f"{type(error).__name__}: {str(error)[:200]}"
    if not (call.may_be_nan or any(odd in WITH_NAN for odd in spoilt.values())):
        for number in _numbers(result):
            if number.is_floating_point() and bool(number.isnan().any()):
                return f"NaN in {number}"
    return None


@settings(
    max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck), database=None
)
@given(data=st.data())
def _fuzz(data: st.DataObject) -> None:
    call = data.draw(st.sampled_from(BY_WEIGHT))
    names = data.draw(st.lists(st.sampled_from(sorted(call.arguments)), min_size=1, max_size=2, unique=True))
    spoilt = {name: data.draw(st.sampled_from(sorted(ODD))) for name in names}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        wrong = _attempt(call, spoilt)
    assert wrong is None, f"{call.name} with {spoilt}: {wrong}"


@pytest.mark.timeout(240)
def test_wrong_arguments_are_named() -> None:
    _fuzz()


def test_right_arguments_are_taken() -> None:
    for call in CALLS:
        assert _attempt(call, {}) is None, call.name


def test_every_public_name_is_fuzzed() -> None:
    rooms = (
        hg,
        hg.hard,
        hg.losses,
        hg.soft,
        hg.surrogate,
        hg.surrogate.twins,
        hg.approximators,
        hg.montecarlo,
        hg.switch,
        hg.segments,
        hg.doctor,
    )
    public = {
        value.__name__
        for room in rooms
        for name, value in ((name, getattr(room, name)) for name in dir(room))
        if not name.startswith("_") and getattr(value, "__module__", "").startswith("hardgrad") and callable(value)
    }
    results = {  # what the library returns, and what has no arguments of its own
        *(
            "Agreement",
            "BoxReport",
            "Diagnosis",
            "Finding",
            "Fidelity",
            "FoundRanges",
            "Health",
            "Penalties",
            "Refined",
            "Relocated",
            "Row",
        ),
        *("Break", "Breaks", "BoxError", "FunctionError", "Progress", "Stopped"),
        *(
            "PointRouter",
            "RankedKeys",
            "Router",
            "Sighting",
            "Tried",
            "SoftTwin",
            "StraightThrough",
            "Truth",
            "penalties",
            "KeyScore",
            "RangeScore",
        ),
    }
    missing = sorted(public - {call.name for call in CALLS} - results)
    assert missing == [], f"each needs a line in CALLS of tests/fuzz_calls.py: {', '.join(missing)}"


def test_the_fuzzer_can_fail() -> None:
    def careless(x: Tensor) -> Tensor:
        return x / x.sum()

    call = Call(careless, {"x": lambda: torch.ones(3)})
    assert _attempt(call, {}) is None
    assert "NaN" in str(_attempt(call, {"x": "half"}))
    assert "AttributeError" in str(_attempt(call, {"x": "None"}))
    assert (
        list(inspect.signature(hg.Switch).parameters)[:2]
        == list(next(c for c in CALLS if c.name == "Switch").arguments)[:2]
    )

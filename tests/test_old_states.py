"""What an older version saved of every layer of ``hardgrad.switch`` loads, and computes the same."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from old_states import LAYERS, computed, made, read

SAVED = read()


@pytest.mark.parametrize("name", LAYERS)
def test_an_old_state_loads_and_computes_what_it_did(name: str) -> None:
    layer, arguments = made(name)
    for parameter in layer.parameters():
        torch.nn.init.constant_(parameter, 0.1)
    state, expected = SAVED[name]["state"], SAVED[name]["computed"]
    layer.load_state_dict(dict(state))
    again = layer.state_dict()
    assert list(again) == list(state)
    assert all(torch.equal(again[key], value) and again[key].dtype is value.dtype for key, value in state.items())
    now = computed(layer, arguments)
    torch.testing.assert_close(now, expected, rtol=1e-12, atol=1e-14)


def test_an_old_state_loads_inside_a_model_and_misses_nothing() -> None:
    layer, _ = made("normalized")
    state = {f"0.{name}": value for name, value in SAVED["normalized"]["state"].items()}
    assert any("normalise" in name for name in state)
    assert torch.nn.Sequential(layer).load_state_dict(state) == ([], [])
    without = {name: value for name, value in state.items() if "half_width" not in name}
    report: Any = torch.nn.Sequential(layer).load_state_dict(without, strict=False)
    assert report == (["0.normalise.half_width"], [])

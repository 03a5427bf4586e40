"""Layers of ``hardgrad.switch`` whose ``state_dict`` an older version saved, with what they computed then.

``samples/old_states.json`` was written by ``python tests/old_states.py`` in commit 8a08ad8, which called two things
``normalise`` and ``LearntRanges``. It is a promise to users' checkpoints: write it anew only for layers that are new.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg

SAMPLES = Path(__file__).parent / "samples" / "old_states.json"
POINTS = [-1.0, -0.25, 0.5, 1.0]


def _stack(width: int = 2) -> nn.Module:
    return nn.Sequential(nn.Linear(width, 3), nn.Tanh(), nn.Linear(3, 1))


def _learned() -> hg.LearnedRanges:
    ranges = hg.LearnedRanges(POINTS, band=0.8)
    with torch.no_grad():
        ranges.inner.copy_(torch.tensor([-0.3, 0.45]))
    return ranges


def _grid() -> hg.Grid:
    return hg.Grid(hg.Ranges(POINTS), hg.Ranges([-1, 0, 1], closed="right"), share=[[0, 1], [2, 1], [2, 3]])


def _tree() -> hg.If:
    return hg.If(hg.Ranges(POINTS), ["low", hg.If(hg.Ranges([-1, 0, 1]), ["low", "high"], key=1), "high"])


def _hysteresis() -> hg.Hysteresis:
    return hg.Hysteresis(hg.Ranges(POINTS, closed="right"), 0.1)


def _masked() -> hg.LayerMask:
    layers = [nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)]
    return hg.LayerMask(layers, hg.Ranges(POINTS), [[True] * 3, [False, True, True], [True, False, True]])


def _gru(ranges: Any, state: Any) -> hg.RecurrentSwitch:
    return hg.RecurrentSwitch(ranges, nn.GRU(2, 3, batch_first=True), state=state)


# Each layer, and how many numbers a key has: 0 for a row's one, -1 for one a time step.
LAYERS: dict[str, tuple[Callable[[], nn.Module], int]] = {
    "switch": (lambda: hg.Switch(hg.Ranges(POINTS, "error"), _stack(), init="independent"), 0),
    "normalized": (lambda: hg.Switch(hg.Ranges(POINTS), _stack(), init="independent", normalize=[0]), 0),
    "bank": (lambda: hg.Switch(hg.Ranges(POINTS), _stack(), init="independent", normalize=True, bank=True), 0),
    "learned": (lambda: hg.Switch(_learned(), _stack(), init="independent", normalize=True), 0),
    "learned bank": (lambda: hg.Switch(_learned(), _stack(), init="independent", bank=True), 0),
    "grid": (lambda: hg.Switch(_grid(), _stack(), init="independent"), 2),
    "tree": (lambda: hg.Switch(_tree(), _stack(), init="independent"), 2),
    "embedding": (lambda: hg.RangeEmbedding(hg.Ranges(POINTS), 3, normalize=True), 1),
    "learned embedding": (lambda: hg.RangeEmbedding(_learned(), 3), 1),
    "layer mask": (_masked, 0),
    "hysteresis": (_hysteresis, -2),
    "recurrent": (lambda: _gru(_hysteresis(), "shared"), -1),
    "recurrent by branch": (lambda: _gru(hg.Ranges(POINTS), "per_branch"), -1),
    "fade": (lambda: hg.CrossFade(hg.Switch(_hysteresis(), _stack(), init="independent"), 2), -1),
    "recurrent fade": (lambda: hg.CrossFade(_gru(hg.Ranges(POINTS), "per_branch"), 2), -1),
}


def made(name: str) -> tuple[nn.Module, tuple[Tensor, ...]]:
    """Return a new layer in float64, and its arguments."""
    build, keys = LAYERS[name]
    torch.manual_seed(0)
    layer = build().double()
    x, key = torch.rand(3, 5, 2, dtype=torch.float64) * 2 - 1, torch.rand(3, 5, 2, dtype=torch.float64) * 2 - 1
    key = key.clamp(max=0.4)  # so that the last range is not visited
    if keys == -2:
        return layer, (key[..., 0],)
    if keys == 1:
        return layer, (x[..., 0],)
    rows = (x, key[..., 0]) if keys else (x.flatten(0, 1), key[..., 0].flatten())
    return layer, (x.flatten(0, 1), key.flatten(0, 1)) if keys == 2 else rows


def computed(layer: nn.Module, arguments: tuple[Tensor, ...]) -> dict[str, Tensor | None]:
    """Return what a layer in training makes of its arguments, and the gradients, None for what was not visited."""
    y = layer(*arguments)
    y = y[0] if isinstance(y, tuple) else y
    if y.requires_grad:
        y.square().sum().backward()
    return {"y": y.detach(), **{name: parameter.grad for name, parameter in layer.named_parameters()}}


def to_json(tensors: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if value is None else {"dtype": str(value.dtype).split(".")[1], "values": value.tolist()}
        for name, value in tensors.items()
    }


def from_json(saved: dict[str, Any]) -> dict[str, Any]:
    return {
        name: None if value is None else torch.tensor(value["values"], dtype=getattr(torch, value["dtype"]))
        for name, value in saved.items()
    }


def read() -> dict[str, dict[str, dict[str, Any]]]:
    """Return for each layer its ``state`` and what it ``computed``, by name."""
    saved = json.loads(SAMPLES.read_text())
    return {name: {part: from_json(tensors) for part, tensors in parts.items()} for name, parts in saved.items()}


if __name__ == "__main__":
    written = {}
    for name in LAYERS:
        layer, arguments = made(name)
        layer(*arguments)  # so that there are visits
        state = to_json(layer.state_dict())
        written[name] = {"state": state, "computed": to_json(computed(layer, arguments))}
    SAMPLES.write_text(json.dumps(written, separators=(",", ":")).replace('},"', '},\n"') + "\n")

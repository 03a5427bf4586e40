"""What a run leaves to be looked at and listened to: curves beside its record, and sound."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from hardgrad_lab.experiments.switches.measure import predict
from hardgrad_lab.experiments.switches.rows import Part, Rows
from hardgrad_lab.experiments.switches.settings import Setup
from hardgrad_lab.runs.atomic import write_atomically

Array = NDArray[np.float32]

CURVE = 601  # points of a transfer curve
STRETCH = 700  # samples of a signal, four seconds of a heart
CLIP_S = 1.2


def keep_curves(setup: Setup, model: nn.Module, rows: Rows, results: Path, name: str) -> None:
    """Write a run's transfer curve or stretches of its predictions.

    Args:
        setup: of the run.
        model: trained.
        rows: of the run.
        results: folder of the records.
        name: of the run.
    """
    del setup
    static = rows.train.x.shape[1] == 1
    curves = _curve(model, rows) if static else _stretches(model, rows)
    write_atomically(
        results / "curves" / f"{name}.npz", lambda file: np.savez_compressed(file, allow_pickle=False, **curves)
    )


def keep_sounds(setup: Setup, model: nn.Module, rows: Rows, results: Path) -> None:
    """Write the loudest stretch of each test sound as WAV: before the circuit, after it, and as the model has it.

    Args:
        setup: of the run.
        model: trained.
        rows: of the run.
        results: folder of the records.
    """
    for name, part in rows.tests.items():
        _sounds(results / "audio", f"{setup.task}-{name}", setup.contestant, model, part, int(rows.rate))


def _curve(model: nn.Module, rows: Rows) -> dict[str, Array]:
    """Return keys, what the model makes of them, and test rows that lie on the true curve."""
    device = rows.train.x.device
    key = torch.linspace(rows.points[0], rows.points[-1], CURVE, device=device)
    outputs = predict(model, Part(x=key.unsqueeze(1), key=key, y=key.unsqueeze(1)))
    order = rows.test.key.argsort()
    some = order[torch.linspace(0, len(order) - 1, CURVE, device=device).long()]
    # Even in rank is dense where the signal is; even in value shows the ends, where it seldom is.
    even = order[torch.searchsorted(rows.test.key[order], key).clamp(max=len(order) - 1)]
    shown = torch.cat([some, even]).unique()
    shown = shown[rows.test.key[shown].argsort()]
    return {
        "key": _array(key),
        "said": _array(outputs[:, 0]),
        "true_key": _array(rows.test.key[shown]),
        "truth": _array(rows.test.y[shown, 0]),
    }


def _stretches(model: nn.Module, rows: Rows) -> dict[str, Array]:
    curves: dict[str, Array] = {}
    for name, part in rows.tests.items():
        stretch = part.take(slice(0, STRETCH))
        curves |= {
            f"{name}_key": _array(stretch.key),
            f"{name}_said": _array(predict(model, stretch)[:, 0]),
            f"{name}_truth": _array(stretch.y[:, 0]),
        }
    return curves


def _sounds(folder: Path, test: str, contestant: str, model: nn.Module, part: Part, rate: int) -> None:
    import soundfile

    # The loudest stretch: a guitar that dies away has little to hear at its end.
    length = min(int(CLIP_S * rate), len(part))
    energy = part.y.square().cumsum(0)[:, 0].double()
    start = int((energy[length - 1 :] - torch.cat([energy[:1] * 0, energy[:-length]])).argmax())
    clip = part.take(slice(start, start + length))
    sounds = {"dry": clip.x[:, -1], "target": clip.y[:, 0], contestant: predict(model, clip)[:, 0]}
    for name, sound in sounds.items():
        samples = _array(sound.clamp(-1, 1))
        write_atomically(
            folder / f"{test}-{name}.wav",
            # mypy infers no type for a default.
            lambda file, samples=samples: soundfile.write(file, samples, rate, format="WAV", subtype="PCM_16"),  # type: ignore[misc]
        )


def _array(values: Tensor) -> Array:
    return np.asarray(values.detach().cpu().numpy(), dtype=np.float32)

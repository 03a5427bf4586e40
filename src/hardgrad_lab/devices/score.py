"""How far what a device model makes is from what the device made."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hardgrad_lab.devices.device import Device
from hardgrad_lab.devices.recordings import Recording, knob_tensor

CHUNK = 8192  # samples that a batch is run for at a time
BATCH = 64  # recordings at a time


def error_to_signal(y: Tensor, wet: Tensor) -> float:
    r"""Return the error-to-signal ratio, 0 for the same sound, 1 for silence; infinite where the wet sound is silent.

    .. math:: \frac{\sum (y - w)^2}{\sum w^2}
    """
    wrong, whole = (float(each.double().square().sum()) for each in (y.double() - wet.double(), wet))
    return wrong / whole if whole else float("inf")


@torch.no_grad()
def heard(device: Device, recordings: Sequence[Recording]) -> list[Tensor]:
    """Return what a device makes of the measured samples of each recording, in (len(recording),)."""
    made: list[Tensor] = []
    where = next((each.device for each in device.state_dict().values()), torch.device("cpu"))
    for begin in range(0, len(recordings), BATCH):
        some = recordings[begin : begin + BATCH]
        dry = torch.nn.utils.rnn.pad_sequence([each.dry for each in some], batch_first=True).to(where)
        knob, state, parts = knob_tensor(some), None, []
        for chunk in dry.split(CHUNK, dim=1):
            y, state = device(chunk, state, knob)
            parts.append(y)
        whole = torch.cat(parts, dim=1).cpu()
        made += [y[each.lead : len(each.dry)] for y, each in zip(whole, some, strict=True)]
    return made


def score(device: Device, recordings: Sequence[Recording]) -> float:
    """Return the error-to-signal ratio over the measured samples of all recordings together."""
    made = torch.cat(heard(device, recordings))
    return error_to_signal(made, torch.cat([each.wet[each.lead :] for each in recordings]))

"""A bridge under watch while its network trains: pictures through a bottleneck of bits, or of one choice."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.doctor.images import pictures
from hardgrad_lab.runs.atomic import write_text
from hardgrad_lab.runs.record import RecordError, describe_environment

FORMAT = "hardgrad-watch-1"
# What is in the middle, and of how many units: so few outcomes that the truth of every look is an enumeration.
LAYERS: dict[str, tuple[Callable[[Tensor], Tensor], int]] = {
    "sign": (hg.hard.sign, 10),
    "one_hot_argmax": (hg.hard.one_hot_argmax, 16),
}
BATCH = 64
RATE = 2e-3
LOOKS = 40


@dataclass(frozen=True, kw_only=True)
class Watched:
    """A training run and what was seen of its bridge.

    Args:
        layer: the hard function, a key of ``LAYERS``.
        about: what was trained, in words.
        source: of the pictures.
        steps: of the training.
        seed: of weights and batches.
        losses: at each look, the mean over the steps since the last.
        sightings: the looks.
        seconds: that it took.
        started: when it began, ISO 8601 in UTC.
        environment: versions, device, threads, commit.
    """

    layer: str
    about: str
    source: str
    steps: int
    seed: int
    losses: list[float]
    sightings: list[hg.doctor.Sighting]
    seconds: float
    started: str
    environment: dict[str, Any]

    def save(self, path: Path) -> None:
        """Write the record to ``path``, whole or not at all."""
        write_text(path, json.dumps({"format": FORMAT, **asdict(self)}) + "\n")

    @classmethod
    def load(cls, path: Path) -> Watched:
        """Read a record that ``save`` wrote.

        Raises:
            RecordError: if the file is not JSON, not such a record, or lacks a field.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            if found["format"] != FORMAT:
                raise ValueError(f"its format is {found['format']!r}, not {FORMAT!r}")
            given = {field.name: found[field.name] for field in fields(cls)}
            return cls(**{**given, "sightings": [hg.doctor.Sighting(**each) for each in found["sightings"]]})
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise RecordError(f"{path} is no record of a watched bridge ({error!r}); run it again") from None


def train(layer: str, folder: Path | None, steps: int, seed: int, tell: Callable[[str], None]) -> Watched:
    """Train an autoencoder with a hard bottleneck and look at its bridge forty times.

    Args:
        layer: a key of ``LAYERS``.
        folder: of the data; see ``hardgrad_lab.doctor.images.pictures``.
        steps: batches to train on.
        seed: of weights and batches.
        tell: called at each look with what was seen.
    """
    started, clock = datetime.now(UTC).isoformat(timespec="seconds"), time.perf_counter()
    found = pictures(folder)
    torch.manual_seed(seed)
    function, units = LAYERS[layer]
    bridge = hg.Bridge(function, hg.approximators.suggest(function, torch.randn(BATCH, units)))
    pixels = found.rows.shape[1]
    model = nn.Sequential(
        *(nn.Linear(pixels, 64), nn.Tanh(), nn.Linear(64, units), bridge),
        *(nn.Linear(units, 64), nn.Tanh(), nn.Linear(64, pixels)),
    )
    optimizer = torch.optim.Adam(model.parameters(), RATE)
    every = max(steps // LOOKS, 1)
    losses: list[float] = []
    total = 0.0
    with hg.doctor.Watch(bridge, every=every, generator=torch.Generator().manual_seed(seed)) as watch:
        for step in range(1, steps + 1):
            rows = found.rows[torch.randint(len(found.rows), (BATCH,))]
            loss = (model(rows) - rows).square().sum(-1).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            total += loss.item()
            if step % every == 0:
                losses.append(total / every)
                total = 0.0
                seen = watch.records[-1]
                tell(f"step {step}, loss {losses[-1]:.3g}, cosine {seen.cosine or 0:.2f}")
    return Watched(
        layer=layer,
        about=f"An autoencoder of pictures of 14 x 14 with {layer} of {units} numbers in its middle, on a bridge; Adam "
        f"at {RATE}, batches of {BATCH}, squared error.",
        source=found.source,
        steps=steps,
        seed=seed,
        losses=losses,
        sightings=watch.records,
        seconds=time.perf_counter() - clock,
        started=started,
        environment=describe_environment({"device": "cpu", "threads": torch.get_num_threads()}),
    )


def load_watched(folder: Path) -> list[Watched]:
    """Return every watched run in a folder, in the order of ``LAYERS``.

    Raises:
        RecordError: if one cannot be read.
    """
    paths = [folder / f"watch-{layer}.json" for layer in LAYERS]
    return [Watched.load(path) for path in paths if path.exists()]

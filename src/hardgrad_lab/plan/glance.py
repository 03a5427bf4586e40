"""How far a run under way is, read from its checkpoint in milliseconds: without torch, and without its tensors."""

from __future__ import annotations

import pickle
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

MOST = 64 * 2**20  # bytes of what stands beside the tensors


@dataclass(frozen=True, kw_only=True)
class Standing:
    """Where a run under way stands.

    Args:
        seconds: that it took so far.
        share: of its steps that are done, from 0 to 1; None where the checkpoint does not say.
    """

    seconds: float
    share: float | None

    def left(self, whole: float | None) -> float | None:
        """Return the seconds that are left; None where nothing is known.

        Args:
            whole: what the run should take from its start, in seconds.
        """
        if self.share is None:
            return None if whole is None else max(whole - self.seconds, 0.0)
        if whole is None or self.share >= 0.1:  # before that, its start-up weighs too much in its own pace
            return self.seconds * (1 - self.share) / self.share if self.share else None
        return whole * (1 - self.share)


def glance(path: Path) -> Standing | None:
    """Return where the run of a checkpoint stands; None where there is none that can be read.

    Args:
        path: of the checkpoint.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            (name,) = (name for name in archive.namelist() if name.endswith("/data.pkl"))
            if archive.getinfo(name).file_size > MOST:
                return None
            with archive.open(name) as file:
                state = _Plain(file).load()["state"]
        steps, every = state["steps"], state.get("steps_in_all")
        return Standing(seconds=float(state["seconds"]), share=steps / every if every else None)
    except Exception:  # whoever is to go on from it will say what is wrong
        return None


class _Anything(dict[Any, Any]):
    """Stands for a tensor, or whatever else a checkpoint holds."""

    def __init__(self, *arguments: object) -> None:
        super().__init__()

    def __setstate__(self, state: object) -> None:
        """Keep nothing."""


class _Plain(pickle.Unpickler):
    """Reads plain values; imports nothing and calls nothing that a file names."""

    def find_class(self, module: str, name: str) -> Any:
        return _Anything

    def persistent_load(self, identity: Any) -> Any:
        return None

"""The layer of vector-quantize-pytorch, where that is installed: it is no dependency of ours."""

from __future__ import annotations

from importlib import import_module
from importlib.util import find_spec

from torch import Tensor, nn

from hardgrad_lab.experiments.bridges.codebooks import Coding
from hardgrad_lab.runs.options import require

CURE = "one of ours, or found: pip install vector-quantize-pytorch==1.32.0, which the project does not depend on"

PLACES = 49  # vectors of a picture of Fashion-MNIST


class Peer(nn.Module):
    """Theirs as a layer of ours; the loss that it returns, and that must be added, is kept."""

    loss: Tensor

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        y, index, loss = self.layer(x)
        self.loss = loss.sum()
        return y, index


def peer(trial: Coding) -> nn.Module:
    """Return theirs: as it comes, or with a gradient and the options that are also ours.

    Raises:
        OptionError: where it is not installed.
    """
    name = "vector_quantize_pytorch"
    require(find_spec(name) is not None, "contestant", CURE, trial.contestant)
    ours = {
        "rotation_trick": trial.gradient == "rotation", "kmeans_init": True, "decay": trial.decay,
        "threshold_ema_dead_code": trial.revive * trial.batch * PLACES / trial.codes,  # theirs counts rows
        "commitment_weight": trial.commitment,
    }  # fmt: skip
    given = {} if trial.contestant == "peer" else ours
    theirs = import_module(name).VectorQuantize
    return Peer(theirs(dim=trial.width, codebook_size=trial.codes, accept_image_fmap=True, **given))

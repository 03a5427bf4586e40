"""What is measured of a discrete autoencoder, and its picture of originals above their reconstructions."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from hardgrad_lab.experiments.bridges.classify.separability import separability
from hardgrad_lab.experiments.bridges.latents import Latents
from hardgrad_lab.experiments.bridges.latents.data import Pair, passes
from hardgrad_lab.experiments.bridges.latents.model import Autoencoder
from hardgrad_lab.experiments.bridges.latents.ms_ssim import ms_ssim
from hardgrad_lab.runs.atomic import write_atomically

SHOWN, ACROSS = 10, 64  # pictures in the grid, and the most pixels that each is wide in it


@dataclass(frozen=True, kw_only=True)
class Seen:
    """What a pass over pictures gave.

    Args:
        codes: (n, features), bytes: all values are small integers.
        labels: (n,).
        similarity: mean MS-SSIM of what comes out of the codes; NaN for training rows.
        error: mean squared error of it; NaN for training rows.
    """

    codes: Tensor
    labels: Tensor
    similarity: float
    error: float


@dataclass(frozen=True, kw_only=True)
class Measures:
    """What is measured of a model, in ``eval()``; the same draws every time, outside torch's own random state.

    Args:
        config: of the run.
        model: measured.
        data: training and test rows.
        device: of the model.
    """

    config: Latents
    model: Autoencoder
    data: Pair
    device: torch.device

    def __call__(self, last: bool) -> dict[str, float]:
        """Return the points of the curve; for the last time also all that the table has, over all rows."""
        few = self.config.curve_rows
        test = self.see(test=True, count=few)
        found = {"curve_ms_ssim": test.similarity, "curve_separability": self.separate(few, test)}
        if last:
            whole = self.see(test=True, count=self.config.test_rows)
            code = self.model.code
            found |= {
                "ms_ssim": whole.similarity,
                "separability": self.separate(self.config.rows, whole),
                "mse": whole.error,
                "bits": code.bits,
                "usage": entropy(code.numbered(whole.codes), code.alphabet) / code.bits,
            }
        return found

    def separate(self, rows: int, test: Seen) -> float:
        """Return the test accuracy of a linear classifier on the codes of so many training rows; 0 takes all."""
        train = self.see(test=False, count=rows)
        pairs = (train.codes, train.labels), (test.codes, test.labels)
        return separability(*pairs, self.data.classes, decay=self.config.decay)

    def see(self, *, test: bool, count: int) -> Seen:
        """Encode so many rows, and decode them if they are test rows."""
        codes, labels, alike, errors = [], [], [], []
        with torch.random.fork_rng([self.device] if self.device.type == "cuda" else []):
            torch.manual_seed(0)  # for samplers
            for x, y in passes(self.config, self.data.test if test else self.data.train, count, self.device):
                code = self.model.hard(x)
                codes.append(code.to(torch.int8))
                labels.append(y)
                if test:
                    again = self.model.pictures(code)
                    alike.append(ms_ssim(x, again))
                    errors.append((x - again).square().flatten(1).mean(1))
        return Seen(
            codes=torch.cat(codes),
            labels=torch.cat(labels),
            similarity=torch.cat(alike).mean().item() if test else torch.nan,
            error=torch.cat(errors).mean().item() if test else torch.nan,
        )


def entropy(numbered: Tensor, alphabet: int) -> float:
    """Return the entropies of the symbols (n, symbols), each by itself, summed, in bits: an upper bound on the code's.

    Example:
        >>> entropy(torch.tensor([[0, 1], [1, 1]]), 2)
        1.0
    """
    share = torch.stack([(numbered == value).double().mean(0) for value in range(alphabet)])
    nats: float = -torch.special.xlogy(share, share).sum().item()
    return nats / math.log(2)


@torch.no_grad()
def draw(measures: Measures, path: Path) -> None:
    """Write a picture: ten test pictures, and under each what comes out of its code."""
    config, model = measures.config, measures.model.eval()
    with torch.random.fork_rng([measures.device] if measures.device.type == "cuda" else []):
        torch.manual_seed(0)
        shown = [x for x, _ in passes(config, measures.data.test, SHOWN, measures.device)]
        x = torch.cat(shown)
        again = model.pictures(model.hard(x))
    lines = [torch.cat(list(each), -1) for each in (x, again)]
    pixels = (torch.cat(lines, -2).clamp(0, 1) * 255).round().byte().cpu()
    image = Image.fromarray(pixels[0].numpy() if config.channels == 1 else pixels.permute(1, 2, 0).numpy())
    if config.side > ACROSS:
        image = image.resize((ACROSS * len(x), 2 * ACROSS))
    write_atomically(path, lambda file: image.save(file, "PNG", optimize=True))

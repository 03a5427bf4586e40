"""Linear branches under squared loss in closed form: least squares in each range, in double precision, by QR.

Rows come in chunks, and of each range only a triangle is kept, so that memory does not grow with the rows. The normal
equations would square the condition number, which is large for windows over a smooth signal.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

import hardgrad as hg
from hardgrad_lab.fit.rows import Rows

CHUNK = 2**20  # numbers in a chunk of rows
# A direction in which a range's inputs vary less than this, relative to the others, gets a slope of zero.
LEAST = 1e-10


@dataclass(frozen=True)
class Lines:
    r"""One linear map for each range.

    .. math:: \min_{W_i, b_i} \sum_{n : r(n) = i} w_n \lVert W_i x_n + b_i - y_n \rVert^2

    Where inputs depend on each other, the solution with the least slopes, each in units of its input's deviation.

    Args:
        slope: (N, T, d) float64.
        bias: (N, T).
        seen: (N,) how many rows each range had; one without a row has slope 0 and the mean of all rows.
    """

    slope: Tensor
    bias: Tensor
    seen: Tensor


@torch.no_grad()
def least_squares(switch: hg.Switch, rows: Rows, target: Tensor, chosen: Tensor, weight: Tensor | None) -> Lines:
    """Return the best lines for the inputs as the branches of a switch get them.

    Args:
        switch: routes and scales the rows; its branches do not run.
        rows: inputs and keys.
        target: (n,) or (n, T).
        chosen: row numbers to fit to, at least one of them with a weight.
        weight: (n,), or None where all rows count the same.
    """
    triangles = _Triangles(len(switch.branches))
    width = rows.window * rows.columns.shape[1] + 1 + target.reshape(len(target), -1).shape[1]
    for part in chosen.split(max(4 * width, CHUNK // width)):
        x, key = rows.take(part)
        index = switch.ranges.index(key)
        x = switch.scaled(x, index).double()
        z = torch.cat([torch.ones_like(x[:, :1]), x, target[part].reshape(len(part), -1).double()], 1)
        triangles.add(z if weight is None else z * weight[part].double().sqrt()[:, None], index)
    return triangles.lines(width - 1 - target.reshape(len(target), -1).shape[1])


def set_lines(branches: nn.ModuleList, lines: Lines) -> None:
    """Give linear branches the weights of these lines."""
    with torch.no_grad():
        for i, branch in enumerate(branches):
            assert isinstance(branch, nn.Linear)
            branch.weight.copy_(lines.slope[i])
            branch.bias.copy_(lines.bias[i])


class _Triangles:
    """For each range the triangle R of a QR decomposition of its rows (1, x, y): all that least squares needs."""

    def __init__(self, ranges: int) -> None:
        self._kept: list[Tensor | None] = [None] * ranges
        self._seen = [0] * ranges

    def add(self, z: Tensor, index: Tensor) -> None:
        """Add weighted rows z (B, p), of ranges index (B,)."""
        for i, kept in enumerate(self._kept):
            mine = z[index == i]
            if len(mine):
                self._seen[i] += len(mine)
                self._kept[i] = torch.linalg.qr(mine if kept is None else torch.cat([kept, mine]), mode="r").R

    def lines(self, d: int) -> Lines:
        """Return the solutions, of d inputs each."""
        there = [kept for kept in self._kept if kept is not None]
        # The means of all rows; inputs are scaled differently in each range, so that no line fits all.
        mean = (torch.stack([r[0, 0] * r[0] for r in there])).sum(0)
        mean = mean / mean[0]
        empty = mean.new_zeros(len(mean) - 1 - d, d), mean[1 + d :]
        solved = [empty if kept is None else _solved(kept.cpu(), d) for kept in self._kept]
        slopes, biases = zip(*solved, strict=True)
        device = mean.device
        return Lines(
            torch.stack([each.to(device) for each in slopes]),
            torch.stack([each.to(device) for each in biases]),
            torch.tensor(self._seen),
        )


def _solved(r: Tensor, d: int) -> tuple[Tensor, Tensor]:
    """Return slope (T, d) and bias (T,) from a triangle; its first column, of ones, centers the rest."""
    mean, rest = r[0] / r[0, 0], r[1:, 1:]
    x, y = rest[:, :d], rest[:, d:]
    spread, size = x.norm(dim=0), r[:, 1 : 1 + d].norm(dim=0)
    varies = spread > LEAST * size
    slope = r.new_zeros(y.shape[1], d)
    if bool(varies.any()):
        scaled = x[:, varies] / spread[varies]
        found = torch.linalg.lstsq(scaled, y, rcond=LEAST, driver="gelsd").solution
        slope[:, varies] = (found / spread[varies, None]).T
    return slope, mean[1 + d :] - slope @ mean[1 : 1 + d]

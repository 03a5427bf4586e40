"""Whether the class is among the k largest logits, as a loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hardgrad import _check
from hardgrad._torch_state import readable
from hardgrad.losses.loss import Loss
from hardgrad.soft.method import Method
from hardgrad.soft.temperature import Temperature


def top_k_cross_entropy(
    logits: Tensor,
    target: Tensor,
    k: int | Sequence[float] | Tensor = 5,
    temperature: Temperature = 1.0,
    *,
    dim: int = -1,
    method: Method | str = "laplace",
    relative: bool = False,
    soft: bool = True,
    reduction: str = "mean",
) -> Tensor:
    r"""Return the cross-entropy of the class being among the k largest logits; or the share of rows where it is not.

    .. math:: -\log \sum_k p_k\,\text{mask}_k(\text{logits} / t)_y, \qquad
        \text{with soft=False the value } \sum_k p_k\,[y \notin \text{top}_k] \text{ and that gradient}

    Args:
        logits: shape (..., classes), the classes along ``dim``: ``dim=1`` where ``torch.nn.functional.cross_entropy``
            would take them.
        target: each row's class, int64, logits' shape without ``dim``.
        k: how many may be guessed, or a distribution: the chances p of k = 1, 2, ..., which sum to 1.
        temperature, dim, method, relative, soft, reduction: as for all ``hg.losses``, but the temperature is in
            the logits' own unit, as a softmax's is, so that a class far below feels it too; and the value is the
            cross-entropy of the name unless ``soft=False`` asks for the error.

    Returns:
        From 0 on, nats; with ``soft=False`` from 0 to 1. With ``method="permutahedron"`` what is far from the k largest
        has no gradient.

    Raises:
        ValueError, TypeError: if shapes do not fit, a class is out of range, or ``k`` or an option is.

    Example:
        >>> import torch, hardgrad as hg
        >>> logits = torch.tensor([[2.0, 1.0, 0.0]], requires_grad=True)
        >>> hg.losses.top_k_cross_entropy(logits, torch.tensor([2]), k=[0.5, 0.0, 0.5], soft=False).item()
        0.5
        >>> round(hg.losses.top_k_cross_entropy(logits, torch.tensor([2]), k=2, temperature=0.1).item(), 1)
        5.7

    Source: Petersen, Kuehne, Borgelt and Deussen 2022 (arXiv 2206.07290), equation 2.
    """
    loss = Loss("top_k_cross_entropy", "logits", logits, temperature, dim, method, relative, soft, reduction)
    chances = _chances(k, loss.rows.shape[-1])
    index = _classes(target, loss.rows).unsqueeze(-1)

    def exact() -> Tensor:
        rows, own = loss.rows, loss.rows.gather(-1, index)
        earlier = torch.arange(rows.shape[-1], device=rows.device) < index
        place = ((rows > own) | ((rows == own) & earlier)).sum(-1)
        return torch.stack([p * (place >= k) for k, p in chances.items()]).sum(0)

    def relaxed() -> Tensor:
        chance = torch.stack([p * loss.mask(k).gather(-1, index).squeeze(-1) for k, p in chances.items()]).sum(0)
        return -chance.clamp_min(torch.finfo(chance.dtype).tiny).log()

    return loss.of(exact, relaxed, index)


def _chances(k: int | Sequence[float] | Tensor, classes: int) -> dict[int, float]:
    """The chance of each k that has one."""
    if not isinstance(k, Sequence | Tensor) or (isinstance(k, Tensor) and k.ndim == 0):
        return {_check.whole("top_k_cross_entropy", "k", k, 1, classes, f"there are {classes} classes"): 1.0}
    given = k.tolist() if isinstance(k, Tensor) else k
    chances = [_check.number("top_k_cross_entropy", "k", p, least=0) for p in given]
    if len(chances) > classes or abs(sum(chances) - 1) > 1e-4:
        raise ValueError(
            f"top_k_cross_entropy: k must be a number or at most {classes} chances, one a k, that sum to 1, got "
            f"{len(chances)} that sum to {sum(chances):g}; give [0.5, 0, 0, 0, 0.5], say"
        )
    return {k: p for k, p in enumerate(chances, 1) if p}


def _classes(target: Tensor, rows: Tensor) -> Tensor:
    owner = "top_k_cross_entropy"
    if _check.tensor(owner, "target", target).dtype != torch.int64 or target.shape != rows.shape[:-1]:
        raise ValueError(
            f"{owner}: target must be int64 classes of shape {tuple(rows.shape[:-1])}, logits' without dim, got "
            f"{_check.kind_of(target)}"
        )
    if readable(target) and bool(((target < 0) | (target >= rows.shape[-1])).any()):
        raise ValueError(
            f"{owner}: target must be from 0 to {rows.shape[-1] - 1}, got {int(target.min())} to {int(target.max())}"
        )
    return target

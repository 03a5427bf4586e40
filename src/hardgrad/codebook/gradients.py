"""What lends a row its gradient once it was replaced by a code: a path for each, whose numbers nobody reads.

The value is grafted onto the path. Each function takes rows (..., width) and the codes they took, of one shape, both
single precision at least; ``code`` carries a gradient where codes learn by gradient. A path that gives it one is
``directional``'s alone.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from hardgrad import _check
from hardgrad.two_track import ApproximatorError, lends_nothing, two_tracks
from hardgrad.two_track.frozen import frozen
from hardgrad.user_code import TensorFunction, private

FARTHEST = 2.0  # |e| / |x| and its inverse; see ``rotated``


def copied(x: Tensor, code: Tensor) -> Tensor:
    """The identity: as if the code had been the row."""
    return x


def rotated(x: Tensor, code: Tensor) -> Tensor:
    r"""Return :math:`\frac{|e|}{|x|} R x` with the rotation R that turns x to e, and the quotient, held constant.

    R turns the plane of both alone. With unit vectors u of x and v of e, and c = u.v, it is
    ``R z = z + v ((1 + 2c) u.z - v.z) / (1 + c) - u (u.z + v.z) / (1 + c)``. Two guards, without which a far code
    reverses the gradient, or makes it as large as you like: copied where c is not positive, and a quotient within 1/2
    and 2; beyond, the row is farther from its code than the shorter of them is from zero, and turning one to the other
    around zero says nothing of the way between them. A row or a code of zeros has no direction: copied.
    """
    with torch.no_grad():
        length, of_code = (torch.linalg.vector_norm(t, dim=-1, keepdim=True) for t in (x, code))
        u, v = (t / norm.masked_fill(norm == 0, 1) for t, norm in ((x, length), (code, of_code)))
        c = (u * v).sum(-1, keepdim=True)
        turns = c > 0
        scale = torch.where(turns, (of_code / length).clamp(1 / FARTHEST, FARTHEST), 1)
        share = torch.where(turns, 1 / (1 + c), 0)
    along, across = (x * u).sum(-1, keepdim=True), (x * v).sum(-1, keepdim=True)
    turned: Tensor = x + v * (share * ((1 + 2 * c) * along - across)) - u * (share * (along + across))
    return scale * turned


def directional(x: Tensor, code: Tensor) -> Tensor:
    """Return ``x + |e - x| d``, with the direction d from x to its code e held constant: both get a gradient."""
    gap = code - x
    length = torch.linalg.vector_norm(gap, dim=-1, keepdim=True)
    with torch.no_grad():
        direction = gap / length.masked_fill(length == 0, 1)
    path: Tensor = x + length * direction
    return path


GRADIENTS: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "copy": copied,
    "rotation": rotated,
    "directional": directional,
}


def twin(soft: TensorFunction, x: Tensor) -> Tensor:
    """Return the user's own path, or raise where it is none."""
    path = _of_shape("gradient", soft(private(soft, x)), x)
    if lends_nothing(path, x):
        raise ValueError(
            "Codebook: gradient must return what depends on its rows, got a tensor that needs no gradient, so the "
            "layers before would learn nothing; take out what detaches it"
        )
    return path


def imitated(
    approximator: nn.Module, x: Tensor, code: Tensor, keep: Tensor | None, learns: bool
) -> tuple[Tensor, list[Tensor]]:
    """Return a network's path, and what it learns from: the squared distance to the code, a mean of rows, by 10."""
    try:
        if not learns:
            return _of_shape("approximator", frozen(approximator, private(approximator, x)), x), []
        task, learn = two_tracks(approximator, x, x.detach())
    except ApproximatorError as error:
        raise ValueError(f"Codebook: the {error}") from None
    gap = _of_shape("approximator", learn, x).to(code.dtype) - code
    if keep is not None:
        gap = torch.where(keep.unsqueeze(-1), gap, 0)
    return task, [10 * gap.square().sum() / how_many(keep, code[..., 0])]


def how_many(keep: Tensor | None, rows: Tensor) -> Tensor | int:
    """Return how many rows count, 1 at least, as a divisor."""
    return max(rows.numel(), 1) if keep is None else keep.sum().clamp(min=1)


def _of_shape(name: str, path: object, x: Tensor) -> Tensor:
    if not isinstance(path, Tensor) or not path.is_floating_point() or path.shape != x.shape:
        raise ValueError(
            f"Codebook: {name} must return a floating tensor of x's shape {tuple(x.shape)}, width last, got "
            f"{_check.kind_of(path)}; give one that keeps the shape"
        )
    return path

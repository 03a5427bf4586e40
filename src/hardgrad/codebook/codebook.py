"""A codebook: rows replaced by the nearest of its codes, with codes that learn and a gradient of your choice."""

from __future__ import annotations

import copy
import warnings
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from hardgrad import _check
from hardgrad._graft import graft
from hardgrad._strip import strips
from hardgrad._torch_state import in_transform
from hardgrad._tracing import constant_in_graph
from hardgrad.approximators import mlp
from hardgrad.codebook.gradients import GRADIENTS, how_many, imitated, twin
from hardgrad.codebook.hard_codebook import HardCodebook
from hardgrad.codebook.moving import Statistics
from hardgrad.codebook.rows import carrying, precise, present
from hardgrad.codebook.start import first_codes
from hardgrad.codebook.usage import Usage
from hardgrad.user_code import TensorFunction, name_of


class Codebook(HardCodebook):
    r"""A layer that replaces each vector by the nearest of its codes, which learn, and lends it a gradient.

    The value is a code exactly. Two terms ride along as penalties do, by themselves or in ``hardgrad.penalties()``, so
    that nobody forgets them: one draws rows to their codes, one draws codes that learn by gradient to their rows. Of n
    rows of width d, with the codes e they took:

    .. math::
        y = e = c_k, \; k = \arg\min_j \lVert x - c_j \rVert, \qquad \frac{\beta}{n d} \sum \lVert x -
        \mathrm{sg}(e) \rVert^2 \; \left[ + \frac{1}{n d} \sum \lVert \mathrm{sg}(x) - e \rVert^2 \right]

    What is learned of a batch is applied at the next training forward: no code moves between forward and backward.
    The processes of ``torch.distributed`` count together, so all must call the layer equally often.

    Args:
        codes: how many, for each head.
        width: d.
        gradient: what the task lends x. "copy": as if y were x. "rotation": through the turn and the stretch from x to
            its code, held constant; copied where they are 90 degrees apart or more, the stretch within 1/2 and 2.
            "directional": of ``x + |e - x| d``, the direction d from x to its code held constant; it alone reaches
            codes that learn by gradient, which then need neither term. "bridge": of a network that imitates the layer.
            Or a function of x, width last, that returns its shape.
        learn: how the codes learn. "ema": as moving means of their rows. "gradient": as a parameter. "simvq": through
            one learned linear map of a frozen table. None: not at all.
        start: "kmeans": the centers of the first training batch. "normal": drawn, of about unit length. Or a tensor,
            (codes, width) or (heads, codes, width // heads). None: "normal" for "simvq", whose table is frozen before
            the encoder has found its scale, else "kmeans".
        revive: a code whose moving count of rows falls below this share of the mean begins anew at a row of the batch;
            none of "simvq" does. None: never.
        commitment: beta, at least 0. None: 0.25, and 0 where "directional" needs no term.
        distance: "euclidean", or "cosine": rows and codes are divided by their lengths before all else.
        heads: parts that the width is divided into, each with codes of its own.
        dim: where x has its width: 1 for the maps of a convolution.
        decay: of moving means and counts, a step.
        approximator: for "bridge", (..., width) to (..., width). Default: ``hardgrad.approximators.mlp``.
        differentiable_in_eval: lend the gradient in ``eval()`` too. Nothing moves there.

    Shape:
        ``y, index = layer(x, mask=None)``: y as x, (..., width) or with its width at ``dim``; index (...), or
        (..., heads). mask (...) is True for real rows; others give y = 0 and index -1, and have no part in anything.

    Raises:
        TypeError: for an argument of the wrong kind.
        ValueError: for one out of range; if x has another width or, where values can be looked at, rows that are not
            finite. In graphs and on a GPU these rows are NaN, and no other feels them.
        RuntimeError: before the codes have begun, and in a replica of ``nn.DataParallel``.

    Note:
        In vector-quantize-pytorch: codes is codebook_size, width dim, start kmeans_init, revive
        threshold_ema_dead_code, commitment commitment_weight, gradient rotation_trick, mask mask.

    Example:
        >>> import torch, hardgrad as hg
        >>> layer = hg.Codebook(codes=2, width=1, start=torch.tensor([[0.0], [2.0]]))
        >>> x = torch.tensor([[0.5], [2.0]], requires_grad=True)
        >>> y, index = layer(x)
        >>> y.tolist(), index.tolist()
        ([[0.0], [2.0]], [0, 1])
        >>> y.sum().backward()
        >>> x.grad.tolist()  # 1 of the sum, and a quarter of 2 (x - e) / 2
        [[1.125], [1.0]]

    Source: van den Oord, Vinyals and Kavukcuoglu 2017 (arXiv 1711.00937), equation 3 and appendix A.1; rotation: Fifty
    et al. 2024 (arXiv 2410.06424), the guards are ours; directional: DiVeQ, Vali et al. (openreview
    KRVnpTbx7R), without its noise; simvq: Zhu et al. 2024 (arXiv 2411.02038).
    """

    def __init__(
        self,
        codes: int,
        width: int,
        *,
        gradient: str | TensorFunction = "copy",
        learn: str | None = "ema",
        start: str | Tensor | None = None,
        revive: float | None = 0.1,
        commitment: float | None = None,
        distance: str = "euclidean",
        heads: int = 1,
        dim: int = -1,
        decay: float = 0.99,
        approximator: nn.Module | None = None,
        differentiable_in_eval: bool = False,
    ) -> None:
        word, by_gradient = self.word, learn in ("gradient", "simvq")
        codes, width = _check.whole(word, "codes", codes, least=1), _check.whole(word, "width", width, least=1)
        if width % _check.whole(word, "heads", heads, least=1):
            raise ValueError(f"{word}: heads must divide the width {width}, got {heads}")
        _check.one_of(word, "distance", distance, ("euclidean", "cosine"))
        if learn is not None:
            _check.one_of(word, "learn", learn, ("ema", "gradient", "simvq"), cure="None leaves the codes as they are")
        if not callable(gradient):
            cure = "or give a function of x that returns its shape"
            _check.one_of(word, "gradient", gradient, (*GRADIENTS, "bridge"), cure)
        size = heads, codes, width // heads
        if start is None:
            start = "normal" if learn == "simvq" else "kmeans"
        super().__init__(first_codes(*size, start), dim, distance, differentiable_in_eval)
        self.gradient, self.learn = gradient, learn
        self.begins = start if isinstance(start, str) else "given"
        if learn == "gradient":
            weight = self.weight
            del self.weight
            self.weight = nn.Parameter(weight)
        if learn == "simvq":
            self.map = nn.Parameter(torch.eye(size[2]).repeat(heads, 1, 1))
        self.statistics = Statistics(*size, learn=learn, start=start, revive=revive, decay=decay)
        if gradient == "bridge":
            self.approximator = mlp(width, width) if approximator is None else approximator
            _check.module(word, "approximator", self.approximator, cure="hardgrad.approximators has some")
        elif approximator is not None:
            raise ValueError(f"{word}: approximator must be None for gradient={gradient!r}; only 'bridge' lends by one")
        self.codes_term = by_gradient and gradient != "directional"
        default = 0.0 if by_gradient and gradient == "directional" else 0.25
        self.commitment = default if commitment is None else _check.number(word, "commitment", commitment, least=0)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        rows, keep = self._rows(x, mask)
        code, found = self._look_up(rows, keep, keep)
        y, index = self._value(x, rows, code.detach(), found, keep)
        if not self._differentiable(x):
            return self._alone(x, y, index)
        path, terms = self._lent(x, rows, code, keep)
        return graft(y, carrying(self, path, terms + self._terms(rows, code, keep))), index

    def _look_up(self, rows: Tensor, keep: Tensor | None, counted: Tensor | None) -> tuple[Tensor, Tensor]:
        if not self._counts():
            return super()._look_up(rows, keep, counted)
        flat = rows.detach().reshape(-1, *rows.shape[-2:]).transpose(0, 1)
        kept, counted = (each if each is None else each.reshape(-1) for each in (keep, counted))
        self.statistics.before(self.weight.detach(), flat, kept)
        code, found = super()._look_up(rows, keep, counted)
        self.statistics.after(flat, found.reshape(-1, len(flat)).mT, counted)
        return code, found

    def _lent(self, x: Tensor, rows: Tensor, code: Tensor, keep: Tensor | None) -> tuple[Tensor, list[Tensor]]:
        """Return what the gradient flows through, in x's shape, and what the approximator learns from."""
        rows, code = present(keep, rows, (code if self.training else code.detach()).to(rows.dtype))
        terms: list[Tensor] = []
        if isinstance(self.gradient, str) and self.gradient in GRADIENTS:
            path = GRADIENTS[self.gradient](rows, code)
        else:  # of whole rows, as the user has them
            whole = rows.flatten(-2).to(x.dtype)
            if callable(self.gradient):
                path = twin(self.gradient, whole)
            else:
                path, terms = imitated(self.approximator, whole, code.detach().flatten(-2), keep, self.training)
            path = path.unflatten(-1, rows.shape[-2:])
        return self._laid_out(*present(keep, path)), terms

    def _terms(self, rows: Tensor, code: Tensor, keep: Tensor | None) -> list[Tensor]:
        """Return what draws rows to their codes, and codes to their rows: means over kept rows and numbers."""
        if not self.training:
            return []
        rows, code = present(keep, rows, code.to(rows.dtype))
        size = how_many(keep, rows[..., 0, 0]) * rows.shape[-2:].numel()
        terms = [self.commitment * F.mse_loss(rows, code.detach(), reduction="sum") / size] if self.commitment else []
        return [*terms, F.mse_loss(code, rows.detach(), reduction="sum") / size] if self.codes_term else terms

    def _table(self) -> Tensor:
        if "statistics" in self._modules and not self.statistics.begun():
            raise RuntimeError(
                f"{self.word}: the codes have not begun, since start='kmeans' makes them of the first training batch; "
                "call the layer once in train() and outside of torch.func, load a state, or give another start"
            )
        return self._compared(self._raw())

    def _raw(self) -> Tensor:
        """Return the codes before they are compared."""
        if self.learn == "simvq":
            with precise(self.weight):
                return self.weight @ self.map.to(self.weight.dtype)
        # A copy, as its backward may come after a code was revived in place.
        return self.weight.clone() if self.learn == "gradient" and self.distance == "cosine" else self.weight

    def _counts(self) -> bool:
        """Whether this call is one that codes learn from and that usage sees."""
        if not (self.training and "statistics" in self._modules):
            return False
        if getattr(self, "_is_replica", False):
            raise RuntimeError(
                f"{self.word}: a replica of nn.DataParallel is thrown away with all that it counts of its part of the "
                "batch; use DistributedDataParallel, where all processes count together"
            )
        if in_transform() and self.learn == "ema":
            _say(
                f"{self.word}: within a torch.func transform nothing is counted, so codes of learn='ema' stay; "
                "call the layer outside of it, or learn='gradient'"
            )
        return True

    def _differentiable(self, x: Tensor) -> bool:
        return "statistics" in self._modules and super()._differentiable(x)

    def _why_no_gradient(self) -> str:
        if "statistics" in self._modules:
            return super()._why_no_gradient()
        return (
            f"{self.word}: no gradient passes through this layer, so the layers before it get zeros; train the model "
            "that was given to strip"
        )

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any, **kwargs: Any) -> None:
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
        if prefix + "weight" in state_dict and "statistics" in self._modules:
            self.statistics.begin()  # codes that are loaded alone are not made anew; a whole state says so itself

    def __deepcopy__(self, memo: dict[int, Any]) -> nn.Module:
        # As torch would, but ``strip`` leaves behind whatever learns. torch refuses to pickle what is parametrized.
        plain = nn.utils.parametrize.is_parametrized(self)
        kind = nn.Module if plain else type(self)
        state: dict[str, Any] = kind.__getstate__(self)
        if strips(memo):
            self._table()  # or the sentence that there is none yet
            kept = {name: part for name, part in self._parameters.items() if name not in ("weight", "map")}
            modules = {name: part for name, part in self._modules.items() if name not in ("statistics", "approximator")}
            buffers = self._buffers | {"weight": self._raw().detach()}
            state |= {"learn": None, "_parameters": kept, "_buffers": buffers, "_modules": modules}
        copied = memo[id(self)] = object.__new__(type(self))
        copied.__setstate__(copy.deepcopy(state, memo))  # type: ignore[no-untyped-call]  # torch's has no types
        return copied

    def extra_repr(self) -> str:
        name = self.gradient if isinstance(self.gradient, str) else name_of(self.gradient)
        return f"{super().extra_repr()}, gradient={name!r}, learn={self.learn!r}, commitment={self.commitment}"

    def usage(self) -> Usage:
        """Return how many codes the rows of recent training batches took, and which; it waits for the device.

        Raises:
            RuntimeError: if no training batch has passed yet.
        """
        return self.statistics.usage()


@constant_in_graph
def _say(sentence: str) -> bool:
    warnings.warn(sentence, UserWarning, stacklevel=2)
    return True

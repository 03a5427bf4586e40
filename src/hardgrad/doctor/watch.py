"""A bridge examined while it trains: how far the gradient that it lends is from the true one, over time."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, replace
from types import TracebackType
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from hardgrad import _check
from hardgrad._shown.page import page, words
from hardgrad._shown.pictures import line
from hardgrad._shown.table import Table
from hardgrad._torch_state import compiling, in_backward, in_transform
from hardgrad.bridge import Bridge
from hardgrad.doctor.arguments import check_noise, check_sigma
from hardgrad.doctor.compare import angle, is_resolved
from hardgrad.doctor.copies import private_copy
from hardgrad.doctor.mixing import for_truth, mixing_of
from hardgrad.doctor.randomness import master_seed, seed_of, seeded
from hardgrad.doctor.smoothing import smooth
from hardgrad.doctor.truth import Reference, find_truth


@dataclass(frozen=True)
class Sighting:
    r"""One look at a bridge: g is the gradient it lent, t the true one of the hard function blurred by noise.

    Args:
        call: the number of the bridge's training call, from 1.
        cosine: between g and t; None where either is zero, or t is lost in its noise.
        cosine_error: its standard error, by the noise of t.
        relative_error: :math:`\lVert g - t \rVert / \lVert t \rVert`.
        norm_ratio: :math:`\lVert g \rVert / \lVert t \rVert`.
        truth: how t was found.
        truth_error: standard error of t over its norm.
        sigma: what the noise was multiplied by.
        noise: its kind.
        imitation_error: the bridge's own ``fidelity().relative_error``: how well it imitates values, not slopes.
        error: why there are no numbers; None if there are.
    """

    call: int
    cosine: float | None = None
    cosine_error: float | None = None
    relative_error: float | None = None
    norm_ratio: float | None = None
    truth: str | None = None
    truth_error: float | None = None
    sigma: float | None = None
    noise: str | None = None
    imitation_error: float | None = None
    error: str | None = None


class Watch:
    r"""Look at every k-th training call of a bridge, without touching what it computes.

    The bridge receives a cotangent :math:`g_y` from the layers after it and lends :math:`J_a(x)^\top g_y` to those
    before. The truth that this stands for is the gradient of the hard function blurred by noise v, for that cotangent:

    .. math:: t = \nabla_x\, \mathbb{E}_v \langle g_y, h(x + \sigma v) \rangle

    What training computes is bit for bit what it would be: the input passes through a view, random state is given back,
    and the hard function is called as a copy. A call that has no gradient to lend, in ``eval()`` say, is not counted.
    Compiled code is not seen. Use it as a context, or call ``remove``. A copy of the model, by ``deepcopy``, pickle or
    ``torch.save``, is not watched, and a copy of the watch keeps the records and looks no more.

    Args:
        bridge: the layer, inside its model.
        every: look at calls ``every``, ``2 * every`` and so on.
        sigma: what the noise is multiplied by; by default, at each look, such that it has half the standard deviation
            of the inputs. Wider noise asks for a longer slope.
        noise: as for ``diagnose``.
        budget: the most evaluations of the hard function for each row, at each look.
        generator: its next number seeds all looks; torch's global state by default, which is not moved on.

    Raises:
        ValueError: if ``bridge`` is no ``Bridge``, or another argument is out of range.

    Example:
        >>> import torch, hardgrad as hg
        >>> model = torch.nn.Sequential(
        ...     torch.nn.Linear(3, 4), hg.Bridge(hg.hard.sign, hg.approximators.mlp(4, 4)), torch.nn.Linear(4, 1))
        >>> optimizer = torch.optim.Adam(model.parameters())
        >>> with hg.doctor.Watch(model[1], every=2) as watch:
        ...     for _ in range(4):
        ...         optimizer.zero_grad()
        ...         model(torch.randn(8, 3)).square().mean().backward()
        ...         optimizer.step()
        >>> [sighting.call for sighting in watch.records]
        [2, 4]
    """

    def __init__(
        self,
        bridge: Bridge,
        *,
        every: int = 100,
        sigma: float | None = None,
        noise: str = "auto",
        budget: int = 20_000,
        generator: torch.Generator | None = None,
    ) -> None:
        if not isinstance(bridge, Bridge):
            raise ValueError(
                f"Watch: bridge must be a hardgrad.Bridge, got {type(bridge).__name__}; give the layer, not its model"
            )
        _check.whole("Watch", "every", every, 1, cure="it counts training calls; 100 is usual")
        _check.whole("Watch", "budget", budget, 1, cure="it counts evaluations; 20000 is usual")
        check_sigma("Watch", sigma)
        check_noise("Watch", noise)
        _check.generator("Watch", generator)
        self.every, self.sigma, self.noise, self.budget = every, sigma, noise, budget
        self.records: list[Sighting] = []
        self._calls = 0
        self._open: _Call | None = None
        self._seed = master_seed(generator)
        self._bridge: Bridge | None = bridge
        self._handles = self._attach(bridge)

    def remove(self) -> None:
        """Stop looking; the records stay."""
        for handle in self._handles:
            handle.remove()

    def __enter__(self) -> Watch:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.remove()

    def to_json(self) -> str:
        """Return all records as JSON text."""
        return json.dumps({"every": self.every, "records": [asdict(r) for r in self.records]}, allow_nan=False)

    def __str__(self) -> str:
        """Return the records as a plain table."""
        return "\n".join(self._table().lines())

    def __repr__(self) -> str:
        """Return one line; ``print`` shows every look."""
        last = next((s.cosine for s in reversed(self.records) if s.cosine is not None), None)
        said = "" if last is None else f"; the last cosine is {last:.3f}"
        return f"<Watch: {len(self.records)} looks, one every {self.every} calls{said}>"

    def _repr_html_(self) -> str:
        """Return the looks for a notebook, and the cosine over time."""
        cosines = [s.cosine for s in self.records]
        known = [cosine for cosine in cosines if cosine is not None]
        said = f"cosine over time: {min(known):.3f} to {max(known):.3f}" if known else ""
        drawn = f"<p>{line(cosines, 240, 32, said)}<br>{said}</p>" if len(known) > 1 else ""
        title = f"a bridge's gradient against the true one, every {self.every} calls"
        return page(self._table().html(title) if self.records else words(repr(self)), drawn)

    def _table(self) -> Table:
        return Table(
            ("call", "cosine", "error", "length", "imitation", "truth"), list(map(_cells, self.records)), left=(0, 5)
        )

    def __getstate__(self) -> dict[str, Any]:
        """Return what a copy keeps: settings and records, but not the bridge that is looked at."""
        return {**self.__dict__, "_bridge": None, "_handles": [], "_open": None, "records": list(self.records)}

    def _attach(self, bridge: Bridge) -> list[RemovableHandle]:
        before, after = _Hook(self, "_before"), _Hook(self, "_after")
        return [bridge.register_forward_pre_hook(before), bridge.register_forward_hook(after)]

    def _before(self, module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...] | None:
        self._open = None
        if module is not self._bridge or not args:
            return None
        x = args[0]
        if not (_is_plain(x) and module.training):
            return None
        self._calls += 1
        if self._calls % self.every:
            return None
        call = self._open = _Call(self, self._calls, x.detach().clone())
        entry = x.view_as(x)  # of its own: others may use x, and their gradients are not lent by the bridge
        entry.register_hook(call.note_gradient)
        return (entry, *args[1:])

    def _after(self, module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        if module is self._bridge and self._open is not None:
            output.register_hook(self._open.receive)
            self._open = None

    def _look(self, call: int, x: Tensor, cotangent: Tensor, gradient_given: Tensor) -> Sighting:
        if x.ndim == 1:  # one sample
            x, cotangent, gradient_given = x.unsqueeze(0), cotangent.unsqueeze(0), gradient_given.unsqueeze(0)
        seed = seed_of(self._seed, f"call {call}")

        def objective(y: Tensor) -> Tensor:
            return (y * cotangent).flatten(2).sum(-1) if y.ndim > 2 else y * cotangent

        assert self._bridge is not None
        hard = private_copy(self._bridge.hard)
        with seeded(seed, x.device):
            generator = torch.Generator().manual_seed(seed)
            smoothed = smooth(hard, x, objective, self.noise, self.sigma, generator)
        mixing = mixing_of(smoothed, seed_of(seed, "mixing"))
        truth = find_truth(for_truth(smoothed, mixing), "auto", self.budget, seed)
        return replace(
            _compared(call, gradient_given.double(), truth),
            truth=truth.kind,
            sigma=smoothed.sigma if isinstance(smoothed.sigma, float) else None,
            noise=smoothed.noise_kind,
            imitation_error=self._imitation(),
        )

    def _imitation(self) -> float | None:
        assert self._bridge is not None
        error = self._bridge.fidelity().relative_error
        return error if math.isfinite(error) else None


class _Hook:
    """What a bridge calls; a copy of the bridge, however it was made, calls nothing."""

    def __init__(self, watch: Watch | None, method: str) -> None:
        self.watch, self.method = watch, method

    def __call__(self, *given: Any) -> Any:
        return None if self.watch is None else getattr(self.watch, self.method)(*given)

    def __reduce__(self) -> tuple[type[_Hook], tuple[None, str]]:
        return _Hook, (None, self.method)


class _Call:
    """One training call under observation, from its input to its gradients."""

    def __init__(self, watch: Watch, number: int, x: Tensor) -> None:
        self.watch = watch
        self.number = number
        self.x = x
        self.cotangent: Tensor | None = None
        self.seen = False

    def receive(self, cotangent: Tensor) -> None:
        self.cotangent = cotangent.detach().clone()

    def note_gradient(self, gradient: Tensor) -> None:
        cotangent, self.cotangent = self.cotangent, None
        if cotangent is None or self.seen:  # once, however often the graph is gone through
            return
        self.seen = True
        try:
            sighting = self.watch._look(self.number, self.x, cotangent, gradient.detach())
        except Exception as error:  # training must go on, whatever the hard function makes of noisy inputs
            sighting = Sighting(self.number, error=f"{type(error).__name__}: {error}")
        self.watch.records.append(sighting)


def _is_plain(x: object) -> bool:
    """Whether this is an ordinary training call with a gradient to lend: not compiled, transformed, or run again."""
    if not isinstance(x, Tensor) or compiling() or in_transform():
        return False
    return torch.is_grad_enabled() and x.requires_grad and x.numel() > 0 and not in_backward()


def _compared(call: int, gradient_given: Tensor, truth: Reference) -> Sighting:
    if not is_resolved(truth):
        return Sighting(call)
    norm = math.sqrt(truth.squared_norm)
    noise = float(truth.variance.sum())
    error = max(float((gradient_given - truth.gradient).square().sum()) - noise, 0.0)
    cosine, cosine_error = angle(gradient_given, truth)
    return Sighting(
        call,
        cosine=cosine,
        cosine_error=cosine_error,
        relative_error=math.sqrt(error) / norm,
        norm_ratio=float(gradient_given.norm()) / norm,
        truth_error=math.sqrt(noise) / norm,
    )


def _cells(s: Sighting) -> tuple[str, ...]:
    if s.error is not None:
        return str(s.call), s.error.splitlines()[0]
    if s.relative_error is None:
        return str(s.call), "the true gradient is not told apart from zero"
    cosine = "-" if s.cosine is None else f"{s.cosine:.3f} +- {s.cosine_error or 0:.1g}"
    imitation = "-" if s.imitation_error is None else f"{s.imitation_error:.3f}"
    return str(s.call), cosine, f"{s.relative_error:.3f}", f"{s.norm_ratio or 0:.3f}", imitation, str(s.truth)

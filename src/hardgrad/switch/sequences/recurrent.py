"""Branches with a state along a sequence: GRUs, LSTMs and modules like them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple, cast

from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import in_graph
from hardgrad._tracing import eagerly
from hardgrad.switch.arguments import branch_number, modules, router
from hardgrad.switch.branches.build import one_per_range
from hardgrad.switch.branches.outputs import of_no_rows
from hardgrad.switch.branches.state import output_of_copy
from hardgrad.switch.conditions.condition import Router, count
from hardgrad.switch.keys import branch_of, check_sequences, check_source, key_of, refuse_learning
from hardgrad.switch.sequences import memory, pieces
from hardgrad.switch.shards import refuse_shards

READS_KEYS = (
    "RecurrentSwitch: which branch runs for how long depends on the keys, which a compiled or exported graph cannot "
    "read; call it outside the graph, or let torch.compile break the graph here (fullgraph=False)"
)


class RecurrentState(NamedTuple):
    """What a ``RecurrentSwitch`` knows at the end of a chunk.

    Attributes:
        hidden: with ``state="shared"`` the branches' common state, None before any step; else one state for each
            branch, None for a branch that no sequence has entered. Dimension 1 of every tensor is the batch.
        last: int64 (B,), the range of the last step.
    """

    hidden: Any
    last: Tensor

    def detach(self) -> RecurrentState:
        """Return the same state without its history, to cut backpropagation through time."""
        return RecurrentState(_detached(self.hidden), self.last)


class RecurrentSwitch(nn.Module):
    r"""Run each time step of a sequence through the recurrent branch that the step's key leads to.

    .. math:: (y_t, s_t) = f_{r(k_t)}(x_t, s'_t; \theta_{r(k_t)})

    The state s' that a branch reads at a step is declared by ``state``:

    - ``"shared"``: the last step's, whichever branch left it. One memory is handed on across every switch, as in the
      published program. Needs branches whose states have one shape.
    - ``"per_branch"``: the one this branch left when it last ran; it waits while another runs. What happened meanwhile
      it never sees.
    - ``"reset"``: zero when the range was entered at this step, else the last step's.

    A branch that no step took does not run and gets no gradient, as in ``Switch``. Branches that are torch's layers of
    one kind and size run together, all cells of a moment at once, so that rows may switch when they like; their
    gradients cannot be differentiated again. Others take a call for each piece of a sequence, so a key that flickers
    costs time (``Hysteresis`` calms it). Under autocast it computes in its parameters' dtype.

    Args:
        ranges: the condition; a ``Hysteresis`` is carried on from chunk to chunk.
        branches: one module, cloned for each range, or one for each range: ``nn.GRU``, ``nn.LSTM`` or ``nn.RNN`` with
            ``batch_first=True``, of any number of layers, or a module of your own whose ``forward(x (B, T, F), state)``
            returns y (B, T, H) and the state after the last step. Its state is a tensor, or a tuple of them, with the
            batch in dimension 1; None must mean a state of zeros, and a sequence in two chunks the same as in one. It
            gets copies, which it may write to, and is called for pieces that may be as short as one step of one row.
        state: "shared", "per_branch" or "reset".
        key: a function of x, or the number of a column of it, if ``forward`` is not given a key.
        init: "independent" or "identical" initial weights of one module cloned, as for ``Switch``.

    Shape:
        x: (B, T, F). key: (B, T), with a ``Grid`` or ``If`` (B, T, K). Returns y (B, T, H) and a ``RecurrentState``,
        which given to the next call goes on where this one ended. Gradients flow through it; ``detach()`` cuts them.

    Raises:
        ValueError: for branches that are not one a range, are bidirectional or not ``batch_first``; for "shared" with
            states of several shapes; for a key or a state that does not match x; for points that learn, in training.
        RuntimeError: in an exported graph, in one that ``torch.compile`` must not break, and for keys that ``vmap``
            holds: the number of calls depends on the keys. Where a graph may break, the layer runs in eager code.

    Example:
        >>> import torch, hardgrad as hg
        >>> _ = torch.manual_seed(0)
        >>> switch = hg.RecurrentSwitch(hg.Ranges([-1, 0, 1]), torch.nn.GRU(3, 5, batch_first=True), state="shared")
        >>> x, key = torch.randn(2, 8, 3), torch.rand(2, 8) * 2 - 1
        >>> y, state = switch(x, key)
        >>> first, state = switch(x[:, :3], key[:, :3])
        >>> second, state = switch(x[:, 3:], key[:, 3:], state)
        >>> torch.allclose(y, torch.cat([first, second], dim=1), atol=1e-6)
        True

    Source: Clarke 2025, LACTOSE; its program runs stateful GRUs and LSTMs, whose memory crosses every switch.
    """

    def __init__(
        self,
        ranges: Router,
        branches: nn.Module | Sequence[nn.Module],
        *,
        state: Literal["shared", "per_branch", "reset"],
        key: Callable[[Tensor], Tensor] | int | None = None,
        init: Literal["independent", "identical"] = "independent",
    ) -> None:
        super().__init__()
        router("RecurrentSwitch", ranges)
        modules("RecurrentSwitch", "branches", branches)
        check_source("RecurrentSwitch", key)
        _check.one_of("RecurrentSwitch", "state", state, ("shared", "per_branch", "reset"))
        _check.one_of("RecurrentSwitch", "init", init, ("independent", "identical"))
        self.ranges = ranges
        self.branches = nn.ModuleList(one_per_range(ranges, branches, init))
        self.state = state
        self.key = key
        for i, branch in enumerate(self.branches):
            _check_branch(i, branch)
        if state == "shared":
            memory.check_one_state(list(self.branches))

    def branch(self, i: int) -> nn.Module:
        """Return range i as an ordinary module; its parameters are that range's, not copies."""
        return self.branches[branch_number("RecurrentSwitch.branch", i, len(self.branches))]

    def forward(
        self, x: Tensor, key: Tensor | None = None, state: RecurrentState | None = None
    ) -> tuple[Tensor, RecurrentState]:
        result: tuple[Tensor, RecurrentState] = eagerly(READS_KEYS, self._eager, x, key, state)
        return result

    def _eager(self, x: Tensor, key: Tensor | None, state: RecurrentState | None) -> tuple[Tensor, RecurrentState]:
        refuse_shards(self)
        key = key_of("RecurrentSwitch", self.key, x, key)
        index = self.index(x, key, state)
        self.ranges.add_visits(count(index.reshape(-1), self.ranges.branches), key)
        if not index.numel():
            return self.empty(x, index, state)
        old = None if state is None else state.hidden
        if self.state == "shared":
            y, hidden = memory.run_shared(self.branches, x, index, old)
        else:
            y, hidden = memory.run_per_branch(self.branches, x, index, old, reset=self.state == "reset")
        return y, RecurrentState(hidden, index[:, -1].clone())

    def index(self, x: Tensor, key: Tensor | None, state: RecurrentState | None) -> Tensor:
        """Return the range of each step, int64 (B, T), without counting visits."""
        if in_graph():
            raise RuntimeError(READS_KEYS)
        refuse_learning(self, self.ranges)
        key = key_of("RecurrentSwitch", self.key, x, key)
        check_sequences("RecurrentSwitch", self.ranges, x, key, features="F")
        self._check_state(x, state)
        return branch_of(self.ranges, key, "RecurrentSwitch", None if state is None else state.last)

    def _check_state(self, x: Tensor, state: RecurrentState | None) -> None:
        if state is None:
            return
        if not isinstance(state, RecurrentState):
            raise TypeError(
                f"RecurrentSwitch: state must be the RecurrentState that an earlier call returned, got "
                f"{type(state).__name__}; start with state=None"
            )
        if state.last.shape != x.shape[:1]:
            raise ValueError(
                f"RecurrentSwitch: state must be of x's {x.shape[0]} sequences, got one of {len(state.last)}; start a "
                "new batch with state=None"
            )
        many = isinstance(state.hidden, tuple) and len(state.hidden) == len(self.branches)
        if self.state != "shared" and not many:
            raise ValueError(
                f"RecurrentSwitch: state must hold one state for each of the {len(self.branches)} branches, since this "
                f'layer was built with state="{self.state}", got one of another layer; start with state=None'
            )

    def empty(self, x: Tensor, index: Tensor, state: RecurrentState | None) -> tuple[Tensor, RecurrentState]:
        """Return what comes of no sequences, or of no steps."""
        if state is None:
            if x.shape[0]:
                raise ValueError("RecurrentSwitch: x must have a time step if there is no state yet, got T = 0")
            hidden = pieces.zeros(self.branches[0], 0, x) if self.state == "shared" else (None,) * len(self.branches)
            state = RecurrentState(hidden, index.new_zeros(0))
        branch = self.branches[0]
        if type(branch) in pieces.TORCHS:
            layer = cast(nn.RNNBase, branch)
            width, like = layer.proj_size or layer.hidden_size, x
        else:
            like, _ = output_of_copy("RecurrentSwitch", "branch 0", branch, x.new_zeros(1, 1, x.shape[-1]), None)
            width = like.shape[-1]
        return of_no_rows(like.new_zeros(*index.shape, width)), state


def _check_branch(i: int, branch: nn.Module) -> None:
    if not isinstance(branch, nn.RNNBase):
        return
    if branch.bidirectional:
        raise ValueError(
            f"RecurrentSwitch: branches must run forward in time, got a bidirectional {branch.mode} for range {i}; its "
            "backward half would read steps after the switch; build it with bidirectional=False"
        )
    if not branch.batch_first:
        raise ValueError(
            f"RecurrentSwitch: branches must read (B, T, F), got a {branch.mode} with batch_first=False for range {i}; "
            "build it with batch_first=True"
        )


def _detached(state: Any) -> Any:
    if state is None:
        return None
    return state.detach() if isinstance(state, Tensor) else tuple(map(_detached, state))

"""The hard IF: one set of parameters for each range, and only the taken one runs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal

from torch import Tensor, nn

from hardgrad import _check
from hardgrad._torch_state import compiling, exporting
from hardgrad._tracing import outside_graphs
from hardgrad.switch.branch_layer import BranchLayer
from hardgrad.switch.branches.build import one_per_range
from hardgrad.switch.branches.everywhere import NORMS, batch_statistics
from hardgrad.switch.conditions.condition import Router
from hardgrad.switch.keys import check_source


class Switch(BranchLayer):
    r"""Run each row of a batch through the branch that its key leads to.

    .. math:: y_b = f_{r(k_b)}(x_b; \theta_{r(k_b)})

    Rows are routed, not outputs: a branch sees its own rows alone, and one that no row took does not run and gets no
    gradient (``grad is None``), so no stock optimizer moves it: not by momentum, not by Adam, not by weight decay.
    Training on mixed batches is therefore training N separate models, each with its own optimizer state and step count.
    One optimizer is no sum of separate ones and cannot keep that: ``LBFGS`` multiplies by a history of all parameters
    at once, and takes no gradient for one of zero. Use it on batches that visit every range, or one for each branch.

    Args:
        ranges: the condition: ``Ranges``, or a ``Grid`` or ``If`` of several keys.
        branches: one module, cloned for each range, or one module for each range, of any architectures that return one
            tensor, of one shape for a row. It may write into what it gets, which is its own copy. If dtypes differ,
            the output has the one that ``torch.cat`` gives those of the visited branches, in a graph those of all.
        key: where the key comes from if ``forward`` is not given one: a function of x, or the number of a column of
            x's last dimension. None: ``forward`` must be given it.
        init: of one module cloned: "independent" draws new initial weights for every range (through
            ``reset_parameters``), "identical" copies the module's. None, the default, is "independent" with a
            ``UserWarning`` where that loses weights that were trained, loaded or set by hand, as far as they tell: a
            deep copy of a trained module and writes to ``.data`` leave no trace.
        normalize: list of columns of x's last dimension that are mapped so that the row's range becomes [-1, 1], or
            True for all. Use it where a column is both key and input: on a narrow range far from zero the ReLUs of a
            branch die without it. Needs ``Ranges`` with finite points.
        bank: run all branches in few kernels: for many branches that are equal stacks of ``Linear`` and elementwise
            layers. Meaning, parameters, ``grad`` and optimizers are those of ``bank=False``, but for second derivatives
            and batched gradients (``create_graph=True``, ``is_grads_batched=True``), which need ``bank=False``. Where
            a branch has hooks, a forward of its own or parametrized weights, the branches run one by one.

    Shape:
        x: (B, ...), or (B, T, ...) for a key per time step. key: x's leading dimensions, so (B,) or (B, T); with a
        ``Grid`` or ``If`` a last dimension more, the keys. Returns the key's leading dimensions followed by what a
        branch returns for one row.

    Graphs:
        A compiled or exported graph cannot read which branches are visited: it runs all, each on its rows, maybe none,
        and an unvisited one gets a gradient of zeros; see ``drop_unvisited_grads``. Under ``vmap`` over keys, and where
        ``torch.compile`` traces a transform of ``torch.func``, every branch runs on every row; values and gradients are
        those of a loop, if branches do not mix the rows of a batch. Where no value can be read,
        a key that is NaN cannot raise: its row goes to no branch and its output is NaN (0 if outputs are integers). A
        branch that normalizes by its batch in training (``BatchNorm``) makes ``torch.compile`` leave the switch in
        eager code, and is refused by the others.

    Attributes:
        ranges: the condition, with its counters of visits.
        branches: ``nn.ModuleList``; ``branch(i)`` is one of them, an ordinary module with its own ``state_dict()``.

    Raises:
        ValueError: for branches that are not one a range, a key that does not match x, a missing key, a key function
            that writes into x, or branches that return different shapes or something else than one tensor.
        TypeError: if ``bank`` is neither True nor False.

    Example:
        >>> import torch, hardgrad as hg
        >>> _ = torch.manual_seed(0)
        >>> switch = hg.Switch(hg.Ranges([-1.0, 0.0, 1.0]), torch.nn.Linear(3, 1))
        >>> y = switch(torch.randn(5, 3), key=torch.tensor([-0.5, -0.2, -0.9, -0.1, -0.3]))
        >>> y.sum().backward()
        >>> switch.branch(0).weight.grad is None, switch.branch(1).weight.grad is None
        (False, True)

    Source: Clarke 2025, LACTOSE, algorithm 1; batches and different architectures are its section 3's future work.
    """

    def __init__(
        self,
        ranges: Router,
        branches: nn.Module | Sequence[nn.Module],
        *,
        key: Callable[[Tensor], Tensor] | int | None = None,
        init: Literal["independent", "identical"] | None = None,
        normalize: bool | Sequence[int] = False,
        bank: bool = False,
    ) -> None:
        if not isinstance(ranges, Router):
            raise ValueError(f"Switch: ranges must be Ranges or another Router, got {type(ranges).__name__}")
        if init is not None:
            _check.one_of("Switch", "init", init, ("independent", "identical"))
        check_source("Switch", key)
        bank = _check.flag("Switch", "bank", bank)
        super().__init__(ranges, one_per_range(ranges, branches, init), key=key, normalize=normalize, bank=bank)

    def forward(self, x: Tensor, key: Tensor | None = None) -> Tensor:
        if self._norms and compiling() and not exporting() and any(map(batch_statistics, self.branches)):
            return _in_eager_code(self, x, key)
        return self.through_branches(x, key)

    def _branches_changed(self) -> None:
        super()._branches_changed()
        self._norms = any(isinstance(part, NORMS) for part in self.branches.modules())


@outside_graphs
def _in_eager_code(switch: Switch, x: Tensor, key: Tensor | None) -> Tensor:
    return switch.forward(x, key)

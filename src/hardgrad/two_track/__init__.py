"""Get an approximator back on two tracks, one per gradient.

A bridge asks two different things of one network ``a`` with weights ``w`` at one input ``x``: the task wants the
vector-Jacobian product into ``x`` and nothing into ``w``; the penalty wants the one into ``w`` and nothing into ``x``.
Both are what plain autograd gives on one run of the module the user gave. Autograd carries one cotangent per tensor, so
there are three ways, and the first that is certain to be the same network on both tracks is taken:

1. **Walked** (``linear.py``, ``plain.py``): an ``nn.Sequential`` of exactly ``nn.Linear``, activations, shapes and
   dropout. A linear layer's product is computed once and handed out twice, an activation runs twice, a dropout mask is
   drawn once for both. Least work: one forward, one product for the task, one for the penalty. Works everywhere. A
   network of one number, at many places on a CPU, is walked in pieces, with one product for both (``places.py``).
2. **Run once** (``once.py``): any module, in eager code. Its graph is the penalty's; the task differentiates that
   graph inside its own backward. One call, so one draw of noise, one count in a buffer, one call of a hook.
3. **Run twice** (``twice.py``): where a backward may not differentiate, under ``torch.compile`` and ``torch.func``:
   once with frozen weights. Under ``torch.compile`` only if two calls are seen to be alike; a module that draws numbers
   or changes itself leaves the graph instead and is run once.

Tried and left: running twice everywhere with the random state put back (a module that counts its calls, or holds
weights it did not register, is two networks then); ``vmap`` over a stack of frozen and live weights
(``randomness="same"`` draws once, but no module with a data-dependent branch, a running average or a recurrent layer
goes through); recording random functions by a mode (nothing tells of those inside fused attention or recurrent layers).
"""

from __future__ import annotations

from torch import Tensor, nn

from hardgrad._torch_state import compiling, in_transform
from hardgrad._tracing import prepare_transform, run_outside_graph
from hardgrad.two_track.lends import lends_nothing as lends_nothing
from hardgrad.two_track.once import one_run
from hardgrad.two_track.places import at_places, chain_of
from hardgrad.two_track.plain import ApproximatorError as ApproximatorError
from hardgrad.two_track.plain import has_compiled_part, is_known, walk_known
from hardgrad.two_track.twice import runs_alike, two_runs


def two_tracks(module: nn.Module, task: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    """Return ``module`` at one input twice: frozen weights for the task, live weights for the penalty.

    Args:
        module: any network.
        task: the input that the task's gradient flows into, shape as the module takes it.
        learn: the same numbers for the penalty, usually detached.

    Returns:
        Two tensors of equal value: through the first, gradient reaches ``lend`` only; through the second, ``learn`` and
        the weights only.
    """
    prepare_transform()
    if is_known(module):
        chain = chain_of(module, task)
        return at_places(chain, task, learn) if chain else walk_known(module, task, learn)
    # No loop and no recursion from here on: a graph that breaks in one is run again piece by piece, and what a piece is
    # told of hooks and of ``compiling`` is then true of another (torch 2.13 does not guard it).
    if in_transform() or (compiling() and runs_alike(module, learn)):
        return two_runs(module, task, learn)
    return run_outside_graph(_in_eager, _LEAVES, module, task, learn)


_LEAVES = (
    "hardgrad: an approximator that draws random numbers or changes itself when called runs outside the graph; compile "
    "without fullgraph, or leave the noise out"
)


def _in_eager(module: nn.Module, task: Tensor, learn: Tensor) -> tuple[Tensor, Tensor]:
    # The backward of a compiled part may run only once (torch 2.13 reuses what it saved), so it is called twice.
    return (two_runs if has_compiled_part(module) else one_run)(module, task, learn)

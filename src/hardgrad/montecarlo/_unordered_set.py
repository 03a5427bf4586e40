"""Sampling without replacement: a set of different outcomes, each weighed by how likely it was among them."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.distributions import Distribution

from hardgrad import _check
from hardgrad.montecarlo._exact import count_outcomes, outcomes
from hardgrad.montecarlo.discrete import Discrete, discrete
from hardgrad.montecarlo.noise import fine_uniform, gumbel_of
from hardgrad.montecarlo.objective import Objective, evaluate
from hardgrad.montecarlo.surrogate_gradient import estimate

_MOST = 10  # samples; the sum goes over 2 to the samples parts of a set
_TABLE = 4096  # joint outcomes, which are all written down


def unordered_set(
    q: Distribution, f: Objective, *, samples: int = 4, generator: torch.Generator | None = None
) -> Tensor:
    r"""Return an estimate of the expectation of f under q from different outcomes, with the unordered set gradient.

    .. math::
        \hat g = \sum_{s \in S} w_s\, \nabla \log q(s) \Big( f(s) - \sum_{s' \in S} w_{s' \mid s}\, f(s') \Big), \qquad
        w_s = P(s \text{ drawn first} \mid S)

    S are k outcomes drawn one after another without replacement; :math:`w_{s' \mid s}` is q(s) for s itself, and for
    another, q's mass without s times the probability that it was drawn second. The order of S is averaged out exactly.
    Unbiased, for any f, a black box included: values are all it asks for; with as many samples as outcomes it is the
    exact expectation. The value is unbiased too, a weighed sum that may lie outside of the values of f.

    Args:
        q: Bernoulli, Categorical, OneHotCategorical or KSubset, ``Independent`` allowed; batch shape ``(*batch,)``. One
            unit of any number of outcomes, or several, or a KSubset, with at most 4096 joint outcomes.
        f: ``(samples, *batch, *event) -> (samples, *batch)``. Its own parameters get their ordinary gradient.
        samples: k, how often f is evaluated for a row, 2 to 10; where there are no more outcomes, it sees each once.
        generator: source of randomness; torch's global one by default.

    Returns:
        Shape ``(*batch,)``: the weighed sum of f.

    Raises:
        ValueError: if ``samples`` is out of range, q has too many joint outcomes or is another distribution, or f's
            shape is wrong.

    Example:
        >>> import torch, hardgrad as hg
        >>> from torch.distributions import Categorical
        >>> logits = torch.zeros(4, 3, requires_grad=True)
        >>> hg.unordered_set(Categorical(logits=logits), lambda b: 3.0 * b, samples=3).sum().backward()
        >>> torch.allclose(logits.grad[0], torch.tensor([-1.0, 0.0, 1.0]), atol=1e-5)  # exact: the mean is 3
        True

    Source: Kool, van Hoof and Welling 2020 (arXiv 2002.06043), the unordered set policy gradient with its built-in
    baseline; the probabilities of sets by a sum over subsets.
    """
    samples = _check.whole("unordered_set", "samples", samples, least=2, most=_MOST)
    d = discrete(q, "unordered_set")
    table, states = _table(d)
    _check.generator("unordered_set", generator, table.device)
    u = fine_uniform(tuple(table.shape), table, generator, len(d.batch_shape))
    taken = (table + gumbel_of(u)).topk(min(samples, table.shape[-1])).indices
    logs = table.gather(-1, taken)
    # f never sees what cannot happen: where there are fewer outcomes than samples, the first one again, of no weight.
    shown = torch.where(logs.isfinite(), taken, taken[..., :1])
    weights, others = set_weights(logs, table.scatter(-1, taken, -torch.inf).logsumexp(-1))
    b = _sample(d, shown, states, table.shape[-1])
    values = evaluate(f, d.shown(b, copy=True), d)
    seen = values.detach().to(b.dtype)
    baseline = (others.movedim((-2, -1), (0, 1)) * seen).sum(1)
    weights = weights.movedim(-1, 0)
    gain = d.over_event(weights * (seen - baseline))
    gradient = (gain * b).sum(0) - d.probs.detach() * gain.sum(0)
    return estimate(values * (weights * len(b)).to(values.dtype), d, gradient)


def set_weights(logs: Tensor, outside: Tensor) -> tuple[Tensor, Tensor]:
    r"""Return for k different outcomes how likely each was drawn first, and what the others weigh given that it was.

    With H(B) the probability that S is completed once B, a part of it, is drawn,

    .. math::
        H(S) = 1, \qquad H(B) = \sum_{s \in S \setminus B} \frac{q(s)}{1 - q(B)} H(B \cup s), \qquad
        w_s = q(s) \frac{H(\{s\})}{H(\emptyset)}, \qquad w_{s' \mid s} = q(s') \frac{H(\{s, s'\})}{H(\{s\})}

    Args:
        logs: log-probabilities of S, shape ``(*batch, k)``.
        outside: the logarithm of the probability of everything else, shape ``(*batch,)``.

    Returns:
        Shapes ``(*batch, k)`` and ``(*batch, k, k)``: row s, column s'.
    """
    k = logs.shape[-1]
    one = 2 ** torch.arange(k, device=logs.device)
    subsets = torch.arange(2**k, device=logs.device)
    inside = (subsets.unsqueeze(-1) & one) > 0  # (subsets, k)
    left = logs.unsqueeze(-2).masked_fill(inside, -torch.inf)
    rest = torch.cat([left, outside[..., None, None].expand(*left.shape[:-1], 1)], -1).logsumexp(-1)
    over = (rest == -torch.inf) | (subsets == 2**k - 1)
    step = left - rest.masked_fill(over, 0).unsqueeze(-1)
    following = subsets.unsqueeze(-1) | one
    done = torch.where(over, 0.0, -torch.inf).to(logs)
    for _ in range(k):  # one more of S at a time, from S itself down to nothing
        done = torch.where(over, 0.0, (step + done[..., following]).logsumexp(-1)).to(logs)
    alone = done[..., one]
    both = done[..., one.unsqueeze(-1) | one]
    weights = (logs + alone - done[..., :1]).exp()
    given = (logs.unsqueeze(-2) + both - alone.unsqueeze(-1)).exp()
    return weights, torch.where(torch.eye(k, dtype=torch.bool, device=logs.device), logs.exp().unsqueeze(-1), given)


def _table(d: Discrete) -> tuple[Tensor, Tensor | None]:
    """Return the log-probability of every outcome of an event, ``(*batch, outcomes)``, and the outcomes.

    One many-way unit is its own table, of any size; its outcomes are not written down.
    """
    logits, event = d.logits.detach(), d.logits.shape[len(d.batch_shape) :]
    if not d.binary and d.kind != "KSubset" and event[:-1].numel() == 1:
        return logits.reshape(*d.batch_shape, event[-1]), None
    if count_outcomes(d) > _TABLE:
        raise ValueError(
            f"unordered_set: an event of several units, or a KSubset, may have at most {_TABLE} outcomes, got "
            f"{count_outcomes(d)}; use score_function with leave_one_out: draws hardly ever repeat there"
        )
    states = outcomes(d, _TABLE)
    table = d.log_prob(states.expand(len(states), *logits.shape)).detach()
    return table.movedim(0, -1), states


def _sample(d: Discrete, taken: Tensor, states: Tensor | None, ways: int) -> Tensor:
    """Outcomes by their numbers in the table, shape ``(k, *logits.shape)``."""
    if states is None:
        b = (taken.unsqueeze(-1) == torch.arange(ways, device=taken.device)).to(d.logits.dtype)
    else:
        b = states.reshape(len(states), -1)[taken]
    return b.movedim(-2, 0).reshape(taken.shape[-1], *d.logits.shape)

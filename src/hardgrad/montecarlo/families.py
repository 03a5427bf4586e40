"""Which distributions have the form of ``discrete``, subclasses of torch's among them, and what is said of others."""

from __future__ import annotations

from collections.abc import Iterable

from torch.distributions import Bernoulli, Categorical, Distribution, Independent, OneHotCategorical

from hardgrad.subset.k_subset import KSubset

KINDS: dict[str, type[Distribution]] = {
    "Bernoulli": Bernoulli,
    "OneHotCategorical": OneHotCategorical,
    "Categorical": Categorical,
    "KSubset": KSubset,
}
# Those of units that are independent of one another, which a KSubset's items are not.
UNITS = ("Bernoulli", "OneHotCategorical", "Categorical")
# What is not called here, since samples and their probabilities are made from q's parameter.
PASSED_BY = ("sample", "log_prob", "probs", "logits", "_param", "batch_shape", "event_shape")


def base_of(q: Distribution) -> Distribution:
    """Return what ``Independent`` wraps, any number of times; one that has methods of its own stays."""
    while isinstance(q, Independent) and own_method(q, Independent) is None:
        q = q.base_dist
    return q


def kind_of(base: Distribution) -> str | None:
    """Return the key of ``KINDS`` whose samples and probabilities these are; None for all others.

    Other libraries' subclasses that add something, such as a mask of actions, are of the kind that they are made of.
    """
    kind = _parent(base)
    return kind if kind is not None and own_method(base, KINDS[kind]) is None else None


def own_method(q: Distribution, kind: type[Distribution]) -> str | None:
    """Return the first of ``PASSED_BY`` that q has in another way than ``kind`` has it, or None."""
    if "sample" in q.__dict__ or "log_prob" in q.__dict__:  # put on the object
        return "sample" if "sample" in q.__dict__ else "log_prob"
    if type(q) is kind:
        return None
    return next((name for name in PASSED_BY if _home(type(q), name) is not _home(kind, name)), None)


def _parent(base: Distribution) -> str | None:
    return next((name for name, kind in KINDS.items() if isinstance(base, kind)), None)


def _home(owner: type, name: str) -> type | None:
    return next((c for c in owner.__mro__ if name in c.__dict__), None)


def refusal(base: Distribution, estimator: str, kinds: Iterable[str]) -> str:
    """Return what to say of a distribution that an estimator does not take."""
    kinds, got = tuple(kinds), type(base).__name__
    taken = kinds[0] if len(kinds) == 1 else f"{', '.join(kinds[:-1])} or {kinds[-1]}"
    rule = f"{estimator}: q must be a torch.distributions {taken} (Independent allowed)".replace(
        "KSubset", "hardgrad.KSubset"
    )
    parent = "Independent" if isinstance(base, Independent) else _parent(base)
    own = None if parent is None else own_method(base, KINDS.get(parent, Independent))
    if own is not None:
        return (
            f"{rule}, got {got}, a {parent} with a {own} of its own, which {estimator} would pass by; use "
            f"hardgrad.score_function, which calls it, or the {parent} that it stands for"
        )
    cure = {
        "Categorical": "its samples are outcome numbers, which carry no gradient: use OneHotCategorical",
        "OneHotCategorical": "use score_function, gumbel, reinmax, rebar or relax",
        "KSubset": "use score_function, double_cv, unordered_set, exact, straight_through_estimator or gumbel",
    }.get(parent or got, "use hardgrad.score_function, which takes any distribution that has log_prob")
    return f"{rule}, got {got}; {cure}"

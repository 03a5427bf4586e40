"""
Two of five, by their exact law
===============================

Two of five items are chosen at random, each pair in proportion to the product of its
weights. Adding Gumbel noise and taking the two largest is the usual short cut, and it
draws by another law. ``hg.KSubset`` draws by the exact one, and its gradient lets a
choice learn from a program that only says how good a pair was.
"""

from itertools import combinations

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

# %%
# Ten pairs: their law by enumeration, and what 40,000 draws of both ways give.

torch.manual_seed(0)
weights = torch.tensor([1.0, 2.0, 4.0, 8.0, 8.0])
pairs = list(combinations(range(5), 2))
masks = torch.stack([torch.eye(5)[list(pair)].sum(0) for pair in pairs])
law = torch.stack([weights[list(pair)].prod() for pair in pairs])
law /= law.sum()


def frequencies(drawn):
    """Return how often each pair was drawn."""
    return (drawn[:, None] == masks).all(2).float().mean(0)


q = hg.KSubset(weights.log(), k=2)
exact = frequencies(q.sample((40_000,)))
gumbel = -torch.rand(40_000, 5).log().neg().log()
short_cut = frequencies(hg.hard.top_k_mask(weights.log() + gumbel, 2))
torch.testing.assert_close(q.log_prob(masks).exp(), law)
assert (exact - law).abs().max() < 0.01 < (short_cut - law).abs().max()

# %%
# Now the weights learn. The program is a black box: items 0 and 3 are a success, any
# other pair is a failure. Its values are all that the score function needs.


def failure(mask):
    """Return 0 for items 0 and 3, else 1."""
    return 1 - (mask[..., 0] * mask[..., 3]).detach()


logits = torch.nn.Parameter(torch.zeros(5))
optimizer = torch.optim.Adam([logits], lr=0.05)
chance = []
for _ in range(200):
    q = hg.KSubset(logits[None], k=2)
    chance.append(q.log_prob(torch.tensor([[1.0, 0, 0, 1, 0]])).exp().item())
    optimizer.zero_grad()
    hg.score_function(q, failure, samples=8, baseline="leave_one_out").mean().backward()
    optimizer.step()
assert chance[0] < 0.11
assert chance[-1] > 0.9

# %%
figure, (left, right) = plt.subplots(
    1, 2, figsize=(9, 3.8), width_ratios=(2, 1), layout="constrained"
)
left.set_title("How often each pair is drawn")
place = torch.arange(len(pairs)).numpy()
left.bar(place - 0.2, exact.numpy(), 0.4, label="KSubset", color="C0")
two_largest = "two largest with Gumbel noise"
left.bar(place + 0.2, short_cut.numpy(), 0.4, label=two_largest, color="C1")
left.plot(place, law, "k_", markersize=26, label="law, by enumeration")
left.set_xticks(place, [f"{i}, {j}" for i, j in pairs])
left.set(xlabel="pair", ylabel="frequency")
left.legend()
right.set_title("Chance of the one good pair")
right.plot(chance)
right.set(xlabel="step", ylabel="probability", ylim=(0, 1))
plt.show()

# %%
# The short cut takes the two heaviest items too often and light pairs too seldom. That
# matters as soon as its draws are scored by the exact law, as a gradient of the score
# function does: the estimate is then biased.

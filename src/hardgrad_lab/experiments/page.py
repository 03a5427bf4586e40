"""What the page of all experiments says first."""

from __future__ import annotations

TITLE = "Improving discrete latent representations with differentiable approximation bridges, redone"
INTRODUCTION = (
    "Every table and figure of measurements in Ramapuram and Webb 2020 (arXiv 1905.03658), in its order, beside "
    "ours. Our numbers come from records of runs; only the published numbers and the claims are typed in. Table I and "
    "figures 1, 2, 4 and 5 are words and diagrams. A budget says how much was spent: smoke shows that the code runs, "
    "small is what two processor cores do in minutes to an hour, paper is what the paper spent, as far as it says. "
    "Short of a published number at a smaller budget means that it was not reached there, not that it cannot be."
)

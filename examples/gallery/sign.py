"""
A hard sign between two layers
==============================

A network with a sign in its middle learns, and the sign stays a sign.
"""

import matplotlib.pyplot as plt
import torch

import hardgrad as hg

torch.manual_seed(0)
sign = hg.Bridge(torch.sign, hg.approximators.mlp(1, 1, hidden=(16,)))
x = torch.linspace(-2, 2, 200)[:, None]
plt.plot(x, sign(x).detach(), label="forward")
plt.legend()
plt.show()

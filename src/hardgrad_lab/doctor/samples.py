"""Cases where the layer is a sample and the objective is seen: what the Monte Carlo estimators are made for."""

from __future__ import annotations

import math
from pathlib import Path

import torch
from torch import Tensor
from torch.distributions import Bernoulli, Categorical, Independent, OneHotCategorical

from hardgrad_lab.doctor.case import Case, seeded
from hardgrad_lab.doctor.images import codec, pictures

ROWS = 16
ALPHABET = "abcd"
LETTERS = 3
WORDS = ("abc", "dca", "bba", "cad", "add", "bcd", "dab", "cbc")


def latent_bits(folder: Path | None) -> Case:
    """The codes of a variational autoencoder: eight bits, a nonlinear decoder, the evidence bound."""
    found = pictures(folder)
    coded = codec(found.rows, units=8)
    generator = seeded(4)
    mix = torch.randn(8, 8, generator=generator) / math.sqrt(8)
    q = Independent(Bernoulli(logits=coded.codes[:ROWS].clone()), 1)
    drawn = coded.rows[:ROWS]

    def bound(b: Tensor) -> Tensor:
        signs = 2 * b - 1
        # A hidden layer between bits and pixels makes the objective nonlinear in every bit.
        grey = coded.decode(torch.tanh(signs + 0.5 * signs @ mix)) * 6 - 3
        return torch.nn.functional.binary_cross_entropy_with_logits(grey, drawn.expand_as(grey), reduction="none").sum(
            -1
        )

    return Case(
        name="bernoulli-latent",
        title="Bernoulli latent",
        about="Eight Bernoulli bits of an autoencoder with a nonlinear decoder; the cross entropy of the pixels.",
        function=bound,
        inputs=q,
        source=found.source,
    )


def oscillator() -> Case:
    """A synthesiser chooses one of four oscillators; between two of them nothing sounds like either."""
    generator = seeded(5)
    frequencies = torch.tensor([3.0, 5.0, 8.0, 13.0])
    time = torch.linspace(0, 1, 64)
    heard = torch.sin(2 * math.pi * frequencies[torch.arange(ROWS) % 4, None] * time)
    q = OneHotCategorical(logits=torch.randn(ROWS, 4, generator=generator))

    def loss(b: Tensor) -> Tensor:
        frequency = (b * frequencies).sum(-1, keepdim=True)
        return (torch.sin(2 * math.pi * frequency * time) - heard).square().mean(-1)

    return Case(
        name="categorical-oscillator",
        title="choose an oscillator",
        about="One of four frequencies drawn for a tone; the squared error of the sound, rugged between frequencies.",
        function=loss,
        inputs=q,
    )


def edit_distance() -> Case:
    """A word of three letters, drawn letter by letter, against a wanted one: a program on strings."""
    generator = seeded(6)
    logits = torch.randn(len(WORDS), LETTERS, len(ALPHABET), generator=generator)
    q = Independent(Categorical(logits=logits), 1)

    def loss(letters: Tensor) -> Tensor:
        flat = letters.reshape(-1, len(WORDS), LETTERS).tolist()
        found = [[edits("".join(ALPHABET[i] for i in word), WORDS[row]) for row, word in enumerate(s)] for s in flat]
        return torch.tensor(found, dtype=torch.float32).reshape(letters.shape[:-1])

    return Case(
        name="edit-distance",
        title="edit distance",
        about="A word of three letters drawn from probabilities; the edits that turn it into the wanted word.",
        function=loss,
        inputs=q,
    )


def edits(a: str, b: str) -> int:
    """Return the fewest insertions, deletions and replacements from one word to another."""
    row = list(range(len(b) + 1))
    for i, letter in enumerate(a, 1):
        last, row[0] = row[0], i
        for j, other in enumerate(b, 1):
            last, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, last + (letter != other))
    return row[-1]

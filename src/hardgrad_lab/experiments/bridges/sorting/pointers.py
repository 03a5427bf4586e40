"""The two baselines that point at their inputs: the Pointer network and Read-Process-Write.

Both decode place after place. In training every place is shown the true number of the place before (teacher forcing),
which lets all places run in one call; in evaluation the decoder sees its own greedy choices.

Source: Vinyals, Fortunato and Jaitly 2015 (arXiv 1506.03134), section 2.3; Vinyals, Bengio and Kudlur 2016
(arXiv 1511.06391), section 4.

Shapes: B batch, T numbers, P places (T of them), W width.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

State = tuple[Tensor, Tensor]


class Attention(nn.Module):
    """Scores of memory slots against queries: u = v . tanh(W1 memory + W2 query), equation 3 of the Pointer network.

    Args:
        width: of memory and query.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.of_memory = nn.Linear(width, width, bias=False)
        self.of_query = nn.Linear(width, width, bias=False)
        self.v = nn.Linear(width, 1, bias=False)

    def forward(self, memory: Tensor, query: Tensor) -> Tensor:
        """Return scores (B, P, T) of ``memory`` (B, T, W) for ``query`` (B, P, W)."""
        mixed = torch.tanh(self.of_memory(memory).unsqueeze(1) + self.of_query(query).unsqueeze(2))
        scores: Tensor = self.v(mixed)
        return scores.squeeze(-1)


class PointingDecoder(nn.Module):
    """An LSTM that points at one memory slot per place.

    Args:
        width: of memory and state.
        glimpses: how often the query reads the memory before it points.
        mask_chosen: whether greedy decoding rules out slots already pointed at.
    """

    def __init__(self, width: int, *, glimpses: int, mask_chosen: bool) -> None:
        super().__init__()
        self.mask_chosen = mask_chosen
        self.start = nn.Parameter(torch.zeros(1))
        self.lstm = nn.LSTM(1, width, batch_first=True)
        self.looks = nn.ModuleList(Attention(width) for _ in range(glimpses))
        self.mixes = nn.ModuleList(nn.Linear(2 * width, width) for _ in range(glimpses))
        self.point = Attention(width)

    def forward(self, x: Tensor, memory: Tensor, state: State, target: Tensor | None) -> Tensor:
        """Return logits (B, T, P) of ``x`` (B, T), from ``memory`` (B, T, W) and the LSTM's first ``state``."""
        if target is None:
            return self._decode(x, memory, state)
        shown = torch.cat([self.start.expand(len(x), 1), x.gather(1, target[:, :-1])], dim=1)
        states, _ = self.lstm(shown.unsqueeze(-1), state)
        return self._scores(memory, states).transpose(1, 2)

    def _scores(self, memory: Tensor, query: Tensor) -> Tensor:
        for look, mix in zip(self.looks, self.mixes, strict=True):
            seen = look(memory, query).softmax(-1) @ memory
            query = torch.tanh(mix(torch.cat([query, seen], dim=-1)))
        scores: Tensor = self.point(memory, query)
        return scores

    def _decode(self, x: Tensor, memory: Tensor, state: State) -> Tensor:
        shown = self.start.expand(len(x), 1)
        chosen = torch.zeros_like(x, dtype=torch.bool)
        places = []
        for _ in range(x.shape[1]):
            query, state = self.lstm(shown.unsqueeze(-1), state)
            scores = self._scores(memory, query).squeeze(1)
            if self.mask_chosen:
                scores = scores.masked_fill(chosen, -torch.inf)
            pointed = scores.argmax(1, keepdim=True)
            chosen = chosen.scatter(1, pointed, True)
            shown = x.gather(1, pointed)
            places.append(scores)
        return torch.stack(places, dim=2)


class PointerNetwork(nn.Module):
    """An LSTM reads the numbers into a memory; another points at them in sorted order.

    Args:
        width: of both LSTMs.
        glimpses: how often the decoder reads the memory before it points.
        mask_chosen: whether greedy decoding rules out numbers already pointed at.
    """

    def __init__(self, width: int, *, glimpses: int = 0, mask_chosen: bool = False) -> None:
        super().__init__()
        self.read = nn.LSTM(1, width, batch_first=True)
        self.write = PointingDecoder(width, glimpses=glimpses, mask_chosen=mask_chosen)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """Return logits (B, T, T) of ``x`` (B, T): teacher-forced when ``target`` is given, greedy when not."""
        memory, state = self.read(x.unsqueeze(-1))
        logits: Tensor = self.write(x, memory, state, target)
        return logits


class ReadProcessWrite(nn.Module):
    """The order of the inputs does not reach this network: it reads a set, ponders on it, and points.

    Args:
        width: of memory and LSTMs.
        process_steps: LSTM steps without input; each attends over the memory.
        glimpses: how often the decoder reads the memory before it points.
        mask_chosen: whether greedy decoding rules out numbers already pointed at.
    """

    def __init__(self, width: int, process_steps: int, *, glimpses: int = 1, mask_chosen: bool = False) -> None:
        super().__init__()
        self.process_steps = process_steps
        self.read = nn.Sequential(nn.Linear(1, width), nn.Tanh(), nn.Linear(width, width))
        self.process = nn.LSTMCell(width, width)
        self.hand_over = nn.Linear(2 * width, 2 * width)
        self.write = PointingDecoder(width, glimpses=glimpses, mask_chosen=mask_chosen)

    def forward(self, x: Tensor, target: Tensor | None = None) -> Tensor:
        """Return logits (B, T, T) of ``x`` (B, T): teacher-forced when ``target`` is given, greedy when not."""
        memory = self.read(x.unsqueeze(-1))
        hidden, cell = self.hand_over(self._ponder(memory)).chunk(2, dim=-1)
        logits: Tensor = self.write(x, memory, (hidden[None].tanh().contiguous(), cell[None].contiguous()), target)
        return logits

    def _ponder(self, memory: Tensor) -> Tensor:
        """Return q* = [q, r] (B, 2 W) after the process steps, equations 3 to 7 of Vinyals et al. 2016.

        Their LSTM takes no input and [q, r] as its state; a cell with input r and state q computes the same gates.
        """
        query = cell = seen = memory.new_zeros(memory.shape[0], memory.shape[2])
        for _ in range(self.process_steps):
            query, cell = self.process(seen, (query, cell))
            weights = (memory @ query.unsqueeze(-1)).squeeze(-1).softmax(-1)
            seen = (weights.unsqueeze(1) @ memory).squeeze(1)
        return torch.cat([query, seen], dim=-1)

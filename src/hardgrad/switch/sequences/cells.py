"""The arithmetic of one recurrent cell, forward and back, for rows that need not share weights."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor


class Cell:
    """The arithmetic of one cell, for rows (n, ...): gates are (n, gates * H), a state is (n, W)."""

    gates: int

    @classmethod
    def hidden(cls, gates: Tensor) -> int:
        return gates.shape[-1] // cls.gates

    @staticmethod
    def step(own: Tensor, shared: Tensor, before: Tensor, out: Tensor) -> Tensor:
        """Turn the inputs' share of the gates, own, into the gates; write the state; return what slopes needs too."""
        raise NotImplementedError

    @staticmethod
    def slopes(gates: Tensor, kept: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, ...]:
        """What back multiplies with."""
        raise NotImplementedError

    @staticmethod
    def back(d: Tensor, slopes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        """Return the gradients of the state's share of the gates, and of the state but for the gates' path."""
        raise NotImplementedError

    @staticmethod
    def plain(own: Tensor, shared: Tensor, before: Tensor) -> Tensor:
        """Return the state by operations that torch differentiates itself."""
        raise NotImplementedError

    @staticmethod
    def inputs(d: Tensor, slopes: Sequence[Tensor], to_gates: Tensor) -> Tensor:
        """The gradient of the inputs' share of the gates: the same, but for a cell that treats the two apart."""
        del d, slopes
        return to_gates


class _Rnn(Cell):
    gates = 1

    @staticmethod
    def back(d: Tensor, slopes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return d * slopes[0], torch.zeros_like(d)


class _Tanh(_Rnn):
    @staticmethod
    def step(own: Tensor, shared: Tensor, before: Tensor, out: Tensor) -> Tensor:
        torch.tanh(own.add_(shared), out=out)
        return out[:, :0]

    @staticmethod
    def plain(own: Tensor, shared: Tensor, before: Tensor) -> Tensor:
        return (own + shared).tanh()

    @staticmethod
    def slopes(gates: Tensor, kept: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, ...]:
        return (1 - after * after,)


class _Relu(_Rnn):
    @staticmethod
    def step(own: Tensor, shared: Tensor, before: Tensor, out: Tensor) -> Tensor:
        torch.clamp(own.add_(shared), min=0, out=out)
        return out[:, :0]

    @staticmethod
    def plain(own: Tensor, shared: Tensor, before: Tensor) -> Tensor:
        return (own + shared).relu()

    @staticmethod
    def slopes(gates: Tensor, kept: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, ...]:
        return ((after > 0).to(after.dtype),)


class _Gru(Cell):
    """Gates r, z, n. Of n the two shares meet in a product with r, so the state's is kept."""

    gates = 3

    @staticmethod
    def step(own: Tensor, shared: Tensor, before: Tensor, out: Tensor) -> Tensor:
        h = before.shape[-1]
        own[:, : 2 * h].add_(shared[:, : 2 * h]).sigmoid_()
        r, z, n = own.split(h, -1)
        n.addcmul_(r, shared[:, 2 * h :]).tanh_()
        torch.lerp(n, before, z, out=out)
        return shared[:, 2 * h :]

    @staticmethod
    def plain(own: Tensor, shared: Tensor, before: Tensor) -> Tensor:
        (r, z, n), shares = own.chunk(3, -1), shared.chunk(3, -1)
        r, z = (r + shares[0]).sigmoid(), (z + shares[1]).sigmoid()
        n = (n + r * shares[2]).tanh()
        return n + z * (before - n)

    @staticmethod
    def slopes(gates: Tensor, kept: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, ...]:
        r, z, n = gates.chunk(3, -1)
        to_n = (1 - z) * (1 - n * n)
        return torch.cat([to_n * kept * r * (1 - r), (before - n) * z * (1 - z), to_n * r], -1), z, to_n

    @staticmethod
    def back(d: Tensor, slopes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        return (d.unsqueeze(1) * slopes[0].unflatten(1, (3, -1))).reshape(len(d), -1), d * slopes[1]

    @staticmethod
    def inputs(d: Tensor, slopes: Sequence[Tensor], to_gates: Tensor) -> Tensor:
        return torch.cat([to_gates[:, : 2 * d.shape[-1]], d * slopes[2]], -1)


class _Lstm(Cell):
    """Gates i, f, g, o. A state is h beside c."""

    gates = 4

    @staticmethod
    def step(own: Tensor, shared: Tensor, before: Tensor, out: Tensor) -> Tensor:
        h = before.shape[-1] // 2
        own.add_(shared)
        own[:, : 2 * h].sigmoid_()
        own[:, 2 * h : 3 * h].tanh_()
        own[:, 3 * h :].sigmoid_()
        i, f, g, o = own.split(h, -1)
        c = torch.mul(f, before[:, h:], out=out[:, h:]).addcmul_(i, g)
        kept = c.tanh()
        torch.mul(o, kept, out=out[:, :h])
        return kept

    @staticmethod
    def plain(own: Tensor, shared: Tensor, before: Tensor) -> Tensor:
        i, f, g, o = (own + shared).chunk(4, -1)
        c = f.sigmoid() * before.chunk(2, -1)[1] + i.sigmoid() * g.tanh()
        return torch.cat([o.sigmoid() * c.tanh(), c], -1)

    @staticmethod
    def slopes(gates: Tensor, kept: Tensor, before: Tensor, after: Tensor) -> tuple[Tensor, ...]:
        i, f, g, o = gates.chunk(4, -1)
        c = before.chunk(2, -1)[1]
        from_c = torch.cat([g * i * (1 - i), c * f * (1 - f), i * (1 - g * g)], -1)
        return from_c, kept * o * (1 - o), o * (1 - kept * kept), f

    @staticmethod
    def back(d: Tensor, slopes: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
        from_c, to_o, to_c, f = slopes
        d_h, d_c = d.chunk(2, -1)
        d_c = torch.addcmul(d_c, d_h, to_c)
        to_ifg = (d_c.unsqueeze(1) * from_c.unflatten(1, (3, -1))).reshape(len(d), -1)
        return torch.cat([to_ifg, d_h * to_o], -1), torch.cat([torch.zeros_like(d_h), d_c * f], -1)


CELLS: dict[str, type[Cell]] = {"GRU": _Gru, "LSTM": _Lstm, "RNN_TANH": _Tanh, "RNN_RELU": _Relu}

"""Architectures of every day: nothing is broken in them, whatever they choose, mask, count or look up on the way."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.distributions import Normal, kl_divergence
from torch.nn import functional as F
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence
from torch.utils.checkpoint import checkpoint

from breaks_bank.case import Case, Setup, cases_in, sound, sound_in_part

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))
LABELS = torch.arange(8) % 4
TOKENS = torch.randint(1, 9, (4, 5), generator=torch.Generator().manual_seed(3))


def to_target(out: Tensor) -> Tensor:
    return F.mse_loss(out, Y)


def to_labels(out: Tensor) -> Tensor:
    return F.cross_entropy(out, LABELS[: len(out)])


class Residual(nn.Module):
    def __init__(self, into: int, out: int, stride: int) -> None:
        super().__init__()
        self.one, self.two = nn.Conv2d(into, out, 3, stride, 1, bias=False), nn.Conv2d(out, out, 3, 1, 1, bias=False)
        self.norm_one, self.norm_two = nn.BatchNorm2d(out), nn.BatchNorm2d(out)
        self.short = nn.Sequential(nn.Conv2d(into, out, 1, stride, bias=False), nn.BatchNorm2d(out))

    def forward(self, x: Tensor) -> Tensor:
        h = F.relu(self.norm_one(self.one(x)), inplace=True)
        return F.relu(self.norm_two(self.two(h)) + self.short(x), inplace=True)


@sound
def a_resnet() -> Setup:
    model = nn.Sequential(
        nn.Conv2d(3, 8, 3, 1, 1),
        nn.ReLU(inplace=True),
        nn.MaxPool2d(2),
        Residual(8, 8, 1),
        Residual(8, 12, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(12, 4),
    )
    return Setup(model, (torch.randn(8, 3, 12, 12),), to_labels)


@sound
def a_transformer_encoder_with_padding() -> Setup:
    class Reader(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(10, 8, padding_idx=0), nn.Parameter(torch.randn(6, 8))
            layer = nn.TransformerEncoderLayer(8, 2, 16, dropout=0.1, batch_first=True)
            self.body = nn.TransformerEncoder(layer, 2, enable_nested_tensor=False)
            self.head = nn.Linear(8, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            padding = tokens == 0  # HARMLESS
            h = self.body(self.embed(tokens) + self.place, src_key_padding_mask=padding)
            count = (~padding).sum(1, keepdim=True)
            return self.head((h * ~padding[..., None]).sum(1) / count)

    return Setup(Reader(), (F.pad(TOKENS, (0, 1)),), to_labels)


@sound
def a_causal_language_model_with_tied_weights() -> Setup:
    class Language(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.place = nn.Embedding(10, 8), nn.Embedding(5, 8)
            self.attend, self.norm = nn.MultiheadAttention(8, 2, batch_first=True), nn.LayerNorm(8)
            self.feed = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
            self.head = nn.Linear(8, 10, bias=False)
            self.head.weight = self.embed.weight

        def forward(self, tokens: Tensor) -> Tensor:
            n = tokens.shape[1]
            h = self.embed(tokens) + self.place(torch.arange(n))
            ahead = torch.triu(torch.ones(n, n, dtype=torch.bool), 1)
            a = self.norm(h)
            h = h + self.attend(a, a, a, attn_mask=ahead, need_weights=False)[0]
            return self.head(h + self.feed(h))

    def loss(logits: Tensor) -> Tensor:
        accuracy = (logits[:, :-1].argmax(-1) == TOKENS[:, 1:]).float().mean().item()
        assert 0 <= accuracy <= 1
        return F.cross_entropy(logits[:, :-1].flatten(0, 1), TOKENS[:, 1:].flatten(), ignore_index=0)

    return Setup(Language(), (TOKENS,), loss)


@sound
def attention_written_by_hand_with_masked_fill() -> Setup:
    class Attention(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.qkv, self.out = nn.Linear(6, 18), nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            q, k, v = self.qkv(x).view(2, 4, 18).chunk(3, -1)
            weight = q @ k.transpose(1, 2) / math.sqrt(6)
            weight = weight.masked_fill(torch.ones(4, 4).tril() == 0, float("-inf"))
            weight = F.dropout(weight.softmax(-1), 0.1)
            h = F.scaled_dot_product_attention(q, k, weight @ v, is_causal=True)
            return self.out(h).view(8, 1)

    return Setup(Attention(), (X,), to_target)


@sound
def an_lstm_over_packed_sequences() -> Setup:
    class Packed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lstm, self.head = nn.LSTM(3, 5, 2, batch_first=True, bidirectional=True), nn.Linear(10, 4)

        def forward(self, x: Tensor, lengths: Tensor) -> Tensor:
            packed = pack_padded_sequence(x, lengths.tolist(), batch_first=True, enforce_sorted=False)
            h, _ = self.lstm(packed)
            padded, count = pad_packed_sequence(h, batch_first=True)
            return self.head(padded.sum(1) / count[:, None])

    return Setup(Packed(), (torch.randn(4, 5, 3), torch.tensor([5, 2, 3, 4])), to_labels)


@sound
def a_gru_cell_with_truncated_backpropagation() -> Setup:
    class Chunks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cell, self.head = nn.GRUCell(3, 5), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> Tensor:
            h, outs = torch.zeros(len(x), 5), []
            for t in range(x.shape[1]):
                if t == 3:
                    h = h.detach()
                h = self.cell(x[:, t], h)
                outs.append(self.head(h))
            return torch.stack(outs, 1)

    return Setup(Chunks(), (torch.randn(4, 6, 3),), lambda out: out.square().mean())


@sound
def a_variational_autoencoder() -> Setup:
    class Vae(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Linear(6, 4), nn.Linear(2, 6)

        def forward(self, x: Tensor) -> dict[str, Tensor]:
            mean, log_variance = self.encode(x).chunk(2, -1)
            q = Normal(mean, (0.5 * log_variance.clamp(-8, 8)).exp())
            return {"copy": self.decode(q.rsample()), "kl": kl_divergence(q, Normal(0.0, 1.0)).sum(-1)}

    return Setup(Vae(), (X,), lambda out: F.mse_loss(out["copy"], X) + 0.1 * out["kl"].mean())


@sound
def an_autoencoder_with_max_pool_and_unpool() -> Setup:
    class Auto(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.up = nn.Conv2d(1, 3, 3, padding=1), nn.Conv2d(3, 1, 3, padding=1)

        def forward(self, x: Tensor) -> Tensor:
            h, where = F.max_pool2d(self.down(x), 2, return_indices=True)
            return self.up(F.max_unpool2d(h, where, 2))

    image = torch.randn(2, 1, 6, 6)
    return Setup(Auto(), (image,), lambda out: F.mse_loss(out, image))


@sound
def a_unet_with_time_embedding() -> Setup:
    class Unet(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.down, self.middle = nn.Conv2d(1, 4, 3, 2, 1), nn.Conv2d(4, 4, 3, 1, 1)
            self.up, self.time = nn.ConvTranspose2d(8, 1, 4, 2, 1), nn.Linear(4, 4)
            self.norm = nn.GroupNorm(2, 4)

        def forward(self, x: Tensor, t: Tensor) -> Tensor:
            f = t[:, None] * torch.tensor([1.0, 0.1])
            h = F.silu(self.norm(self.down(x)) + self.time(torch.cat([f.sin(), f.cos()], -1))[..., None, None])
            return self.up(torch.cat([h, F.silu(self.middle(h))], 1))

    clean, noise, t = torch.randn(4, 1, 8, 8), torch.randn(4, 1, 8, 8), torch.tensor([0, 3, 7, 9])
    keep = torch.linspace(0.99, 0.1, 10)[t].view(-1, 1, 1, 1)
    noisy = keep.sqrt() * clean + (1 - keep).sqrt() * noise
    return Setup(Unet(), (noisy, t.float()), lambda out: F.mse_loss(out, noise))


@sound
def a_mixture_of_the_two_best_experts() -> Setup:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(6, 4)
            self.experts = nn.ModuleList(nn.Linear(6, 1) for _ in range(4))

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            p = self.router(x).softmax(-1)
            gate, index = p.topk(2, -1)  # HARMLESS
            gate = gate / gate.sum(-1, keepdim=True)
            out = torch.zeros(len(x), 1)
            for i, expert in enumerate(self.experts):
                row, slot = torch.where(index == i)
                if len(row):
                    out = out.index_add(0, row, gate[row, slot, None] * expert(x[row]))
            share = F.one_hot(index[:, 0], 4).float().mean(0)
            return out, 4 * (share * p.mean(0)).sum()

    # torch.manual_seed(0): every expert gets a row.
    return Setup(Experts(), (X,), lambda out: to_target(out[0]) + 0.01 * out[1])


@sound
def a_block_under_a_checkpoint() -> Setup:
    class Saving(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.into = nn.Linear(6, 6)
            self.blocks = nn.ModuleList(nn.Sequential(nn.Linear(6, 6), nn.GELU(), nn.Dropout(0.1)) for _ in range(3))
            self.head = nn.Linear(6, 1)

        def forward(self, x: Tensor) -> Tensor:
            h = self.into(x)
            for i, block in enumerate(self.blocks):
                h = h + checkpoint(block, h, use_reentrant=i == 2)
            return self.head(h)

    return Setup(Saving(), (X,), to_target)


@sound
def normalization_layers_in_a_row() -> Setup:
    model = nn.Sequential(
        nn.Conv2d(2, 4, 3, padding=1),
        nn.BatchNorm2d(4),
        nn.ReLU(),
        nn.GroupNorm(2, 4),
        nn.InstanceNorm2d(4, affine=True),
        nn.Hardswish(),
        nn.LocalResponseNorm(2),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.LayerNorm(16),
        nn.RMSNorm(16),
        nn.PReLU(),
        nn.Linear(16, 4),
    )
    return Setup(model, (torch.randn(8, 2, 4, 4),), to_labels)


@sound
def a_whisper_like_encoder_decoder() -> Setup:
    class Listener(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Conv1d(4, 8, 3, 2, 1)
            self.body = nn.Transformer(8, 2, 1, 1, 16, 0.0, batch_first=True)
            self.embed, self.head = nn.Embedding(10, 8), nn.Linear(8, 10)
            self.register_buffer("place", torch.randn(6, 8))

        def forward(self, sound: Tensor, tokens: Tensor) -> Tensor:
            h = F.gelu(self.conv(sound)).transpose(1, 2) + self.place
            mask = nn.Transformer.generate_square_subsequent_mask(tokens.shape[1])
            return self.head(self.body(h, self.embed(tokens), tgt_mask=mask, tgt_is_causal=True))

    target = TOKENS.roll(-1, 1)
    target[:, -1] = -100
    return Setup(Listener(), (torch.randn(4, 4, 12), TOKENS),
                 lambda out: F.cross_entropy(out.transpose(1, 2), target, label_smoothing=0.1))  # fmt: skip


@sound
def mixed_precision_by_autocast() -> Setup:
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.LayerNorm(8), nn.Linear(8, 4))

    class Mixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor) -> Tensor:
            with torch.autocast("cpu", torch.bfloat16):
                return self.net(x).float()

    return Setup(Mixed(), (X,), to_labels)


@sound_in_part
def a_frozen_backbone_and_a_new_head() -> Setup:
    class Tuned(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.backbone = nn.Sequential(nn.Linear(6, 8), nn.BatchNorm1d(8), nn.ReLU()).requires_grad_(False)
            self.head = nn.Linear(8, 4)

        def forward(self, x: Tensor) -> Tensor:
            with torch.no_grad():
                h = self.backbone(x)
            return self.head(h)

    return Setup(Tuned(), (X,), to_labels)


@sound_in_part
def a_residual_branch_that_starts_at_zero() -> Setup:
    """The branch's own weights get exactly zero in the first step, as its authors meant."""

    class Zero(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.branch, self.head = nn.Linear(6, 6), nn.Linear(6, 6), nn.Linear(6, 1)
            self.alpha = nn.Parameter(torch.zeros(()))

        def forward(self, x: Tensor) -> Tensor:
            h = self.lin(x)
            return self.head(h + self.alpha * self.branch(h).relu())

    return Setup(Zero(), (X,), to_target)


@sound_in_part
def a_low_rank_adapter_at_its_start() -> Setup:
    class Adapter(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.base = nn.Linear(6, 4).requires_grad_(False)
            self.down, self.up = nn.Linear(6, 2, bias=False), nn.Linear(2, 4, bias=False)
            nn.init.zeros_(self.up.weight)

        def forward(self, x: Tensor) -> Tensor:
            return self.base(x) + self.up(self.down(x))

    return Setup(Adapter(), (X,), to_labels)


@sound_in_part
def rows_of_an_embedding_that_nobody_asked_for() -> Setup:
    class Bag(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.table, self.bag = nn.Embedding(50, 4, sparse=True), nn.EmbeddingBag(50, 4)
            self.head = nn.Linear(8, 4)

        def forward(self, tokens: Tensor) -> Tensor:
            return self.head(torch.cat([self.table(tokens).mean(1), self.bag(tokens)], -1))  # HARMLESS

    return Setup(Bag(), (TOKENS,), to_labels)


@sound
def a_bilinear_sampler() -> Setup:
    class Warp(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Linear(6, 6)
            nn.init.zeros_(self.place.weight)
            self.place.bias.data = torch.tensor([1.0, 0.05, 0.02, 0.03, 0.9, 0.01])

        def forward(self, image: Tensor, x: Tensor) -> Tensor:
            grid = F.affine_grid(self.place(x).view(-1, 2, 3), list(image.shape), align_corners=False)
            return F.grid_sample(image, grid, align_corners=False)

    image = torch.randn(8, 1, 5, 5)
    return Setup(Warp(), (image, X), lambda out: F.mse_loss(out, image.flip(-1)))


@sound
def a_graph_network_with_scatter() -> Setup:
    class Graph(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.message, self.update = nn.Linear(12, 6), nn.Linear(12, 1)

        def forward(self, x: Tensor, edges: Tensor) -> Tensor:
            source, target = edges
            message = self.message(torch.cat([x[source], x[target]], -1)).relu()
            total = torch.zeros(len(x), 6).index_add(0, target, message)
            most = torch.full((len(x), 6), -1.0).scatter_reduce(
                0, target[:, None].expand(-1, 6), message, "amax", include_self=False
            )
            return self.update(torch.cat([total, most], -1))

    edges = torch.tensor([[0, 1, 2, 3, 4, 5, 6, 7, 0], [1, 2, 3, 4, 5, 6, 7, 0, 4]])
    return Setup(Graph(), (X, edges), to_target)


@sound
def casts_that_change_nothing() -> Setup:
    """A parameter cast to its own dtype or device is the parameter itself."""

    class Scale(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.weight, self.bias = (
                nn.Linear(6, 4),
                nn.Parameter(torch.ones(4)),
                nn.Parameter(torch.zeros(4)),
            )

        def forward(self, x: Tensor) -> Tensor:
            h = self.lin(x).float().type_as(x).to(x.device)
            h = h * (1.0 + self.weight.float()) + self.bias.to(h.dtype).contiguous()
            return h.double().to(torch.float32).expand(8, 4) + self.bias.cpu().type(torch.float32)

    return Setup(Scale(), (X,), to_labels)


@sound_in_part
def experts_called_by_name() -> Setup:
    """The number of an expert becomes a Python string; its gate carries the gradient."""

    class Named(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.router = nn.Linear(6, 3)
            self.experts = nn.ModuleDict({f"expert_{i}": nn.Linear(6, 4) for i in range(3)})

        def forward(self, x: Tensor) -> Tensor:
            p = self.router(x).softmax(-1)
            gate, index = p.max(-1, keepdim=True).values, p.argmax(-1, keepdim=True)
            mask = F.one_hot(index, 3).permute(2, 1, 0)
            out = torch.zeros(len(x), 4)
            for hit in torch.greater(mask.sum((-1, -2)), 0).nonzero():
                slot, row = torch.where(mask[hit].squeeze(0))
                out.index_add_(0, row, self.experts[f"expert_{hit[0]}"](x[row]) * gate[row, slot, None])
            return out

    return Setup(Named(), (X,), to_labels)


@sound
def a_module_that_keeps_what_it_computed() -> Setup:
    """The last step's activation, with its graph, is still an attribute when the next step begins."""

    class Keeping(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lin, self.head = nn.Linear(6, 5), nn.Linear(5, 4)
            self.last: list[Tensor] = []

        def forward(self, x: Tensor) -> Tensor:
            h = self.lin(x).tanh()
            self.last = [h, h.mean()]
            return self.head(h)

    model = Keeping()
    model(X)
    return Setup(model, (X,), to_labels)


@sound
def a_flow_refined_in_steps() -> Setup:
    """Each step starts from where the last one ended, detached, and has a loss of its own."""

    class Refine(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.feature, self.update = nn.Linear(6, 4), nn.Linear(5, 1)

        def forward(self, x: Tensor) -> list[Tensor]:
            f, at, steps = self.feature(x), torch.zeros(8, 1), []
            for _ in range(3):
                at = at.detach()
                at = at + self.update(torch.cat([f, at], -1))
                steps.append(at)
            return steps

    return Setup(Refine(), (X,), lambda steps: sum(0.8 ** (2 - i) * to_target(y) for i, y in enumerate(steps)))


CASES: list[Case] = cases_in(globals())

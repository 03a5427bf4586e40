"""Mistakes of public research code, each rebuilt small in code of our own.

In all of them training ran, the loss fell, and one published part never learned.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from breaks_bank.case import Case, Setup, broken, cases_in
from breaks_bank.cut import CHOICES

X = torch.randn(8, 6, generator=torch.Generator().manual_seed(1))
Y = torch.randn(8, 1, generator=torch.Generator().manual_seed(2))


@broken("Registration: the penalty on the occluded area counts pixels behind a `>`; it never shaped the field.",
        "straight_through", "Bridge", "Switch")  # fmt: skip
def occlusion_penalty_of_a_registration() -> Setup:
    class Registration(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.forward_field, self.backward_field = nn.Conv1d(2, 1, 3, padding=1), nn.Conv1d(2, 1, 3, padding=1)

        def forward(self, fixed: Tensor, moving: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            pair = torch.cat([fixed, moving], 1)
            there, back = self.forward_field(pair), self.backward_field(pair)
            return moving + there, there, back

    fixed, moving = torch.rand(4, 1, 12), torch.rand(4, 1, 12)

    def loss(out: tuple[Tensor, Tensor, Tensor]) -> Tensor:
        warped, there, back = out
        error = (there + back).square()
        threshold = 0.5 * error.detach().mean() + 0.01
        occluded = (error > threshold).float()  # BREAK flat
        similarity = ((warped - fixed).square() * (1 - occluded)).mean()
        return similarity + 0.1 * error.mean() + 0.01 * occluded.mean()

    return Setup(Registration(), (fixed, moving), loss)


@broken("A hierarchy of classes: the term for a child that does not belong to its parent compares two argmaxes.",
        *CHOICES)  # fmt: skip
def dependence_loss_of_two_class_levels() -> Setup:
    class Levels(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body, self.coarse, self.fine = nn.Linear(6, 8), nn.Linear(8, 2), nn.Linear(8, 4)

        def forward(self, x: Tensor) -> list[Tensor]:
            h = self.body(x).relu()
            return [self.coarse(h), self.fine(h)]

    fine_label = torch.arange(8) % 4
    parent = torch.tensor([0, 0, 1, 1])

    def loss(out: list[Tensor]) -> Tensor:
        layer = F.cross_entropy(out[0], parent[fine_label]) + F.cross_entropy(out[1], fine_label)
        coarse = out[0].argmax(1)  # BREAK cut
        fine = out[1].argmax(1)  # BREAK cut
        wrong = (parent[fine] != coarse).float()
        return layer + 0.8 * (torch.exp(wrong) - 1).mean()

    return Setup(Levels(), (X,), loss)


@broken("Small-object detection: a map of differences is made a mask by a learned threshold behind a sign.",
        "straight_through", "Bridge", "LearnedRanges", "Switch")  # fmt: skip
def learned_threshold_behind_a_sign() -> Setup:
    class Enhance(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rebuild, self.lift = nn.Conv2d(1, 1, 3, padding=1), nn.Conv2d(1, 2, 3, padding=1)
            self.threshold = nn.Parameter(torch.tensor(0.3))
            self.head = nn.Linear(2, 1)

        def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
            rebuilt = self.rebuild(image)
            difference = (rebuilt - image).abs()
            mask = (torch.sign(difference - self.threshold) + 1) / 2  # BREAK flat
            features = self.lift(image) * (1 + mask)
            return self.head(features.mean((2, 3))), rebuilt

    image = torch.rand(8, 1, 5, 5)
    return Setup(Enhance(), (image,), lambda out: F.mse_loss(out[0], Y) + F.mse_loss(out[1], image))


@broken("An epidemic of agents: stages are compared with `==`, so the count of the sick says nothing about the rate.",
        "straight_through", "gumbel", "Bridge", "score_function")  # fmt: skip
def stages_of_a_simulator() -> Setup:
    class Epidemic(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.rate, self.recovery = nn.Parameter(torch.tensor(0.7)), nn.Parameter(torch.tensor(0.4))

        def forward(self, stage: Tensor) -> Tensor:
            sick = torch.zeros(())
            for _ in range(2):
                stage = stage + self.rate * (2 - stage).relu()
                infected = (stage == 2.0).float()  # BREAK flat
                sick = sick + (infected * (1 - self.recovery)).mean()
            return sick

    return Setup(Epidemic(), (torch.tensor([0.0, 1.0, 2.0, 2.0, 1.0]),), lambda sick: (sick - 1.5).square())


@broken("Pose estimation by rendering: the silhouette is where the picture is above 0; alone it moves nothing.",
        "straight_through", "Bridge", "perturb")  # fmt: skip
def silhouette_of_a_rendering() -> Setup:
    class Pose(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.place = nn.Parameter(torch.tensor([0.2, -0.1]))
            axis = torch.linspace(-1, 1, 8)
            self.register_buffer("grid", torch.stack(torch.meshgrid(axis, axis, indexing="ij"), -1))

        def forward(self, light: Tensor) -> Tensor:
            return (0.5 - (self.grid - self.place).norm(dim=-1)).relu() * light

    seen = torch.zeros(8, 8)
    seen[2:5, 2:5] = 1.0

    def loss(picture: Tensor) -> Tensor:
        silhouette = torch.where(picture > 0, 1.0, 0.0)  # BREAK flat
        return F.mse_loss(silhouette, seen)

    return Setup(Pose(), (torch.tensor(0.8),), loss)


@broken("Image restoration with a prompt: channels are chosen by top-k of a learned score that is not used otherwise.",
        "straight_through", "perturb", *CHOICES)  # fmt: skip
def channels_chosen_by_topk() -> Setup:
    class Restore(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.lift, self.prompt, self.out = nn.Conv2d(1, 6, 3, padding=1), nn.Linear(6, 6), nn.Conv2d(3, 1, 1)

        def forward(self, image: Tensor) -> Tensor:
            h = self.lift(image)
            score = self.prompt(h.mean((2, 3)))
            _, chosen = torch.topk(score, 3, dim=1)  # BREAK cut
            h = torch.gather(h, 1, chosen[:, :, None, None].expand(-1, -1, *h.shape[2:]))  # OR
            return image + self.out(h)

    image = torch.rand(4, 1, 5, 5)
    return Setup(Restore(), (image,), lambda out: F.l1_loss(out, image.flip(-1)))


@broken("3D detection: partners of a proposal are picked by the argmax of a relation score, which gets no gradient.",
        *CHOICES, "perturb")  # fmt: skip
def partners_chosen_by_argmax() -> Setup:
    class Relations(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.feature, self.query, self.key = nn.Linear(3, 4), nn.Linear(3, 4), nn.Linear(3, 4)
            self.box = nn.Linear(8, 1)

        def forward(self, proposals: Tensor) -> Tensor:
            relation = self.query(proposals) @ self.key(proposals).transpose(1, 2)
            partner = torch.argmax(relation, dim=-1)  # BREAK cut
            h = self.feature(proposals)
            other = torch.stack([row[index] for row, index in zip(h, partner, strict=True)])  # OR
            return self.box(torch.cat([h, other], -1)).mean(1)

    return Setup(Relations(), (torch.randn(8, 5, 3),), lambda out: F.smooth_l1_loss(out, Y))


@broken("Inpainting by a transformer over colors: the color is an argmax looked up in a palette, then compared.",
        *CHOICES)  # fmt: skip
def colors_looked_up_by_argmax() -> Setup:
    class Paint(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed, self.mix = nn.Embedding(5, 8), nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
            self.logits, self.refine = nn.Linear(8, 5), nn.Linear(3, 3)
            self.register_buffer("palette", torch.rand(5, 3))

        def forward(self, tokens: Tensor) -> Tensor:
            logits = self.logits(self.mix(self.embed(tokens)))
            token = logits.argmax(dim=-1)  # BREAK cut
            return self.refine(self.palette[token])  # OR

    picture = torch.rand(2, 4, 3)
    return Setup(Paint(), (torch.arange(8).view(2, 4) % 5,), lambda out: F.l1_loss(out, picture))


@broken("A speech codec: the line that copies the gradient over the nearest code was forgotten; one code won.",
        "Codebook")  # fmt: skip
def codec_without_the_copy_line() -> Setup:
    class Codec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode = nn.Conv1d(1, 3, 4, stride=2, padding=1), nn.ConvTranspose1d(3, 1, 4, 2, 1)
            self.codes = nn.Embedding(6, 3)

        def forward(self, sound: Tensor) -> tuple[Tensor, Tensor]:
            z = self.encode(sound).transpose(1, 2)
            distance = torch.cdist(z, self.codes.weight)
            index = distance.argmin(-1)  # BREAK cut
            q = self.codes(index)  # OR
            learn_codes = (q - z.detach()).square().mean()
            return self.decode(q.transpose(1, 2)), learn_codes

    sound = torch.randn(2, 1, 16)
    return Setup(Codec(), (sound,), lambda out: F.mse_loss(out[0], sound) + out[1])


@broken("The same codec with a commitment term: the encoder moves to the codes, and never to what the decoder needs.",
        "Codebook")  # fmt: skip
def codec_with_commitment_and_without_the_copy_line() -> Setup:
    class Codec(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode, self.codes = nn.Linear(6, 3), nn.Linear(3, 6), nn.Embedding(6, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z = self.encode(x)
            index = torch.cdist(z, self.codes.weight).argmin(-1)  # BREAK cut
            q = self.codes(index)  # OR
            term = (q - z.detach()).square().mean() + 0.25 * (z - q.detach()).square().mean()
            return self.decode(q), term

    return Setup(Codec(), (X,), lambda out: F.mse_loss(out[0], X) + out[1])


@broken("A quantizer of latents: its value is copied over x, which is drawn to codes that nothing ever moves.",
        "Codebook")  # fmt: skip
def quantizer_whose_codes_get_no_gradient() -> Setup:
    class Quantizer(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.encode, self.decode, self.codes = nn.Linear(6, 3), nn.Linear(3, 6), nn.Embedding(6, 3)

        def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
            z = self.encode(x)
            q = self.codes(torch.cdist(z, self.codes.weight).argmin(-1))
            commitment = 0.25 * F.mse_loss(z, q.detach())  # BREAK cut
            q = z + (q - z).detach()  # BREAK cut
            return self.decode(q), commitment

    return Setup(Quantizer(), (X,), lambda out: F.mse_loss(out[0], X) + out[1])


@broken("A mixture of experts with one expert a row: the softmax over the single chosen logit is always 1.")
def softmax_over_a_top_1_gate() -> Setup:
    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.w_gate = nn.Parameter(torch.randn(6, 3))
            self.experts = nn.ModuleList(nn.Linear(6, 1) for _ in range(3))

        def forward(self, x: Tensor) -> Tensor:
            top, index = (x @ self.w_gate).topk(1, dim=-1)
            gate = torch.softmax(top, dim=-1)  # BREAK suspicious
            gates = torch.zeros(len(x), 3).scatter(1, index, gate)
            return sum(gates[:, i : i + 1] * expert(x) for i, expert in enumerate(self.experts))

    return Setup(Experts(), (X,), lambda out: F.mse_loss(out, Y))


@broken("A tree is decoded from learned points: who merges first is the order of a sort, which sets the cost.",
        "straight_through", "perturb", "Bridge", "score_function")  # fmt: skip
def tree_decoded_from_an_order() -> Setup:
    class Tree(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.points, self.scale = nn.Embedding(5, 2), nn.Parameter(torch.tensor(0.5))

        def forward(self, similarity: Tensor) -> Tensor:
            at = F.normalize(self.points.weight, dim=-1) * self.scale.clamp(1e-2, 1 - 1e-3)
            near = (at @ at.T)[torch.triu_indices(5, 5, 1).unbind()]
            order = torch.argsort(near, descending=True)  # BREAK cut
            merged = torch.empty(10).scatter(0, order, torch.arange(10.0))
            return (similarity * merged).mean() + 1e-3 * at.square().sum()

    return Setup(Tree(), (torch.rand(10),))


CASES: list[Case] = cases_in(globals())

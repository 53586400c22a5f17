"""Fusions in which modalities act on each other's channels: by an affine map, by gates, by taking their place.

b batch, t token, m modality, d width.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.fusion.base import Fusion, one_token, presence
from polymodal.fusion.pooled import each, join, pooled
from polymodal.nn import Named, Pool
from polymodal.ops import masked_mean, masked_softmax, zeroed


class FiLM(Fusion):
    """y = sum over the modalities m that are present of (1 + g_m) * u_m + h_m, with u_m = P_m x_m and (g_m, h_m) = F_m
    [u_n : n != m].

    Each modality is scaled and shifted, feature by feature, as all the others say. F_m has no constant and u_n is zero
    where n is absent, so what comes out is exactly the fusion of the others.
    """

    paper = "Perez et al. 2018 (feature-wise linear modulation)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__(dims, dim)
        self.parts = pooled(dims, dim)
        others = len(dims) - 1
        self.films = nn.ModuleList(nn.Linear(others * dim, 2 * dim, bias=False) for _ in dims if others)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        vectors = each(self.parts, xs)
        terms = list(vectors)
        for m, film in enumerate(self.films):
            scale_bd, shift_bd = film(torch.cat(vectors[:m] + vectors[m + 1 :], dim=1)).chunk(2, dim=1)
            terms[m] = (1 + scale_bd) * vectors[m] + shift_bd
        y_bmd = torch.stack(terms, dim=1)
        return one_token(zeroed(Masked(y_bmd, presence(xs))).sum(1), xs)


class MMTM(Fusion):
    """Squeeze all modalities into one vector, and let it excite the channels of each.

    s = relu(W [mean of x_1, ..., mean of x_M, p_1, ..., p_M] + b); every token of modality m is multiplied by
    2 sigmoid(E_m s + e_m), channel by channel; then y_m = P_m pool(x_m). x_m is normalised, p_m in {0, 1} says whether
    m is present, and s has (d_1 + ... + d_M) / 4 features. One token a modality, real where the modality is present.
    """

    paper = "Joze et al. 2020 (multimodal transfer module)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__(dims, dim)
        self.norms = Named({m: nn.LayerNorm(d) for m, d in dims.items()})
        total = sum(dims.values())
        self.squeeze = nn.Sequential(nn.Linear(total + len(dims), max(1, total // 4)), nn.ReLU())
        self.excite = Named({m: nn.Linear(max(1, total // 4), d) for m, d in dims.items()})
        self.pools = Named({m: nn.Sequential(Pool(d), nn.Linear(d, dim)) for m, d in dims.items()})

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, M, dim), one token a modality."""
        xs = self.ordered(inputs)
        values = [Masked(norm(zeroed(x)), x.mask) for norm, x in zip(self.norms.children(), xs, strict=True)]
        s_bd = self.squeeze(join([masked_mean(x) for x in values], xs))
        gates = [2 * excite(s_bd).sigmoid() for excite in self.excite.children()]
        outputs = [Masked(x.values * gate[:, None], x.mask) for x, gate in zip(values, gates, strict=True)]
        return Masked(torch.stack(each(self.pools, outputs), dim=1), presence(xs))


class CEN(Fusion):
    """A stack for each modality, between which channels that do not matter are exchanged.

    u_m = P_m x_m; `stages` times u_m <- relu(exchange(s_m * norm(W u_m) + o_m)), with one W for all modalities and a
    scale s_m and shift o_m of each; y = sum_m w_m u_m, with w the softmax of a learned score over the modalities that
    are present. norm is over the channels of a row. The channels are dealt out in M equal parts: where |s_m| is below
    `threshold` in a channel of part m, `exchange` puts there the mean of the same channel of the other modalities
    that are present. `penalty` = sparsity * sum of |s_m| over part m drives scales there: what a modality can do
    without goes to the others, and no channel is given up by all.
    """

    paper = "Wang et al. 2020 (channel exchanging networks), with a norm that keeps rows apart"
    family = "early"

    def __init__(
        self, dims: dict[str, int], dim: int, *, stages: int = 2, threshold: float = 0.02, sparsity: float = 0.001
    ) -> None:
        super().__init__(dims, dim)
        self.stages, self.threshold, self.sparsity = stages, threshold, sparsity
        self.parts = pooled(dims, dim)
        self.maps = nn.ModuleList(nn.Linear(dim, dim, bias=False) for _ in range(stages))
        self.scales = nn.ParameterList(torch.ones(len(dims), dim) for _ in range(stages))
        self.shifts = nn.ParameterList(torch.zeros(len(dims), dim) for _ in range(stages))
        self.norm = nn.LayerNorm(dim, elementwise_affine=False)
        self.score_m = nn.Parameter(torch.zeros(len(dims)))  # begins as the mean
        part_d = torch.arange(dim) * len(dims) // dim
        own_md = part_d == torch.arange(len(dims))[:, None]
        self.register_buffer("own_md", own_md & (len(dims) > 1), persistent=False)

    own_md: Tensor  # (M, dim) True where modality m may give up the channel

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        here_bm = presence(xs)
        u_bmd = torch.stack(each(self.parts, xs), dim=1)
        for linear, scale_md, shift_md in zip(self.maps, self.scales, self.shifts, strict=True):
            given_md = self.own_md & (scale_md.abs() < self.threshold)
            u_bmd = exchange(scale_md * self.norm(linear(u_bmd)) + shift_md, here_bm, given_md).relu()
        w_bm = masked_softmax(self.score_m.expand_as(here_bm), here_bm, dim=1)
        return one_token((w_bm[..., None] * u_bmd).sum(1), xs)

    def penalty(self, inputs: Mapping[str, Masked]) -> Tensor:
        """sparsity * sum of |scale| over the channels that may be given up."""
        scale_smd = torch.stack(list(self.scales))
        return self.sparsity * torch.where(self.own_md, scale_smd.abs(), 0).sum()


def exchange(x_bmd: Tensor, here_bm: Tensor, given_md: Tensor) -> Tensor:
    """x, but where `given` the mean of the same channel over the other modalities that are present, if any is."""
    real_bmd = zeroed(Masked(x_bmd, here_bm))
    here_bm1 = here_bm[..., None].to(x_bmd.dtype)
    others_bm1 = here_bm1.sum(1, keepdim=True) - here_bm1
    mean_bmd = (real_bmd.sum(1, keepdim=True) - real_bmd) / others_bm1.clamp(min=1)
    return torch.where(given_md & (others_bm1 > 0), mean_bmd, x_bmd)

"""Compact stand-ins for bilinear fusion: products of projections, and sketches of the outer product.

b batch, m modality, d width, r rank, k place in a sketch. An absent modality is left out of the product, so what
comes out is exactly the fusion of the others.
"""

from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.functional import normalize

from polymodal.batch import Masked
from polymodal.fusion.base import Fusion, one_token, presence
from polymodal.fusion.pooled import each, pooled
from polymodal.nn import Named
from polymodal.ops import convolve, count_sketch, extend, product_of_present, signed_root

SMALLEST = 1e-6  # length below which a vector is not stretched to length 1


class MLB(Fusion):
    """y = b + P prod over the modalities that are present of tanh(U_m x_m + c_m), elementwise."""

    paper = "Kim et al. 2017 (multimodal low-rank bilinear pooling)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int) -> None:
        super().__init__(dims, dim)
        self.parts = pooled(dims, dim)
        self.out = nn.Linear(dim, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        factors = [u.tanh() for u in each(self.parts, xs)]
        return one_token(self.out(product_of_present(factors, presence(xs))), xs)


class MUTAN(Fusion):
    """y = b + P sum_r prod over the modalities that are present of (M_m,r tanh(U_m x_m + c_m) + e_m,r).

    It is a Tucker decomposition of the full form of all modalities: U_m and P are its factor matrices, and its core
    has rank `rank`. With rank 1 and M = identity it would be `MLB`.
    """

    paper = "Ben-Younes et al. 2017 (MUTAN)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int, *, rank: int = 5) -> None:
        super().__init__(dims, dim)
        self.rank = rank
        self.parts = pooled(dims, dim)
        self.core = Named({m: nn.Linear(dim, rank * dim) for m in dims})
        self.out = nn.Linear(dim, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        vectors = [u.tanh() for u in each(self.parts, xs)]
        factors = [to(u) for to, u in zip(self.core.children(), vectors, strict=True)]
        z_brd = product_of_present(factors, presence(xs)).unflatten(1, (self.rank, self.dim))
        return one_token(self.out(z_brd.sum(1)), xs)


class MFB(Fusion):
    """y = unit(root(sum over each window of `window` of prod over the modalities that are present of (U_m x_m + c_m))).

    U_m maps to window * dim features; their product is summed over windows, which makes each output a bilinear form
    of rank `window`. root is the signed square root, unit scales the row to length 1.
    """

    paper = "Yu et al. 2017 (multi-modal factorized bilinear pooling)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int, *, window: int = 5, dropout: float = 0.1) -> None:
        super().__init__(dims, dim)
        self.window, self.dropout = window, dropout
        self.parts = pooled(dims, window * dim)
        self.drop = nn.Dropout(dropout)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        z_bwd = self.drop(product_of_present(each(self.parts, xs), presence(xs))).unflatten(1, (-1, self.window))
        return one_token(normalize(signed_root(z_bwd.sum(2)), eps=SMALLEST), xs)


class MCB(Fusion):
    """y = b + P unit(root(sketch of the outer product of all z_m)), with z_m = (1, x_m).

    The sketch has `sketch` places and is the circular convolution of the sketches of the z_m, so the outer product
    is never built; each product of features, one (or none) of each modality, falls with a sign on one place. The
    places and signs are drawn from `seed` and never trained. An absent modality is (1, 0 ... 0), whose sketch changes
    nothing. root and unit as in `MFB`.
    """

    paper = "Gao et al. 2016; Fukui et al. 2016 (compact bilinear pooling)"
    family = "early"

    def __init__(self, dims: dict[str, int], dim: int, *, sketch: int = 1024, seed: int = 0) -> None:
        super().__init__(dims, dim)
        self.sketch, self.seed = sketch, seed
        self.parts = pooled(dims)
        g = torch.Generator().manual_seed(seed)
        self.sketches = nn.ModuleList(Sketch(1 + d, sketch, g) for d in dims.values())
        self.out = nn.Linear(sketch, dim)

    def forward(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, T_m, d_m) tokens -> (B, 1, dim)."""
        xs = self.ordered(inputs)
        vectors = each(self.parts, xs)
        z_bk = convolve([of(extend(x)) for of, x in zip(self.sketches, vectors, strict=True)])
        y_bk = normalize(signed_root(z_bk), eps=SMALLEST).to(vectors[0].dtype)
        return one_token(self.out(y_bk), xs)


class Sketch(nn.Module):
    """A fixed random count sketch of vectors (B, width) -> (B, size); feature 0 falls on place 0 with sign 1."""

    h: torch.Tensor
    s: torch.Tensor

    def __init__(self, width: int, size: int, g: torch.Generator) -> None:
        super().__init__()
        self.size = size
        h, s = torch.randint(size, (width,), generator=g), torch.randint(2, (width,), generator=g) * 2.0 - 1
        h[0], s[0] = 0, 1  # the constant: its sketch is then the unit of convolution
        self.register_buffer("h", h)
        self.register_buffer("s", s)

    def forward(self, x_bd: torch.Tensor) -> torch.Tensor:
        """(B, width) -> (B, size)."""
        return count_sketch(x_bd, self.h, self.s, self.size)

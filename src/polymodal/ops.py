"""The maths of masks, products and votes, as functions. Modules elsewhere hold the parameters.

Axes: b batch, t token, q query, k key, h head, d width, m modality, r rank, o output, c class.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn.functional import linear, logsigmoid, scaled_dot_product_attention

from polymodal.batch import Masked


def zeroed(x: Masked) -> Tensor:
    """The values, with 0 wherever the mask is False. ``where``, not ``*``: 0 * NaN is NaN.

    >>> zeroed(Masked(torch.tensor([[1., float("nan")]]), torch.tensor([[True, False]])))
    tensor([[1., 0.]])
    """
    return torch.where(widen(x.mask, x.values.ndim), x.values, x.values.new_zeros(()))


def widen(mask: Tensor, ndim: int) -> Tensor:
    """The mask with trailing axes of length 1 added up to `ndim`, so that it broadcasts over the values."""
    return mask.reshape(mask.shape + (1,) * (ndim - mask.ndim))


def masked_mean(x: Masked) -> Tensor:
    """(B, T, ...) -> (B, ...): mean over the real tokens of axis 1; 0 where a row has none."""
    count = widen(x.mask.sum(1).clamp(min=1), x.values.ndim - 1)
    return zeroed(x).sum(1) / count


def masked_softmax(score: Tensor, mask: Tensor, dim: int) -> Tensor:
    """Softmax over the True places of `dim`; 0 at False places, and everywhere in a row that has no True.

    >>> masked_softmax(torch.tensor([[0., 0., 9.]]), torch.tensor([[True, True, False]]), dim=1)
    tensor([[0.5000, 0.5000, 0.0000]])
    """
    low = torch.finfo(score.dtype).min
    weight = torch.where(mask, score, low).softmax(dim)
    return torch.where(mask, weight, weight.new_zeros(()))


def attend(q_bhqd: Tensor, k_bhkd: Tensor, v_bhkd: Tensor, mask_bk: Tensor, dropout: float = 0.0) -> Tensor:
    """Scaled dot-product attention that keeps the law (B, H, Q, D); a row without any real key gives 0.

    ``scaled_dot_product_attention`` leaks a NaN that stands under a mask (0 * NaN), and gives NaN where
    nothing may be attended to; so keys and values are zeroed first, and an empty row attends to those zeros.
    Vaswani et al. 2017.
    """
    keep = mask_bk[:, None, :, None]
    zero = k_bhkd.new_zeros(())
    k_bhkd, v_bhkd = torch.where(keep, k_bhkd, zero), torch.where(keep, v_bhkd, zero)
    open_bk = mask_bk | ~mask_bk.any(1, keepdim=True)
    return scaled_dot_product_attention(q_bhqd, k_bhkd, v_bhkd, attn_mask=open_bk[:, None, None, :], dropout_p=dropout)


def shares(q_bhqd: Tensor, keys: Sequence[Tensor], masks: Sequence[Tensor]) -> list[Tensor]:
    """The weights of scaled dot-product attention over several sets of keys: for each set (B, H, Q, K), together 1.

    weight[q, k] = softmax over the open k of all sets of q . k / sqrt(D); 0 where closed, and everywhere for a query to
    which nothing is open. keys: (B, H, K, D) each, finite everywhere; masks: where open, broadcast to (B, H, Q, K).
    The sets are never joined: one that stays as it is while another grows is not copied. Vaswani et al. 2017.
    """
    q_bhqd = q_bhqd * q_bhqd.shape[-1] ** -0.5
    scores = [q_bhqd @ k.transpose(-1, -2) for k in keys]
    open_bhqk = torch.cat([m.expand_as(x) for m, x in zip(masks, scores, strict=True)], dim=-1)
    weight = masked_softmax(torch.cat(scores, dim=-1), open_bhqk, dim=-1)
    return list(weight.split([x.shape[-1] for x in scores], dim=-1))


def extend(x_bd: Tensor) -> Tensor:
    """(B, D) -> (B, 1 + D): (1, x). What is absent is x = 0, hence (1, 0 ... 0)."""
    return torch.cat([x_bd.new_ones(x_bd.shape[0], 1), x_bd], dim=1)


def tensor_linear(xs: Sequence[Tensor], weight: Tensor) -> Tensor:
    """Tensor fusion and a linear map of it, in one: M vectors (B, D_m) -> (B, O).

    out[b, o] = sum over i, j, k ... of weight[i, j, k, ..., o] (1, x)[b, i] (1, y)[b, j] (1, z)[b, k] ...
    with weight (1 + D_1, ..., 1 + D_M, O). The (1 + D)^M cube of a row is never built: the outer product of
    the first two meets the weight in one GEMM, and each further modality contracts what is left, so that
    memory is B D^2 and not B D^M. Zadeh et al. 2017, eq. 2, and its first linear layer.
    """
    zs = [extend(x) for x in xs]
    if len(zs) == 1:
        return zs[0] @ weight
    pair_bk = (zs[0][:, :, None] * zs[1][:, None, :]).flatten(1)
    product = pair_bk @ weight.flatten(0, 1).flatten(1)
    for z in zs[2:]:
        product = torch.bmm(z[:, None, :], product.unflatten(1, (z.shape[1], -1)))[:, 0]
    return product


def low_rank(xs: Sequence[Tensor], factors: Sequence[Tensor], constants: Sequence[Tensor]) -> Tensor:
    """Product over modalities of linear maps, a rank at a time: M vectors (B, D_m) -> (B, R, O).

    out[b, r, o] = prod_m (constants[m][r, o] + sum_d factors[m][r, o, d] x_m[b, d]), with factors (R, O, D_m)
    and constants (R, O). Summed over r it is tensor fusion with the weight
    W[i, j ..., o] = sum_r F_1[r, o, i] F_2[r, o, j] ..., where F = (constant, factor). Liu et al. 2018, eq.
    6.
    """
    shape = constants[0].shape
    out: Tensor = linear(xs[0], factors[0].flatten(0, 1), constants[0].flatten())
    for x, factor, constant in zip(xs[1:], factors[1:], constants[1:], strict=True):
        out = out * linear(x, factor.flatten(0, 1), constant.flatten())
    out = out.unflatten(1, shape)
    return out


def pairwise(xs: Sequence[Tensor], weights: Sequence[Tensor]) -> Tensor:
    """A bilinear form for each pair of modalities, summed: M vectors (B, D_m) -> (B, O).

    out[b, o] = sum over m < n, i, j of weights[m][i, at_n + j, o] x_m[b, i] x_n[b, j], with weights[m] of shape
    (D_m, D_m+1 + ... + D_M, O), whose middle axis runs through the later modalities one after another (at_n is
    where n begins). One GEMM a modality contracts the weight, one batched product sums over all its partners; the
    outer product of two modalities is never built. Tenenbaum & Freeman 2000; Jayakumar et al. 2020.
    """
    terms = []
    for m, weight in enumerate(weights):
        left_bko = (xs[m] @ weight.flatten(1)).unflatten(1, weight.shape[1:])
        terms.append(torch.bmm(torch.cat(list(xs[m + 1 :]), dim=1)[:, None], left_bko)[:, 0])
    return torch.stack(terms).sum(0)


def product_of_present(xs: Sequence[Tensor], present_bm: Tensor) -> Tensor:
    """(B, ...) elementwise product of the (B, ...) factors of the modalities that are present, 1 where none is.

    >>> product_of_present([torch.tensor([[2.0]]), torch.tensor([[7.0]])], torch.tensor([[True, False]]))
    tensor([[2.]])
    """
    out = torch.ones_like(xs[0])
    for m, x in enumerate(xs):
        out = out * torch.where(widen(present_bm[:, m], x.ndim), x, 1.0)
    return out


def signed_root(x: Tensor) -> Tensor:
    """sign(x) sqrt(|x|), smoothed so that its slope at 0 is 1e3 and not infinite: x / sqrt(|x| + 1e-6).

    Perronnin, Sanchez & Mensink 2010, with exponent 1/2.
    """
    return x * (x.abs() + 1e-6).rsqrt()


def count_sketch(x_bd: Tensor, h_d: Tensor, s_d: Tensor, size: int) -> Tensor:
    """Project (B, D) to (B, size): out[b, k] = sum of s[d] x[b, d] over d with h[d] == k.

    Inner products survive in expectation over h and s: E <sketch(x), sketch(y)> = <x, y>.
    Charikar, Chen & Farach-Colton 2002.
    >>> count_sketch(torch.tensor([[1., 2., 3.]]), torch.tensor([0, 1, 0]), torch.tensor([1., 1., -1.]), 2)
    tensor([[-2.,  2.]])
    """
    return x_bd.new_zeros(x_bd.shape[0], size).index_add(1, h_d, x_bd * s_d)


def convolve(xs: Sequence[Tensor]) -> Tensor:
    """Circular convolution of M vectors (B, K) -> (B, K): out[b, k] = sum of x_1[b, i] x_2[b, j] ... over all
    i + j + ... = k modulo K.

    Of count sketches it is the count sketch of the outer product, with h = h_1 + h_2 + ... modulo K and
    s = s_1 s_2 ...; in K log K by Fourier transforms. Pham & Pagh 2013.
    """
    waves = torch.fft.rfft(torch.stack([x.to(torch.promote_types(x.dtype, torch.float32)) for x in xs]))
    out = waves[0]
    for wave in waves[1:]:
        out = out * wave
    result: Tensor = torch.fft.irfft(out, n=xs[0].shape[1])
    return result


def mixture(logit_bmc: Tensor, weight_bm: Tensor, link: str) -> Tensor:
    """The logits of the average answer: (B, M, C) -> (B, C) with f(out) = sum_m weight[m] f(logit[m]).

    f is the link: softmax over C, sigmoid, or identity. Weights are non-negative and sum to 1 over m; a
    weight of 0 leaves its modality out. The sum rule of Kittler et al. 1998.
    >>> mixture(torch.tensor([[[0.0], [9.0]]]), torch.tensor([[1.0, 0.0]]), "sigmoid")
    tensor([[0.]])
    """
    w = weight_bm[..., None]
    if link == "identity":
        return (w * logit_bmc).sum(1)
    # two wheres: the gradient of log at 0 is not finite, even where the result is not used
    log_w = torch.where(w > 0, torch.where(w > 0, w, 1.0).log(), -torch.inf)
    if link == "softmax":
        return (log_w + logit_bmc.log_softmax(-1)).logsumexp(1)
    yes, no = log_w + logsigmoid(logit_bmc), log_w + logsigmoid(-logit_bmc)
    return yes.logsumexp(1) - no.logsumexp(1)


def agreement(logit_bmc: Tensor, weight_bmc: Tensor, link: str) -> Tensor:
    """The logits of the product of answers: (B, M, C) -> (B, C) with f(out) in proportion to prod_m f(logit[m]) ^
    weight[m].

    f is the link: softmax over C; sigmoid, with the products of f and 1 - f in proportion; or identity, where the
    product of normal densities with means logit[m] and precisions weight[m] has the mean sum_m weight[m] logit[m]
    / sum_m weight[m]. A weight of 0 leaves its modality out. Hinton 2002, eq. 1.
    """
    if link == "identity":
        return (weight_bmc * logit_bmc).sum(1) / weight_bmc.sum(1)
    if link == "softmax":
        return (weight_bmc * logit_bmc.log_softmax(-1)).sum(1).log_softmax(-1)
    return (weight_bmc * logit_bmc).sum(1)  # log f - log(1 - f) is the logit itself


def surest(logit_bmc: Tensor, mask_bm: Tensor, link: str) -> Tensor:
    """The logits of the greatest answers: (B, M, C) -> (B, C) with f(out)_c in proportion to max_m f(logit[m])_c.

    The maximum is over the True places of m, and at least one place of each row is True. f is the link: softmax over
    C; sigmoid, with the maxima of f and of 1 - f in proportion; or identity, where out is the maximum itself. The max
    rule of Kittler et al. 1998.
    """
    low = torch.finfo(logit_bmc.dtype).min

    def most(x_bmc: Tensor) -> Tensor:
        return torch.where(mask_bm[..., None], x_bmc, low).amax(1)

    if link == "identity":
        return most(logit_bmc)
    if link == "softmax":
        return most(logit_bmc.log_softmax(-1)).log_softmax(-1)
    return most(logsigmoid(logit_bmc)) - most(logsigmoid(-logit_bmc))


def masked_median(x_bmc: Tensor, mask_bm: Tensor) -> Tensor:
    """(B, M, C) -> (B, C): median over the True places of axis 1, the mean of the middle two where they are
    even.

    At least one place of each row is True.
    """
    last = torch.finfo(x_bmc.dtype).max
    ascending = torch.where(mask_bm[..., None], x_bmc, last).sort(1).values
    count = mask_bm.sum(1)[:, None, None].expand(-1, 1, x_bmc.shape[2])
    low, high = ascending.gather(1, (count - 1) // 2), ascending.gather(1, count // 2)
    return (low + high)[:, 0] / 2

"""The maths of masks and products, as functions. Modules elsewhere hold the parameters.

Axes: b batch, t token, q query, k key, h head, d width, m modality.
"""

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from polymodal.batch import Masked


def zeroed(x: Masked) -> Tensor:
    """The values, with 0 wherever the mask is False. ``where``, not ``*``: 0 * NaN is NaN.

    >>> zeroed(Masked(torch.tensor([[1., float("nan")]]), torch.tensor([[True, False]])))
    tensor([[1., 0.]])
    """
    return torch.where(widened(x.mask, x.values.ndim), x.values, x.values.new_zeros(()))


def widened(mask: Tensor, ndim: int) -> Tensor:
    """The mask with trailing axes of length 1 added up to `ndim`, so that it broadcasts over the values."""
    return mask.reshape(mask.shape + (1,) * (ndim - mask.ndim))


def masked_mean(x: Masked) -> Tensor:
    """(B, T, ...) -> (B, ...): mean over the real tokens of axis 1; 0 where a row has none."""
    count = widened(x.mask.sum(1).clamp(min=1), x.values.ndim - 1)
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
    return scaled_dot_product_attention(
        q_bhqd, k_bhkd, v_bhkd, attn_mask=open_bk[:, None, None, :], dropout_p=dropout
    )

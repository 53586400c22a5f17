"""Which tokens a fusion by attention listened to, through all of its layers (`fusion.trace`), and on which parts of a
cell these lie.

Axes: b batch, t token, s part of the cell.
"""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.explain.answers import Floats
from polymodal.fusion import FUSIONS
from polymodal.fusion.base import Fusion
from polymodal.fusion.trace import identity, mix
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec
from polymodal.modalities.segments import Cut
from polymodal.nn import record


@torch.no_grad()
def rollout(fusion: Fusion, tokens: Mapping[str, Masked]) -> dict[str, Tensor]:
    """By modality (B, T_m): what share of the fused answer comes from each of its tokens; of a row they sum to 1.

    0 where there is no token, and for a row without any. What a fusion's own tokens bring (class token, latents) is
    left out of the sum. Raises InputError for a fusion that attends to no tokens.
    """
    with record(fusion) as attentions:
        fusion(tokens)
    xs = fusion.ordered(tokens)
    sizes = [x.mask.shape[1] for x in xs]
    weights = iter(attentions)
    share_bs = fusion.trace(weights, xs)
    if share_bs is None:
        those = ", ".join(c.__name__ for c in FUSIONS.values() if c.family == "sequence")
        raise InputError(
            f"{type(fusion).__name__} attends to no tokens, so there is no attention to roll out; take the method "
            f"integrated-gradients or occlusion, or one of the fusions {those}"
        )
    assert next(weights, None) is None, f"the path of {type(fusion).__name__} leaves attention out"
    share_bs = share_bs / share_bs.sum(1, keepdim=True).clamp(min=1e-12)
    return dict(zip(fusion.dims, share_bs.split(sizes, dim=1), strict=True))


@torch.no_grad()
def encode(encoder: nn.Module, x: Masked) -> tuple[Masked, Tensor]:
    """The tokens of an encoder, and (B, T, T) how much of each token that entered its self-attention is in each that
    came out: the identity for one without self-attention of this library's kind."""
    with record(encoder) as attentions:
        tokens: Masked = encoder(x)
    share_btt = identity(tokens)
    for a_btt in attentions:
        if a_btt.shape == share_btt.shape:
            share_btt = mix(a_btt, share_btt, share_btt)
    return tokens, share_btt


# --- from tokens to parts ---------------------------------------------------------------------------------


def onto(share_t: Floats, cut: Cut, view: str, codec: Codec, kind: str) -> Floats:
    """(T,) shares of a view's tokens -> (S,) of the parts that they lie on; a token over several is divided evenly.

    Raises InputError where the encoder makes one token of the whole, or tokens of which nobody knows where they lie.
    """
    shares = cut.shares(view, share_t, lambda cell, name: MODALITIES[kind].place(codec, cell, name, len(share_t)))
    if shares is not None:
        return shares
    raise InputError(
        f"the encoder of {view!r} makes {len(share_t)} token{'s' if len(share_t) > 1 else ''} of the cell, not to be "
        "told apart by its parts, so attention says nothing of these; take the method integrated-gradients or occlusion"
    )

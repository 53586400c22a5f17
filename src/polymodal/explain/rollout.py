"""Which tokens a fusion by attention listened to, through all of its layers: attention rollout.

    tokens --layer by layer, R = A R / 2 + R / 2--> how much of each token is in what the head reads

The weights A are the means over heads, and half of each step is the residual connection. Abnar & Zuidema 2020, who roll
out self-attention; here the same rule follows the path of each fusion, from its first queries to its pooled tokens.

Axes: b batch, q query, k key, t token, s token of any modality, one modality after another.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.explain.answers import Floats
from polymodal.fusion.attention import CrossAttention, JointAttention
from polymodal.fusion.base import Fusion
from polymodal.fusion.crossmodal import MulT
from polymodal.fusion.latent import MBT, Perceiver, Recurrent
from polymodal.modalities import MODALITIES
from polymodal.modalities.base import Codec
from polymodal.modalities.places import Grid, Seconds
from polymodal.modalities.segments import Cut, Open
from polymodal.nn import Attention, Pool
from polymodal.ops import masked_mean, masked_softmax, shares, zeroed

FINE = 8  # points along a side of a patch, where attention over a grid is laid on another grid


@torch.no_grad()
def rollout(fusion: Fusion, tokens: Mapping[str, Masked]) -> dict[str, Tensor]:
    """By modality (B, T_m): what share of the fused answer comes from each of its tokens; of a row they sum to 1.

    0 where there is no token, and for a row without any. What a fusion's own tokens bring (class token, latents) is
    left out of the sum. Raises InputError for a fusion that attends to no tokens.
    """
    if (path := PATHS.get(type(fusion))) is None:
        raise InputError(
            f"{type(fusion).__name__} attends to no tokens, so there is no attention to roll out; take the method "
            f"integrated-gradients or occlusion, or one of the fusions {', '.join(c.__name__ for c in PATHS)}"
        )
    with recorded(fusion) as seen:
        fusion(tokens)
    xs = fusion.ordered(tokens)
    sizes = [x.mask.shape[1] for x in xs]
    weights = iter(seen)
    share_bs = path(weights, xs, fusion)
    assert next(weights, None) is None, f"the path of {type(fusion).__name__} leaves attention out"
    share_bs = share_bs / share_bs.sum(1, keepdim=True).clamp(min=1e-12)
    return dict(zip(fusion.dims, share_bs.split(sizes, dim=1), strict=True))


@torch.no_grad()
def encoded(encoder: nn.Module, x: Masked) -> tuple[Masked, Tensor]:
    """The tokens of an encoder, and (B, T, T) how much of each token that entered its self-attention is in each that
    came out: the identity for one without self-attention of this library's kind."""
    with recorded(encoder) as seen:
        tokens: Masked = encoder(x)
    share_btt = identity(tokens)
    for a_btt in seen:
        if a_btt.shape == share_btt.shape:
            share_btt = mixed(a_btt, share_btt, share_btt)
    return tokens, share_btt


def mixed(a_bqk: Tensor, own_bqs: Tensor, context_bks: Tensor) -> Tensor:
    """One residual layer of attention: (own + A context) / 2; a query to which nothing is open stays as it is."""
    heard = a_bqk @ context_bks
    return torch.where(a_bqk.sum(-1, keepdim=True) > 0, (own_bqs + heard) / 2, own_bqs)


@contextmanager
def recorded(module: nn.Module) -> Iterator[list[Tensor]]:
    """The weights of each attention (B, Q, K), means over heads, and of each pool (B, T), in the order of use."""
    seen: list[Tensor] = []

    def attention(part: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(part, Attention)
        query_bqd, context = args
        k_bkd = part.kv(zeroed(context)).chunk(2, dim=-1)[0]
        q, k = (x.unflatten(-1, (part.heads, -1)).transpose(1, 2) for x in (part.q(query_bqd), k_bkd))
        seen.append(shares(q, [k], [context.mask[:, None, None]])[0].mean(1))

    def pool(part: nn.Module, args: tuple[Any, ...]) -> None:
        assert isinstance(part, Pool)
        seen.append(masked_softmax(part.score(zeroed(args[0]))[..., 0], args[0].mask, dim=1))

    found = {Attention: attention, Pool: pool}
    hooks = [m.register_forward_pre_hook(found[type(m)]) for m in module.modules() if type(m) in found]
    try:
        yield seen
    finally:
        for hook in hooks:
            hook.remove()


# --- from tokens to parts ---------------------------------------------------------------------------------


def onto(share_t: Floats, cut: Cut, view: str, codec: Codec, kind: str) -> Floats:
    """(T,) shares of a view's tokens -> (S,) of the parts that they lie on; a token over several is divided evenly.

    Raises InputError where the encoder makes one token of the whole, or tokens of which nobody knows where they lie.
    """
    where, found = cut.where, cut.views[view]
    if isinstance(where, Grid):
        grid = MODALITIES[kind].place(codec, where.cell, where.name, len(share_t))
        if isinstance(grid, Grid) and grid.height * grid.width > 1:
            fine = grid.over(share_t[None], FINE * where.height, FINE * where.width)[0]
            cells = fine.reshape(where.height, FINE, where.width, FINE).sum((1, 3)).reshape(-1)
            return np.asarray(cells / max(float(cells.sum()), 1e-12) * share_t.sum())
    elif isinstance(where, Seconds) and len(share_t) > 1:
        times = MODALITIES[kind].place(codec, where.cell, where.name, len(share_t))
        if isinstance(times, Seconds):
            return np.asarray(share_t @ overlap(times.edges, where.edges))
    elif isinstance(found, Open) and len(share_t) > 1:
        owner = found.owner.cpu().numpy()
        places = len(owner)
        stride = next(s for s in range(1, places + 1) if -(-places // s) <= len(share_t))
        token = np.arange(places) // stride
        if -(-places // stride) == len(share_t):
            even = share_t[token] / np.bincount(token)[token]
            out = np.zeros(cut.parts + 1)
            owner = owner.reshape(places, -1)
            np.add.at(out, owner, even[:, None] / owner.shape[1])
            return out[:-1]
    raise InputError(
        f"the encoder of {view!r} makes {len(share_t)} token{'s' if len(share_t) > 1 else ''} of the cell, not to be "
        "told apart by its parts, so attention says nothing of these; take the method integrated-gradients or occlusion"
    )


def overlap(edges: Sequence[float], parts: Sequence[float]) -> Floats:
    """(T, S): what share of each stretch lies in each part; a stretch beyond all parts belongs to the last.

    >>> overlap([0, 2, 4, 6], [0, 3, 4]).tolist()
    [[1.0, 0.0], [0.5, 0.5], [0.0, 1.0]]
    """
    a, b = np.asarray(edges, dtype=np.float64)[:, None], np.asarray(parts, dtype=np.float64)
    common = (np.minimum(a[1:], b[1:]) - np.maximum(a[:-1], b[:-1])).clip(min=0)
    common[common.sum(1) == 0, -1] = 1
    return np.asarray(common / common.sum(1, keepdims=True))


# --- the path of each fusion: recorded weights, in the order of use -> (B, S) -----------------------------


def identity(x: Masked) -> Tensor:
    """(B, T, T): each token is its own."""
    return torch.eye(x.mask.shape[1], device=x.mask.device).expand(len(x.mask), -1, -1)


def sources(xs: Sequence[Masked]) -> list[Tensor]:
    """For each modality (B, T_m, S): its tokens among those of all."""
    whole = torch.eye(sum(x.mask.shape[1] for x in xs), device=xs[0].mask.device)
    parts = whole.split([x.mask.shape[1] for x in xs])
    return [p.expand(len(xs[0].mask), -1, -1) for p in parts]


def own(xs: Sequence[Masked], tokens: int) -> Tensor:
    """(B, tokens, S): tokens of the fusion's own begin without anything of the modalities."""
    return torch.zeros(len(xs[0].mask), tokens, sum(x.mask.shape[1] for x in xs), device=xs[0].mask.device)


def over_present(rows: Sequence[Tensor], xs: Sequence[Masked]) -> Tensor:
    """(B, S): the mean over the modalities that are present of one row (B, S) each, as the head takes it."""
    here_bm = torch.stack([x.present() for x in xs], dim=1)
    return masked_mean(Masked(torch.stack(list(rows), dim=1), here_bm))


def _joint(seen: Iterator[Tensor], xs: Sequence[Masked], fusion: Fusion) -> Tensor:
    """Self-attention over class token and tokens, layer by layer; of the last one the class token's row."""
    share = torch.cat([own(xs, 1), *sources(xs)], dim=1)
    *layers, last = list(seen)
    for a in layers:
        share = mixed(a, share, share)
    return mixed(last, share[:, :1], share)[:, 0]


def _cross(seen: Iterator[Tensor], xs: Sequence[Masked], fusion: CrossAttention) -> Tensor:
    """Each modality asks all the others, as they were before the layer; then each is pooled."""
    share = sources(xs)
    for _ in range(fusion.layers):
        before = list(share)
        for m, x in enumerate(before):
            others = before[:m] + before[m + 1 :] or before
            share[m] = mixed(next(seen), x, torch.cat(others, dim=1))
    return over_present([torch.einsum("bt,bts->bs", next(seen), x) for x in share], xs)


def _mult(seen: Iterator[Tensor], xs: Sequence[Masked], fusion: MulT) -> Tensor:
    """For each target: a stack of questions to each source, the stacks side by side, self-attention, a pool."""
    start, rows = sources(xs), []
    for m, x in enumerate(start):
        stacks = []
        for source in start[:m] + start[m + 1 :] or start:
            share = x
            for _ in range(fusion.layers):
                share = mixed(next(seen), share, source)
            stacks.append(share)
        wide = torch.stack(stacks).mean(0)
        for _ in range(fusion.layers):
            wide = mixed(next(seen), wide, wide)
        rows.append(torch.einsum("bt,bts->bs", next(seen), wide))
    return over_present(rows, xs)


def _mbt(seen: Iterator[Tensor], xs: Sequence[Masked], fusion: MBT) -> Tensor:
    """Each modality's class token, tokens and the shared ones together; what all wrote into these is averaged."""
    each = [torch.cat([own(xs, 1), x], dim=1) for x in sources(xs)]
    shared = own(xs, fusion.bottleneck)
    for _ in range(fusion.layers):
        wrote = []
        for m, x in enumerate(each):
            both = torch.cat([x, shared], dim=1)
            both = mixed(next(seen), both, both)
            each[m] = both[:, : x.shape[1]]
            wrote.append(both[:, x.shape[1] :].flatten(1))
        shared = over_present(wrote, xs).view_as(shared)
    return over_present([mixed(next(seen), x[:, :1], torch.cat([x, shared], dim=1))[:, 0] for x in each], xs)


def _perceiver(seen: Iterator[Tensor], xs: Sequence[Masked], fusion: Perceiver) -> Tensor:
    """Latents ask all tokens, then each other; the answer is their mean."""
    share, tokens = own(xs, fusion.latents), torch.cat(sources(xs), dim=1)
    for _ in range(fusion.layers):
        share = mixed(next(seen), share, tokens)
        share = mixed(next(seen), share, share)
    return share.mean(1)


def _recurrent(seen: Iterator[Tensor], xs: Sequence[Masked], fusion: Fusion) -> Tensor:
    """A state asks all tokens, stage after stage; the cell is taken to keep half of what it had."""
    share, tokens = own(xs, 1), torch.cat(sources(xs), dim=1)
    for a in seen:
        share = mixed(a, share, tokens)
    return share[:, 0]


PATHS: dict[type[Fusion], Callable[..., Tensor]] = {
    JointAttention: _joint,
    CrossAttention: _cross,
    MulT: _mult,
    MBT: _mbt,
    Perceiver: _perceiver,
    Recurrent: _recurrent,
}

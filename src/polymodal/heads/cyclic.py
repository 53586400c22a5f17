"""One modality -> one target, with the others as teachers: they are read in training and never in prediction.

source --encoder--> tokens --joint encoder--> joint representation --masked mean, linear--> the answer
    --decoder--> each other modality's tokens --joint encoder, decoder--> the source's tokens again

A representation from which the other modalities can be told, and from them the source again, holds what they share.
The encoder and the decoder of translation are one pair for all directions, as in the paper; each modality has its own
way in and out, and its own queries.

b batch, t token, s segment, d width.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn.functional import layer_norm

from polymodal.batch import Losses, Masked
from polymodal.errors import InputError
from polymodal.heads.base import Head, Tokens, encoder_list
from polymodal.heads.fused import for_rows
from polymodal.nn import Block, Named, positions
from polymodal.ops import masked_mean, zeroed
from polymodal.output import Scores
from polymodal.tasks.base import Task


class Cyclic(Head):
    """A head that reads `source` alone, and has learned to translate it to the other modalities and back.

    loss = task loss of the joint representation + translation * sum_m |x_m - G(J(x))|^2 + cycle * sum_m
    |x - G(J(G_m(J(x))))|^2 + sum_m task loss of m's own head, over the modalities m other than the source. J is the
    joint encoder, G the decoder, x the source's segments and x_m those of m (see `segments`), standardised a segment
    at a time and never a way for gradients: a target that could move would become easy. The other encoders learn by
    their own heads. Squares are means over widths and over the segments that are real in rows with source and m both:
    always to say 0 costs 1.

    Pham et al. 2019 (MCTN): J(x) is its joint embedding, G(J(x)) the translation and G(J(G(J(x)))) the way back from
    what was translated, not from the truth. Here otherwise: its recurrent translator, a step at a time, is a
    transformer that writes all segments at once; its recurrent classifier a mean and a linear head; its hierarchy for
    two targets a sum over any number of them. It translates given features, where here tokens are learned: hence the
    targets' own heads, which the paper has not, and which are no part of a prediction.

    dims: width of each modality's tokens, the source among them. steps: segments of each modality. heads, layers: of
    the joint encoder and the decoder, of width `dim`. Raises InputError where there is nothing to translate from or to.
    """

    embeds: ClassVar[bool] = True

    def __init__(
        self, dims: Mapping[str, int], source: str, task: Task, *, dim: int = 64, heads: int = 4, layers: int = 1,
        steps: int = 8, dropout: float = 0.1, translation: float = 0.3, cycle: float = 0.3,
    ) -> None:  # fmt: skip
        super().__init__()
        if source not in dims:
            raise InputError(f"the source of translation, {source!r}, is no modality; it is one of {', '.join(dims)}")
        if len(dims) < 2:
            raise InputError(
                f"there is no modality beside {source!r} to translate it to; add a column, or train without translation"
            )
        self.dims, self.source, self.task = dict(dims), source, task
        self.dim, self.heads, self.layers, self.steps, self.dropout = dim, heads, layers, steps, dropout
        self.translation, self.cycle = translation, cycle
        self.targets = tuple(m for m in dims if m != source)
        self.enter = Named({m: nn.Linear(d, dim) for m, d in dims.items()})
        self.leave = Named({m: nn.Sequential(nn.LayerNorm(dim), nn.Linear(dim, d)) for m, d in dims.items()})
        self.queries = nn.ParameterList([torch.randn(steps, dim) * dim**-0.5 for _ in dims])
        self.encoder = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.decoder = nn.ModuleList(Block(dim, heads, dropout) for _ in range(layers))
        self.out = nn.Sequential(nn.LayerNorm(dim), nn.Dropout(dropout), nn.Linear(dim, task.outputs))
        self.own = Named({m: nn.Linear(dims[m], task.outputs) for m in self.targets})

    def check(self, dims: Mapping[str, int]) -> None:
        """The widths that it was built for."""
        if dict(dims) != self.dims:
            raise InputError(f"the encoders give {dict(dims)} but the translation was built for {self.dims}")

    def reads(self, modalities: Sequence[str]) -> Sequence[str]:
        """The source; `loss` wants them all."""
        return (self.source,)

    def infer(self, tokens: Tokens) -> Scores:
        """From the source; a row without it gets a prior."""
        return Scores(self._answer(self.joint(tokens)))

    def unimodal_names(self) -> Sequence[str]:
        """The targets of translation."""
        return self.targets

    def unimodal(self, tokens: Tokens) -> dict[str, Tensor]:
        """Of the heads by which the encoders of the targets learn."""
        return {m: head(masked_mean(tokens[m])) for m, head in self.own.items()}

    def joint(self, tokens: Tokens) -> Masked:
        """The joint representation."""
        return self._represented(self.source, tokens[self.source])

    def describe(self, encoders: Mapping[str, str]) -> list[str]:
        """From where to where."""
        return [f"{encoder_list(encoders)}; translates {self.source} to the others and back"]

    def loss(self, tokens: Tokens, targets: Mapping[str, Masked]) -> Losses:
        """See the class. The task's part is over labelled rows, the rest over all that have what is translated."""
        (target,) = targets.values()
        joint = self.joint(tokens)
        loss = self.task.loss(self._answer(joint), target)
        there, back = [], []
        for m in self.targets:
            forward, cycle = self._translated(m, joint, tokens)
            there.append(forward)
            back.append(cycle)
        apart = {m: self.task.loss(x, for_rows(target, tokens[m].present())) for m, x in self.unimodal(tokens).items()}
        forward, cycle = torch.stack(there).sum(), torch.stack(back).sum()
        total = loss + self.translation * forward + self.cycle * cycle + torch.stack([*apart.values()]).sum()
        return Losses(total, {"loss": loss, "translation": forward, "cycle": cycle}, apart)

    def _translated(self, m: str, joint: Masked, tokens: Mapping[str, Masked]) -> tuple[Tensor, Tensor]:
        """The error of the translation to m, and of that from the translation back to the source."""
        rows_b = joint.present() & tokens[m].present()
        goal, origin = (self._goal(tokens[k], rows_b) for k in (m, self.source))
        guess_bsd = self._written(m, joint)
        again = self._represented(m, Masked(guess_bsd, goal.mask))
        return _squares(guess_bsd, goal), _squares(self._written(self.source, again), origin)

    def _goal(self, tokens: Masked, rows_b: Tensor) -> Masked:
        """(B, steps, d) segments to be written, in these rows."""
        x = segments(tokens, self.steps)
        return Masked(layer_norm(x.values, x.values.shape[-1:]).detach(), x.mask & rows_b[:, None])

    def _represented(self, m: str, tokens: Masked) -> Masked:
        """(B, T, d_m) tokens of m -> (B, T, dim)."""
        x_btd = self.enter[m](zeroed(tokens))
        x = Masked(x_btd + positions(x_btd.shape[1], self.dim, x_btd), tokens.mask)
        for block in self.encoder:
            x = block(x)
        return x

    def _written(self, m: str, joint: Masked) -> Tensor:
        """(B, steps, d_m): what a representation says of m's segments."""
        query_sd = self.queries[list(self.dims).index(m)]
        x = Masked(query_sd.expand(len(joint.mask), -1, -1), joint.mask.new_ones(len(joint.mask), self.steps))
        for block in self.decoder:
            x = block(x, joint)
        out: Tensor = self.leave[m](x.values)
        return out

    def _answer(self, joint: Masked) -> Tensor:
        logits: Tensor = self.out(masked_mean(joint))
        return logits


def segments(x: Masked, steps: int) -> Masked:
    """(B, T, D) tokens -> (B, steps, D): the means of a row's real tokens, cut in order into segments of like length.

    The r-th of n real tokens, from 0, is in segment floor(r steps / n), or where n < steps in segment r: then the last
    steps - n segments are not real.
    """
    rank_bt, n_b1 = x.mask.cumsum(1) - 1, x.mask.sum(1, keepdim=True)
    place_bt = torch.where(n_b1 < steps, rank_bt, rank_bt * steps // n_b1.clamp(min=1))
    inside_bts = x.mask[..., None] & (place_bt[..., None] == torch.arange(steps, device=x.mask.device))
    count_bs = inside_bts.sum(1)
    total_bsd = inside_bts.transpose(1, 2).to(x.values.dtype) @ zeroed(x)
    return Masked(total_bsd / count_bs.clamp(min=1)[..., None], count_bs > 0)


def _squares(guess_bsd: Tensor, goal: Masked) -> Tensor:
    """The mean squared difference over real segments; 0, with a gradient of 0, where there is none."""
    square_bs = (guess_bsd - goal.values).square().mean(-1)
    return torch.where(goal.mask, square_bs, 0).sum() / goal.mask.sum().clamp(min=1)

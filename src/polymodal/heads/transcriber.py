"""A stream -> the words said in it, in their order: connectionist temporal classification (CTC).

tokens of the stream --two-way GRU--> frames --linear--> (B, S, size + 1) --CTC--> words

Axes: b batch, s frame, d width, v symbol.
"""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from polymodal.batch import Losses, Masked
from polymodal.decoders.base import Decoding
from polymodal.decoders.ctc import CTC, alignment, best_path, ctc_loss, prefix_beam, real_first, too_long
from polymodal.errors import InputError
from polymodal.heads.base import Attended, Head, Shared, Tokens
from polymodal.heads.writer import written_by
from polymodal.ops import masked_mean, zeroed
from polymodal.output import Texts
from polymodal.spec import spec
from polymodal.tasks.generate import Generation

SPACE = "\u2423"  # what vocabularies of characters show for a space


class Transcriber(Head):
    """Frames of one modality, each of which says a symbol or nothing. Graves et al. 2006; the two-way GRU over the
    encoder's tokens is that of Deep Speech 2 (Amodei et al. 2016).

    stream: the modality whose tokens, of width `dim`, are the frames. The mean of each other modality's tokens is added
    to every frame. A text with more symbols than the stream has frames can't be learned from, and is left out of the
    loss: `unlearnable` counts them.

    Raises InputError for a search that frames do not know.
    """

    task: Generation
    bounded: ClassVar[bool] = True
    explains: ClassVar[bool] = True

    def __init__(
        self, stream: str, dim: int, task: Generation, *, layers: int = 1, decoding: Decoding | None = None,
        dropout: float = 0.1,
    ) -> None:  # fmt: skip
        super().__init__()
        self.stream, self.dim, self.task = stream, dim, task
        self.decoding: Decoding = Decoding() if decoding is None else decoding
        known(self.decoding)
        self.layers, self.dropout = layers, dropout
        self.context = nn.GRU(
            dim, dim // 2, layers, batch_first=True, bidirectional=True, dropout=dropout * (layers > 1)
        )
        self.ctc = CTC(dim, task.outputs, dropout)

    def check(self, dims: Mapping[str, int]) -> None:
        """The stream among them, and all of one width."""
        if self.stream not in dims or set(dims.values()) != {self.dim}:
            raise InputError(f"{self.stream!r} must be one of the encoders, and all {self.dim} wide; got {dict(dims)}")

    def infer(self, tokens: Tokens) -> Texts:
        """Transcripts, searched for by `decoding`."""
        return self.write(tokens)

    def write(self, tokens: Tokens, how: Decoding | None = None) -> Texts:
        """Transcripts, by the likeliest path ("greedy") or prefix beam search ("beam"). A row without the stream says
        nothing. Raises InputError for other searches, and for what they do not know (`known`)."""
        how = how or self.decoding
        known(how)
        how.check(self.task.outputs, self.task.longest_)
        x = self.frames(tokens)
        v, logp, most = self.task.vocabulary, self.ctc(x), self.task.longest_ - 1
        most = min(most, how.max_length or most)
        shut = sorted({*v.banned, v.end})
        if how.method == "greedy":
            return best_path(logp, x.mask, v.end, shut, most)
        return prefix_beam(logp, x.mask, v.end, beams=how.beams, captions=how.captions, excluded=shut, most=most)

    def frames(self, tokens: Tokens) -> Masked:
        """(B, S, dim) of the stream, each having heard what is before and after it."""
        x = tokens[self.stream]
        others = [masked_mean(y)[:, None] for m, y in tokens.items() if m != self.stream]
        y = x.values + sum(others) if others else x.values
        if not len(y):
            return Masked(y, x.mask)
        order = real_first(x.mask)[..., None]  # gaps and padding alike come last, and the GRU never sees them
        run = pack_padded_sequence(
            zeroed(Masked(y, x.mask)).take_along_dim(order, 1),
            x.mask.sum(1).clamp(min=1).cpu(),
            batch_first=True,
            enforce_sorted=False,
        )
        out, _ = pad_packed_sequence(self.context(run)[0], batch_first=True, total_length=x.mask.shape[1])
        out = out.take_along_dim(order.argsort(1), 1)
        return Masked(zeroed(Masked(out + y, x.mask)), x.mask)

    def loss(self, tokens: Tokens, targets: Mapping[str, Masked]) -> Losses:
        """CTC loss of every reference a symbol; `short` counts texts that have more symbols than frames."""
        rows, symbols = self._symbols(targets)
        x = self.frames(tokens)
        result = ctc_loss(self.ctc(x)[rows], x.mask[rows], symbols)
        return Losses(result.loss, {"loss": result.loss, "short": result.short})

    def unlearnable(self, tokens: Tokens, targets: Mapping[str, Masked]) -> int:
        """Those with more symbols than their stream has frames; a row that lacks its stream is not counted."""
        rows, symbols = self._symbols(targets)
        return int(too_long(tokens[self.stream].mask[rows], symbols).sum())

    @torch.no_grad()
    def attend(self, tokens: Tokens, how: Decoding | None = None) -> Attended:
        """The transcript of the one row, and the frames of each word by forced alignment.

        The log-probability of a word is that of its symbols at their frames; that of the end, of nothing at all others.
        """
        vocabulary = self.task.vocabulary
        ids = self.write(tokens, how).best[0].tolist()
        frames = self.frames(tokens)
        logp_sv = self.ctc(frames)[0][frames.mask[0]].double().cpu()
        ids = ids[: ids.index(vocabulary.end)] if vocabulary.end in ids else ids
        spans = alignment(logp_sv, ids).tolist()
        symbols = vocabulary.tokens(ids)
        words, logprob, rows, heard_at = [], [], [], np.zeros(len(logp_sv), dtype=bool)
        for _, group in groupby(range(len(ids)), key=lambda i: i if SPACE not in symbols else symbols[:i].count(SPACE)):
            at = [i for i in group if symbols[i] != SPACE]
            if at:
                words.append("".join(symbols[i] for i in at))
                logprob.append(sum(float(logp_sv[spans[i][0] : spans[i][1] + 1, ids[i]].sum()) for i in at))
                row = np.zeros(len(logp_sv))
                row[spans[at[0]][0] : spans[at[-1]][1] + 1] = 1
                heard_at |= row > 0
                rows.append(row / row.sum())
        silence = float(logp_sv[torch.from_numpy(~heard_at), -1].sum())
        maps = {self.stream: np.stack(rows) if rows else np.zeros((0, len(logp_sv)))} if len(logp_sv) else {}
        return Attended(vocabulary.text(ids), words, np.array([*logprob, silence]), maps, np.zeros(len(words)))

    def shared(self, modalities: Sequence[str]) -> dict[str, Shared]:
        """The layers behind the encoders, for the same words."""
        words = spec(self.task.vocabulary)
        return {"the layers over frames": Shared(self.context, words), "the output layer": Shared(self.ctc, words)}

    def describe(self, encoders: Mapping[str, str]) -> list[str]:
        """The words and the search."""
        return written_by(type(self).__name__, list(encoders), self.task, self.decoding)

    def _symbols(self, targets: Mapping[str, Masked]) -> tuple[Tensor, Masked]:
        """Every reference: its row (N,), and its symbols (N, L), the mark of the end not among the real ones."""
        (target,) = targets.values()
        rows, words = self.task.captions(target)
        return rows, Masked(words.values, words.mask & (words.values != self.task.vocabulary.end))


def known(how: Decoding) -> None:
    """Raises InputError for a search that frames can't be read by, or an option that such a search does not know."""
    if how.method not in ("greedy", "beam"):
        raise InputError(f"a model with a CTC head writes by greedy or beam search, not by {how.method}")
    plain = Decoding()
    if wrong := [k for k in UNKNOWN if getattr(how, k) != getattr(plain, k)]:
        options = ", ".join(f"{k.replace('_', '-')} {getattr(how, k)!r}" for k in wrong)
        raise InputError(
            f"a model with a CTC head does not know {options}; leave that out: its search takes beams, captions and "
            "max-length"
        )


UNKNOWN = (  # options of `Decoding` that are about words one after another, or about drawing them
    "length_penalty",
    "no_repeat",
    "min_length",
    "groups",
    "diversity",
    "top_k",
    "top_p",
    "temperature",
)

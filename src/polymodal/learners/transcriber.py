"""A stream -> the words said in it, in their order: connectionist temporal classification (CTC).

tokens of the stream --two-way GRU--> frames --linear--> (B, S, size + 1) --CTC--> words

Axes: b batch, s frame, d width, v symbol.
"""

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from polymodal.batch import Batch, Losses, Masked
from polymodal.decoders.base import Decoding
from polymodal.decoders.ctc import CTC, best_path, ctc_loss, prefix_beam, real_first, too_long
from polymodal.errors import InputError
from polymodal.learners.base import Generator
from polymodal.modalities.audio.voices import Voices
from polymodal.modalities.base import Encoder
from polymodal.nn import Named
from polymodal.ops import masked_mean, zeroed
from polymodal.output import Texts
from polymodal.tasks.generate import Generation


class Transcriber(Generator):
    """Frames of one modality, each of which says a symbol or nothing. Graves et al. 2006; the two-way GRU over the
    encoder's tokens is that of Deep Speech 2 (Amodei et al. 2016).

    stream: the modality whose tokens are the frames. The mean of each other modality's tokens is added to every
    frame. A text with more symbols than the stream has frames can't be learned from, and is left out of the loss:
    `short` counts them. voices: varies the stream's raw values in training where they are log-mel frames, so that a new
    speaker is no stranger; None for every other stream.

    Raises InputError where the parts do not fit together, or for a search that frames do not know.
    """

    def __init__(
        self,
        encoders: Mapping[str, Encoder],
        stream: str,
        task: Generation,
        *,
        layers: int = 1,
        decoding: Decoding | None = None,
        dropout: float = 0.1,
        voices: Voices | None = None,
    ) -> None:
        super().__init__()
        dims = {m: e.dim for m, e in encoders.items()}
        if stream not in dims or len(set(dims.values())) > 1:
            raise InputError(f"{stream!r} must be one of the encoders, and all of one width; got {dims}")
        self.encoders, self.stream, self.task = Named(encoders), stream, task
        self.decoding = Decoding() if decoding is None else decoding
        known(self.decoding)
        self.layers, self.dropout, self.voices = layers, dropout, voices
        dim = dims[stream]
        self.context = nn.GRU(
            dim, dim // 2, layers, batch_first=True, bidirectional=True, dropout=dropout * (layers > 1)
        )
        self.ctc = CTC(dim, task.outputs, dropout)

    @property
    def reads(self) -> Sequence[str]:
        """The modalities that it has encoders for."""
        return self.encoders.names

    def frames(self, inputs: Mapping[str, Masked]) -> Masked:
        """(B, S, dim) of the stream, each having heard what is before and after it."""
        return self._heard(self._tokens(inputs))

    def loss(self, batch: Batch) -> Losses:
        """CTC loss of every reference a symbol; `short` counts texts that have more symbols than frames."""
        rows, symbols = self._symbols(batch)
        inputs = dict(batch.inputs)
        if self.voices is not None:
            inputs[self.stream] = self.voices(inputs[self.stream])
        x = self.frames(inputs)
        found = ctc_loss(self.ctc(x)[rows], x.mask[rows], symbols)
        return Losses(found.loss, {"loss": found.loss, "short": found.short})

    @torch.no_grad()
    def short(self, batch: Batch) -> int:
        """How many references have more symbols than their stream has frames, and so are not learned from.

        Recordings are taken as they are, without another voice; a row that lacks its stream is not counted.
        """
        rows, symbols = self._symbols(batch)
        mask = self.encoders[self.stream](batch.inputs[self.stream]).mask
        return int(too_long(mask[rows], symbols).sum())

    def write(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Texts:
        """Transcripts, by the likeliest path ("greedy") or prefix beam search ("beam"). A row without the stream says
        nothing. Raises InputError for other searches, and for what they do not know (`known`)."""
        return self._written(self.frames(inputs), how or self.decoding)

    def recombine(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Texts]:
        """The encoders look once; each row that is put together is written anew."""
        tokens = self._tokens(inputs)

        def answer(at: Mapping[str, Tensor]) -> Texts:
            frames = self._heard({m: t.take(at[m].to(t.mask.device)) for m, t in tokens.items()})
            return self._written(frames, self.decoding)

        return answer

    def _written(self, x: Masked, how: Decoding) -> Texts:
        known(how)
        how.check(self.task.outputs, self.task.longest_)
        v, logp, most = self.task.vocabulary, self.ctc(x), self.task.longest_ - 1
        most = min(most, how.max_length or most)
        banned = sorted({*v.banned, v.end})
        if how.method == "greedy":
            return best_path(logp, x.mask, v.end, banned, most)
        return prefix_beam(logp, x.mask, v.end, beams=how.beams, captions=how.captions, banned=banned, most=most)

    def _symbols(self, batch: Batch) -> tuple[Tensor, Masked]:
        """Every reference: its row (N,), and its symbols (N, L), the mark of the end not among the real ones."""
        (target,) = batch.targets.values()
        rows, words = self.task.captions(target)
        return rows, Masked(words.values, words.mask & (words.values != self.task.vocabulary.end))

    def _tokens(self, inputs: Mapping[str, Masked]) -> dict[str, Masked]:
        return {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}

    def _heard(self, tokens: Mapping[str, Masked]) -> Masked:
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


def known(how: Decoding) -> None:
    """Raises InputError for a search that frames can't be read by, or an option that such a search does not know."""
    if how.method not in ("greedy", "beam"):
        raise InputError(f"a model with a CTC head writes by greedy or beam search, not by {how.method}")
    plain = Decoding()
    if wrong := [k for k in UNKNOWN if getattr(how, k) != getattr(plain, k)]:
        given = ", ".join(f"{k.replace('_', '-')} {getattr(how, k)!r}" for k in wrong)
        raise InputError(
            f"a model with a CTC head does not know {given}; leave that out: its search takes beams, captions and "
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

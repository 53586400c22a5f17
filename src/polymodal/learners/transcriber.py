"""A stream -> the words said in it, in their order: connectionist temporal classification (CTC).

tokens of the stream --two-way GRU--> frames --linear--> (B, S, size + 1) --CTC--> words

Axes: b batch, s frame, d width, v symbol.
"""

from collections.abc import Callable, Mapping, Sequence

from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from polymodal.batch import Batch, Losses, Masked
from polymodal.decoders.base import Decoding, Written
from polymodal.decoders.ctc import CTC, best_path, ctc_loss, prefix_beam
from polymodal.errors import InputError
from polymodal.learners.base import Generator
from polymodal.modalities.base import Encoder
from polymodal.modalities.voices import varied
from polymodal.nn import Named
from polymodal.ops import masked_mean, zeroed
from polymodal.tasks.generate import Generation


class Transcriber(Generator):
    """Frames of one modality, each of which says a symbol or nothing. Graves et al. 2006; the two-way GRU over the
    encoder's tokens is that of Deep Speech 2 (Amodei et al. 2016).

    stream: the modality whose tokens are the frames. The mean of each other modality's tokens is added to every
    frame. A text with more symbols than the stream has frames can't be learned from, and is left out of the loss. In
    training spectrograms are varied (`modalities.voices`), so that a new speaker is no stranger.
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
    ) -> None:
        super().__init__()
        dims = {m: e.dim for m, e in encoders.items()}
        if stream not in dims or len(set(dims.values())) > 1:
            raise InputError(f"{stream!r} must be one of the encoders, and all of one width; got {dims}")
        self.encoders, self.stream, self.task = Named(encoders), stream, task
        self.decoding = Decoding() if decoding is None else decoding
        self.layers, self.dropout = layers, dropout
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
        (target,) = batch.targets.values()
        rows, words = self.task.captions(target)
        symbols = Masked(words.values, words.mask & (words.values != self.task.vocabulary.end))
        inputs = dict(batch.inputs)
        if self.training and inputs[self.stream].values.ndim == 3:
            inputs[self.stream] = varied(inputs[self.stream])
        x = self.frames(inputs)
        found = ctc_loss(self.ctc(x)[rows], x.mask[rows], symbols)
        return Losses(found.loss, {"loss": found.loss, "short": found.short})

    def write(self, inputs: Mapping[str, Masked], how: Decoding | None = None) -> Written:
        """Transcripts, by the likeliest path ("greedy") or prefix beam search ("beam"). A row without the stream says
        nothing. Raises InputError for other searches."""
        return self._written(self.frames(inputs), how or self.decoding)

    def mixer(self, inputs: Mapping[str, Masked]) -> Callable[[Mapping[str, Tensor]], Tensor]:
        """The encoders look once; each row that is put together is written anew."""
        tokens = self._tokens(inputs)

        def mix(at: Mapping[str, Tensor]) -> Tensor:
            frames = self._heard({m: t.take(at[m].to(t.mask.device)) for m, t in tokens.items()})
            return self.task.filled(self._written(frames, self.decoding).ids[:, 0])

        return mix

    def _written(self, x: Masked, how: Decoding) -> Written:
        how.check(self.task.outputs)
        if how.method not in ("greedy", "beam"):
            raise InputError(f"a model with a CTC head writes by greedy or beam search, not by {how.method}")
        v, logp = self.task.vocabulary, self.ctc(x)
        banned = sorted({*v.banned, v.end})
        if how.method == "greedy":
            found = best_path(logp, x.mask, v.end, banned)
        else:
            found = prefix_beam(logp, x.mask, v.end, beams=how.beams, captions=how.captions, banned=banned)
        return Written(found.ids[..., : self.task.longest_], found.logprob)

    def _tokens(self, inputs: Mapping[str, Masked]) -> dict[str, Masked]:
        return {m: encoder(inputs[m]) for m, encoder in self.encoders.items()}

    def _heard(self, tokens: Mapping[str, Masked]) -> Masked:
        x = tokens[self.stream]
        others = [masked_mean(y)[:, None] for m, y in tokens.items() if m != self.stream]
        y = x.values + sum(others) if others else x.values
        lengths = x.mask.sum(1)  # the real frames come first
        run = pack_padded_sequence(
            zeroed(Masked(y, x.mask)), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        out, _ = pad_packed_sequence(self.context(run)[0], batch_first=True, total_length=x.mask.shape[1])
        return Masked(zeroed(Masked(out + y, x.mask)), x.mask)

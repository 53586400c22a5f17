"""The transcriber: its frames under the law of `Masked`, what is varied, what is too long, how it writes."""

import math

import numpy as np
import pytest
import torch

from polymodal.batch import Batch, Masked
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError
from polymodal.folder import classes
from polymodal.heads.transcriber import UNKNOWN, Transcriber
from polymodal.learners.encoders import Encoders
from polymodal.learners.network import Network
from polymodal.modalities.audio.codec import LogMel
from polymodal.modalities.audio.encoders import AudioConv, AudioTransformer
from polymodal.modalities.audio.voices import Voices
from polymodal.modalities.base import Encoder
from polymodal.modalities.series.codec import Readings
from polymodal.modalities.series.encoders import TCN, SeriesTransformer
from polymodal.modalities.vector import Projection
from polymodal.nn import Size
from polymodal.objectives.writing import Writing
from polymodal.spec import build, spec
from polymodal.tasks import Generation
from polymodal.tasks.vocabulary import CharacterList, WordList

SIZE = Size(dim=16, layers=1, heads=2, side=32, tokens=32)
TEXTS = ["no go", "go", "no", "go go no"]
GAPS = torch.tensor(  # nothing missing, a gap inside, the first ones missing, both and padding, one frame, none
    [
        [True] * 7,
        [True, True, False, False, True, True, True],
        [False, False, False, True, True, True, True],
        [False, True, False, True, False, True, False],
        [False, False, False, False, False, True, False],
        [False] * 7,
    ]
)


def task_of(vocabulary=None) -> Generation:
    return Generation(vocabulary or WordList(min_count=1)).fit(TEXTS)


def learner_of(stream, *, other=False, dropout=0.0, **settings) -> Network:
    torch.manual_seed(0)
    encoders = {"sound": stream} | ({"photo": Projection(width=5, dim=16)} if other else {})
    return Network(Encoders(encoders), Transcriber("sound", 16, task_of(), dropout=dropout, **settings))


def frames(learner: Network, inputs) -> Masked:
    return learner.head.frames(learner.tokens(inputs))


def labelled(task, inputs, labels) -> Batch:
    return Batch(inputs, {"target": task.collate([task.encode(c) for c in labels])})


class Raw(Encoder):
    """Values as tokens, whatever stands under the mask."""

    dim = 16

    @classmethod
    def for_codec(cls, codec, size):
        return cls()

    def forward(self, x: Masked) -> Masked:
        return Masked(x.values.repeat(1, 1, 8)[..., :16], x.mask)


def stream(kind: str):
    """An encoder, and its values and mask (6, 7, ...) with gaps."""
    g = torch.Generator().manual_seed(1)
    torch.manual_seed(0)
    if kind in ("vectors", "raw"):
        return Raw() if kind == "raw" else Projection(width=3, dim=16), Masked(torch.randn(6, 7, 3, generator=g), GAPS)
    mask = GAPS[..., None].repeat(1, 1, 2)
    mask[0, 2, 1] = mask[1, 0, 0] = False  # one channel of two
    series = {"tcn": TCN, "transformer": SeriesTransformer}[kind](2, 16, stride=2 if kind == "tcn" else 1)
    return series, Masked(torch.randn(6, 7, 2, generator=g), mask)


def photo() -> Masked:
    g = torch.Generator().manual_seed(2)
    return Masked(torch.randn(6, 2, 5, generator=g), torch.tensor([[True, False]] * 5 + [[False, False]]))


@pytest.mark.parametrize("kind", ["vectors", "raw", "tcn", "transformer"])
def test_what_is_masked_never_matters_wherever_the_gaps_are(kind):
    encoder, x = stream(kind)
    learner = learner_of(encoder, other=True).eval()
    found = []
    for junk in (0.0, math.nan, 1e30):
        values = torch.where(x.mask.reshape(*x.mask.shape, *[1] * (3 - x.mask.ndim)), x.values, junk).requires_grad_()
        image = photo()
        image = Masked(torch.where(image.mask[..., None], image.values, junk), image.mask)
        inputs = {"sound": Masked(values, x.mask), "photo": image}
        batch = labelled(learner.task, inputs, ["no go", "go", "no", "no go", None, "go"])
        learner.zero_grad()
        loss = learner.loss(batch).total
        loss.backward()
        grads = [p.grad.clone() for p in learner.parameters() if p.grad is not None]
        found.append([loss.detach(), values.grad, frames(learner, inputs).values.detach(), *grads])
    for other in found[1:]:
        assert all(torch.equal(a, b) and b.isfinite().all() for a, b in zip(found[0], other, strict=True))
    assert found[0][0] > 0


@pytest.mark.parametrize("kind", ["vectors", "tcn", "transformer"])
def test_a_row_alone_is_the_row_in_a_batch(kind):
    encoder, x = stream(kind)
    learner = learner_of(encoder, other=True).eval()
    inputs = {"sound": x, "photo": photo()}
    whole = frames(learner, inputs)
    written = learner.write(inputs)
    for b in range(6):
        one = {m: y.take(torch.tensor([b])) for m, y in inputs.items()}
        alone = frames(learner, one)
        assert torch.allclose(alone.values[0], whole.values[b], atol=1e-5) and torch.equal(alone.mask[0], whole.mask[b])
        assert torch.allclose(learner.write(one).logprob[0], written.logprob[b], atol=1e-4)


def test_frames_between_real_ones_are_as_good_as_not_there():
    encoder, x = stream("vectors")
    learner = learner_of(encoder).eval()
    whole = frames(learner, {"sound": x})
    for b in range(5):
        real = x.mask[b]
        alone = frames(learner, {"sound": Masked(x.values[b : b + 1, real], real[None, real])})
        assert torch.allclose(alone.values[0], whole.values[b, real], atol=1e-6)
        assert not whole.values[b, ~real].any()
    assert torch.equal(whole.mask, GAPS) and not whole.values[5].any()


def test_every_frame_hears_what_is_before_and_after_it_across_a_gap():
    encoder, x = stream("vectors")
    learner = learner_of(encoder).eval()
    for first, last in ((1, 4), (4, 1)):
        values = x.values.clone().requires_grad_()
        frames(learner, {"sound": Masked(values, x.mask)}).values[1, last].sum().backward()
        assert values.grad[1, first].any() and not values.grad[1, 2:4].any()


def test_no_rows_are_no_transcripts():
    encoder, x = stream("vectors")
    learner = learner_of(encoder).eval()
    none = {"sound": x.take(torch.tensor([], dtype=torch.int64))}
    assert learner.infer(none).ids.shape[:2] == (0, 1)


# --- what is varied -----------------------------------------------------------------------------------


def frames_of(rows: int = 2) -> Masked:
    g = torch.Generator().manual_seed(3)
    return Masked(torch.randn(rows, 64, 8, generator=g).half(), torch.ones(rows, 64, dtype=torch.bool))


def made(kind: str, encoder) -> Network:
    learner = Writing().build("ctc", {"sound": kind}, lambda: {"sound": encoder}, task_of(), SIZE)
    assert isinstance(learner, Network) and isinstance(learner.head, Transcriber)
    return learner


@pytest.mark.parametrize("encoder", [AudioConv, AudioTransformer])
def test_spectrograms_are_varied_in_training_alone(encoder):
    learner = made("audio", encoder.for_codec(LogMel(mels=8), SIZE))
    assert isinstance(learner.encoders.variation["sound"], Voices)
    for module in learner.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    for block in learner.modules():
        if hasattr(block, "dropout"):
            block.dropout = 0.0
    batch = labelled(learner.task, {"sound": frames_of()}, ["no go", "go"])
    loud = {learner.loss(batch).total.item() for _ in range(3)}
    learner.eval()
    assert len(loud) == 3 and len({learner.loss(batch).total.item() for _ in range(3)}) == 1
    learner.encoders.variation["sound"].strength = 0.0
    calm = learner.loss(batch).total.item()
    learner.train()
    assert learner.loss(batch).total.item() == pytest.approx(calm, abs=1e-4)


@pytest.mark.parametrize("kind", ["audio", "series"])
def test_frozen_features_and_series_are_not_varied(kind):
    cells = [np.array([[0.1 * i, np.nan if i % 3 == 1 else i] for i in range(n)]) for n in (12, 9)]
    codec = Readings().fit(cells, SIZE)
    if kind == "series":
        learner, x = made("series", TCN.for_codec(codec, SIZE)), codec.collate([codec.encode(c) for c in cells])
        assert x.mask.ndim == 3 and not x.mask.all()
    else:
        learner, x = made("audio", Projection(width=8, dim=16, dropout=0.0)), frames_of()
    assert not learner.encoders.variation.names
    learner.head.ctc.out[0].p = 0.0
    batch = labelled(learner.task, {"sound": x}, ["no go", "go"])
    loss = learner.loss(batch).total
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())
    if kind == "audio":
        assert learner.eval().loss(batch).total.item() == pytest.approx(loss.item(), abs=1e-6)


def test_a_learner_with_voices_is_written_down_and_read_back():
    torch.manual_seed(0)
    codec = LogMel(mels=8)
    encoders = Encoders({"sound": AudioConv.for_codec(codec, SIZE)}, {"sound": Voices(0.5)})
    learner = Network(encoders, Transcriber("sound", 16, task_of()))
    again = build(spec(learner), classes())
    assert again.encoders.variation["sound"].strength == 0.5 and spec(again) == spec(learner)
    again.load_state_dict(learner.state_dict())


def test_gaps_in_a_spectrogram_are_left_out_before_it_is_varied():
    x = frames_of(1)
    gapped = Masked(torch.full((1, 100, 8), math.nan), torch.zeros(1, 100, dtype=torch.bool))
    at = torch.arange(64) + torch.arange(64) // 2
    gapped.values[:, at], gapped.mask[:, at] = x.values.float(), True
    found = []
    for one in (Masked(x.values.float(), x.mask), gapped):
        torch.manual_seed(5)
        found.append(Voices()(one))
    assert torch.equal(found[0].values, found[1].values) and torch.equal(found[0].mask, found[1].mask)


def test_strength_is_how_much_is_varied():
    x = Masked(frames_of().values.float(), frames_of().mask)
    still = Voices(0.0)(x)
    assert torch.allclose(still.values, x.values, atol=1e-5) and torch.equal(still.mask, x.mask)
    lengths = {s: [int(Voices(s)(x).mask.sum(1)[0]) for _ in range(60)] for s in (0.25, 1.0)}
    assert 1 < np.ptp(lengths[0.25]) <= 0.1 * 64 + 1 < np.ptp(lengths[1.0]) <= 0.4 * 64 + 1


def test_what_can_not_be_varied_is_told():
    with pytest.raises(InputError, match=r"strength can't be 5; it must be from 0 to 4"):
        Voices(5)
    x = Masked(torch.zeros(2, 7, 3), torch.ones(2, 7, 3, dtype=torch.bool))
    with pytest.raises(
        InputError, match=r"got values \(2, 7, 3\) and a mask \(2, 7, 3\); leave it out for anything but"
    ):
        Voices()(x)


# --- what is too long ---------------------------------------------------------------------------------


def test_texts_with_more_symbols_than_frames_are_counted():
    encoder, x = stream("vectors")
    learner = learner_of(encoder)
    labels = [["go", "go go no"], "no go", None, ["go go no", "no"], ["no go", "go", "go go no"], "go"]
    batch = labelled(learner.task, {"sound": x}, labels)
    # "go go no" needs 4 frames of 3, then 2 and 4 frames of 1; the last row has no sound at all
    assert learner.unlearnable(batch) == 3 == int(learner.loss(batch).parts["short"])
    assert learner.unlearnable(labelled(learner.task, {"sound": x}, [None] * 6)) == 0


def test_frames_are_those_of_the_encoder():
    learner = made("audio", AudioConv.for_codec(LogMel(mels=8), SIZE))  # a frame each 80 ms
    x = Masked(torch.zeros(2, 24, 8), torch.arange(24) < torch.tensor([24, 25])[:, None])
    assert learner.unlearnable(labelled(learner.task, {"sound": x}, ["go go no", "no go"])) == 1


# --- how it writes ------------------------------------------------------------------------------------

OTHERS = {
    "length_penalty": 0.5,
    "no_repeat": 2,
    "min_length": 3,
    "groups": 3,
    "diversity": 1.0,
    "top_k": 5,
    "top_p": 0.5,
    "temperature": 2.0,
}


def test_every_option_is_known_or_refused():
    plain = Decoding()
    known = {"method", "beams", "captions", "max_length", "seed"}
    assert known | set(UNKNOWN) == set(vars(plain)) and set(OTHERS) == set(UNKNOWN)


@pytest.mark.parametrize("name", UNKNOWN)
def test_options_that_frames_do_not_know_are_named(name):
    encoder, x = stream("vectors")
    how = Decoding(**{name: OTHERS[name]})
    said = rf"a CTC head does not know {name.replace('_', '-')} {OTHERS[name]}; leave that out"
    with pytest.raises(InputError, match=said):
        learner_of(encoder).write({"sound": x}, how)
    with pytest.raises(InputError, match=said):
        learner_of(encoder, decoding=how)


def test_several_unknown_options_and_searches_are_named():
    encoder, x = stream("vectors")
    with pytest.raises(InputError, match="does not know no-repeat 2, min-length 1; leave that out"):
        learner_of(encoder).write({"sound": x}, Decoding(min_length=1, no_repeat=2))
    for method in ("sample", "diverse"):
        with pytest.raises(InputError, match=f"CTC head writes by greedy or beam search, not by {method}"):
            learner_of(encoder).write({"sound": x}, Decoding(method))


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_a_transcript_is_as_short_as_was_asked_for(method):
    learner = learner_of(Projection(width=3, dim=16)).eval()
    torch.nn.init.normal_(learner.head.ctc.out[1].weight, std=3.0)  # frames differ: long texts
    x = Masked(torch.randn(6, 30, 3), torch.ones(6, 30, dtype=torch.bool))
    longest = learner.task.longest_ - 1
    counts = {}
    for most in (1, 2, 99, 0):
        ids = learner.write({"sound": x}, Decoding(method, max_length=most)).ids[:, 0]
        counts[most] = int((ids != learner.task.vocabulary.end).sum(1).max())
    assert counts == {1: 1, 2: 2, 99: longest, 0: longest} and longest == 3


def test_captions_of_a_row_differ_and_the_best_comes_first():
    encoder, x = stream("vectors")
    found = learner_of(encoder).eval().write({"sound": x}, Decoding(beams=4, captions=3))
    assert found.ids.shape[:2] == (6, 3) and (found.logprob[:5].diff(dim=1) <= 0).all()
    assert all(len({tuple(t) for t in row}) == 3 for row in found.ids[:5].tolist())
    assert found.logprob[5].tolist() == [0.0, -math.inf, -math.inf]  # without a frame nothing is said, and surely


@pytest.mark.parametrize("kind", [WordList(min_count=1), CharacterList()])
def test_each_word_of_a_transcript_is_heard_at_frames_of_its_own(kind):
    torch.manual_seed(0)
    task = task_of(kind)
    encoders = Encoders({"sound": Projection(width=3, dim=16, dropout=0.0)})
    learner = Network(encoders, Transcriber("sound", 16, task, dropout=0.0))
    mask = (torch.arange(16) >= 2) & (torch.arange(16) < 14)  # the first frames are missing
    sound = Masked(torch.randn(1, 16, 3), mask[None])
    batch = labelled(task, {"sound": sound}, ["no go"])
    optimizer = torch.optim.Adam(learner.parameters(), 0.05)
    for _ in range(40):
        optimizer.zero_grad()
        learner.loss(batch).total.backward()
        optimizer.step()
    found = learner.attend(batch.inputs)
    assert (found.text, found.words) == ("no go", ["no", "go"])
    first, second = (row.nonzero()[0] for row in found.maps["sound"])
    assert first.max() < second.min() and found.maps["sound"].shape == (2, 12)
    assert np.allclose(found.maps["sound"].sum(1), 1) and (found.logprob <= 0).all() and len(found.logprob) == 3
    nothing = learner.attend({"sound": sound.hidden()})
    assert (nothing.text, nothing.words, nothing.maps) == ("", [], {})

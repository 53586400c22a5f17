"""Learners that write text, under the law of `Masked`, and what each promises of its own."""

import copy
import math
from functools import partial

import numpy as np
import pytest
import torch

from polymodal import decoders
from polymodal.batch import Batch, Masked
from polymodal.decoders import DECODERS
from polymodal.decoders.base import Decoding
from polymodal.errors import InputError
from polymodal.heads.transcriber import Transcriber
from polymodal.heads.writer import Writer, with_begin, with_end
from polymodal.learners.encoders import Encoders
from polymodal.learners.network import Network
from polymodal.learners.self_critical import self_critical
from polymodal.modalities.vector import Projection
from polymodal.nn import Size
from polymodal.sentences import Cider
from polymodal.tasks import Generation
from polymodal.tasks.vocabulary import WordList

SIZE = Size(dim=16, layers=1, heads=2, side=32, tokens=32)
TEXTS = ["a red dog", "a blue cat", "one dog", "the cat is blue", "a dog"]
NAMES = [*DECODERS, "ctc"]


def made(name: str, **settings) -> Network:
    torch.manual_seed(0)
    task = Generation(WordList(min_count=1), smoothing=0.0).fit(TEXTS)
    encoders = Encoders({"photo": Projection(width=5, dim=16), "sound": Projection(width=3, dim=16)})
    if name == "ctc":
        return Network(encoders, Transcriber("sound", 16, task))
    return Network(encoders, Writer(encoders.names, decoders.make(name, 16, task.outputs, SIZE), task, **settings))


def batch_of(task, rows=5, seed=0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    photo = torch.arange(4)[None] < torch.tensor([4, 2, 0, 3, 1])[:, None]
    sound = torch.arange(9)[None] < torch.tensor([9, 0, 8, 9, 7])[:, None]
    inputs = {
        "photo": Masked(torch.randn(5, 4, 5, generator=g), photo),
        "sound": Masked(torch.randn(5, 9, 3, generator=g), sound),
    }
    labels = [TEXTS[0], [TEXTS[1], TEXTS[2]], TEXTS[3], None, TEXTS[4]]
    return Batch(inputs, {"target": task.collate([task.encode(c) for c in labels])}).take(torch.arange(rows))


def spoilt(batch: Batch) -> Batch:
    """The same batch, with NaN wherever nothing is real."""
    nan = {m: Masked(torch.where(x.mask[..., None], x.values, math.nan), x.mask) for m, x in batch.inputs.items()}
    return Batch(nan, {k: Masked(torch.where(x.mask, x.values, 99), x.mask) for k, x in batch.targets.items()})


@pytest.mark.parametrize("name", NAMES)
def test_what_is_masked_never_matters(name):
    learner = made(name).eval()
    batch = batch_of(learner.task)
    loss = learner.loss(batch).total
    other = learner.loss(spoilt(batch)).total
    assert torch.equal(loss, other)
    other.backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())
    assert torch.equal(learner.infer(batch.inputs).ids, learner.infer(spoilt(batch).inputs).ids)


@pytest.mark.parametrize("name", NAMES)
def test_rows_never_see_each_other(name):
    learner = made(name).eval()
    batch = batch_of(learner.task)
    whole = learner.write(batch.inputs)
    for i in range(batch.rows):
        alone = learner.write(batch.take(torch.tensor([i])).inputs)
        length = alone.ids.shape[2]
        assert torch.equal(alone.ids[0], whole.ids[i, :, :length])
        assert torch.allclose(alone.logprob[0], whole.logprob[i], atol=1e-4)


@pytest.mark.parametrize("name", NAMES)
def test_no_text_holds_what_is_banned_or_too_long(name):
    learner = made(name).eval()
    v = learner.task.vocabulary
    for how in (Decoding("greedy"), Decoding("beam", beams=4, captions=3)):
        ids = learner.write(batch_of(learner.task).inputs, how).ids
        assert ids.shape[2] <= learner.task.longest_
        assert not torch.isin(ids, torch.tensor(v.banned)).any()
        assert all("<" not in text for n in range(ids.shape[1]) for text in learner.task.written(ids[:, n]))
    assert learner.infer(batch_of(learner.task).inputs).ids.shape[:2] == (5, 1)


@pytest.mark.parametrize("name", NAMES)
def test_it_learns_a_text_by_heart_and_writes_it(name):
    learner = made(name)
    batch = batch_of(learner.task).take(torch.tensor([0, 3, 2]))  # a row without a text among them
    optimizer = torch.optim.Adam(learner.parameters(), 0.01)
    for _ in range(80):
        optimizer.zero_grad()
        learner.loss(batch).total.backward()
        optimizer.step()
    learner.eval()
    said = learner.task.written(learner.infer(batch.inputs).best)
    assert (said[0], said[2]) == (TEXTS[0], TEXTS[3])


@pytest.mark.parametrize("name", NAMES)
def test_every_parameter_learns(name):
    learner = made(name)
    batch = batch_of(learner.task)
    learner.loss(batch).total.backward()
    dead = [n for n, p in learner.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize("name", NAMES)
def test_recombined_rows_are_written_as_rows_are(name):
    learner = made(name).eval()
    batch = batch_of(learner.task)
    at = torch.tensor([3, 0, 0])
    mixed = learner.recombine(batch.inputs)({"photo": at, "sound": at})
    assert torch.equal(mixed.ids, learner.infer(batch.take(at).inputs).ids)


@pytest.mark.parametrize("name", NAMES)
def test_a_batch_without_any_label_has_no_loss(name):
    learner = made(name)
    batch = batch_of(learner.task)
    found = learner.loss(Batch(batch.inputs, {"target": batch.targets["target"].hidden()})).total
    found.backward()
    assert found.item() == 0


def test_the_loss_is_the_mean_over_the_words_of_all_references():
    learner = made("gru").eval()
    learner.head.decoder.balance = 0.0
    batch = batch_of(learner.task).take(torch.tensor([1]))
    task, memory = learner.task, learner.head.memory(learner.tokens(batch.inputs)).tokens
    total, count = 0.0, 0
    for text in (TEXTS[1], TEXTS[2]):
        ids = [*task.vocabulary.ids(text), task.vocabulary.end]
        state, word = learner.head.decoder.start(memory), task.vocabulary.begin
        for nxt in ids:
            hidden, state = learner.head.decoder.step(state, torch.tensor([word]))
            total -= learner.head.decoder.logits(hidden).log_softmax(-1)[0, nxt].item()
            count, word = count + 1, nxt
    assert learner.loss(batch).total.item() == pytest.approx(total / count, abs=1e-5)


def test_a_word_looks_at_modalities_that_are_there_alone():
    learner = made("gru").eval()
    batch = batch_of(learner.task)
    memory = learner.head.memory(learner.tokens(batch.inputs))
    assert memory.spans == {"photo": (1, 5), "sound": (5, 14)} and memory.tokens.mask[:, 0].all()
    _, words = learner.task.captions(batch.targets["target"].take(torch.tensor([0])))
    state = learner.head.decoder.start(memory.tokens).take(torch.tensor([2]))
    share = learner.head.decoder.attention(state, with_begin(words, learner.task.vocabulary.begin))[0]
    assert share[:, 1:5].abs().sum() == 0 and torch.allclose(share.sum(1), torch.ones(len(share)))


def test_scheduled_sampling_replaces_words_by_the_models_own():
    learner = made("gru", sampling=1.0)
    learner.head.progress = 0.5
    batch = batch_of(learner.task)
    rows, words = learner.task.captions(batch.targets["target"])
    state = learner.head.decoder.start(learner.head.memory(learner.tokens(batch.inputs)).tokens).take(rows)
    given = with_begin(words, learner.task.vocabulary.begin)
    mixed = learner.head._mixed(state, given)
    assert torch.equal(mixed.values[:, 0], given.values[:, 0])
    assert not torch.equal(mixed.values[:, 1:], given.values[:, 1:])
    learner.head.progress = 0.0
    assert torch.equal(learner.head._mixed(state, given).values, given.values)  # nothing, before anything is known


class Dogs:
    """A reward that every draw says something about: how many dogs a caption has."""

    def reward(self, candidates, references):
        assert len(candidates) == len(references) and all(references)
        return np.array([float(text.split().count("dog")) for text in candidates])


def rewarded(learner: Network, reward) -> Network:
    learner.criterion = partial(self_critical, head=learner.head, reward=reward)
    return learner


def critical(reward):
    learner = rewarded(made("gru"), reward)
    return learner, batch_of(learner.task).take(torch.tensor([0, 3, 2, 4]))  # a row without a text among them


def test_self_critical_training_raises_the_reward():
    learner, batch = critical(Dogs())

    def dogs() -> int:
        learner.eval()
        said = learner.task.written(learner.infer(batch.inputs).best)
        learner.train()
        return sum(text.split().count("dog") for text in said)

    before, optimizer = dogs(), torch.optim.Adam(learner.parameters(), 0.02)
    for _ in range(30):
        optimizer.zero_grad()
        learner.loss(batch).total.backward()
        optimizer.step()
    assert before == 0 and dogs() >= 3


def test_a_caption_that_is_no_better_than_the_others_of_its_row_teaches_nothing():
    class Same:
        def reward(self, candidates, references):
            return np.array([float(len("".join(r))) for r in references])  # another one for each row

    learner, batch = critical(Same())
    loss = learner.loss(batch).total
    loss.backward()
    assert loss.item() == 0 and not any(p.grad is not None and p.grad.any() for p in learner.parameters())


def test_the_end_that_was_written_counts_and_the_filling_does_not():
    words = with_end(torch.tensor([[5, 6, 1, 1], [1, 1, 1, 1], [5, 6, 7, 8]]), end=1)
    assert words.mask.sum(1).tolist() == [3, 1, 4]


def test_errors_name_the_way_out():
    learner = made("gru")
    short = copy.deepcopy(learner.task)
    short.vocabulary.words_ = short.vocabulary.words_[:-2]
    with pytest.raises(InputError, match="the vocabulary was cut or exchanged"):
        Writer(["photo"], learner.head.decoder, short)
    with pytest.raises(InputError, match="the decoder reads tokens of width 16"):
        Network(Encoders({"photo": Projection(width=5, dim=8)}), Writer(["photo"], learner.head.decoder, learner.task))
    inputs = batch_of(learner.task).inputs
    with pytest.raises(InputError, match="beams can't be 0; it must be from 1 to the size of the vocabulary"):
        learner.write(inputs, Decoding(beams=0))
    with pytest.raises(InputError, match="beams can't be 999"):
        learner.write(inputs, Decoding(beams=999))
    with pytest.raises(InputError, match="3 captions can't come of 2 beams"):
        learner.write(inputs, Decoding(beams=2, captions=3))


@pytest.mark.parametrize("settings", [{"sampling": 1.0}, {}])
def test_what_is_written_on_the_way_takes_no_gradient_away_in_mixed_precision(settings):
    learner = made("gru", **settings)
    batch = batch_of(learner.task).take(torch.tensor([0, 2, 4]))
    if not settings:
        reward = Cider(learner.task.texts(batch.targets["target"]))
        reward.reward = lambda texts, references: np.random.default_rng(len("".join(texts))).random(len(texts))
        rewarded(learner, reward)
    with torch.autocast("cpu", torch.bfloat16):
        loss = learner.loss(batch).total
    loss.backward()
    dead = [n for n, p in learner.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead

"""The task whose target is a text: references of any form, in any script, and what they become."""

import json
import math

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from polymodal.batch import Masked
from polymodal.errors import InputError
from polymodal.output import Scores, Texts, cat
from polymodal.spec import build, spec, table
from polymodal.tasks import Generation
from polymodal.tasks.generate import references
from polymodal.tasks.vocabulary import VOCABULARIES, CharacterList, WordList

CLASSES = table([Generation], VOCABULARIES.values())
CELLS = ["a dog runs", ["a cat sits", "one cat"], '["a dog", "the dog runs"]', None, {"x": "a cat", "y": None}, "  "]


def task_of(cells=CELLS, **settings) -> Generation:
    return Generation(WordList(min_count=1), **settings).fit(cells)


@pytest.mark.parametrize(
    "cell, texts",
    [
        ("a dog", ["a dog"]),
        ("[laughs]", ["[laughs]"]),
        ('["a", " ", "b"]', ["a", "b"]),
        ({"one": "a", "two": ["b", None], "three": math.nan}, ["a", "b"]),
        (3, ["3"]),
        (np.array(["a", "b"], dtype=object), ["a", "b"]),
        (None, []),
        ("\0 \n", []),
        ("cafe\u0301", ["caf\u00e9"]),  # NFC
    ],
)
def test_references_of_a_cell(cell, texts):
    assert references(cell) == texts


def test_targets_carry_every_reference_as_text():
    task = task_of()
    target = task.collate([task.encode(c) for c in CELLS])
    assert task.texts(target) == [
        ["a dog runs"], ["a cat sits", "one cat"], ["a dog", "the dog runs"], [], ["a cat"], [],
    ]  # fmt: skip
    assert target.present().tolist() == [True, True, True, False, True, False]
    hurt = Masked(torch.where(target.mask, target.values, 7), target.mask)
    assert task.texts(hurt) == task.texts(target)  # what stands under a False never matters


def test_captions_are_ids_with_an_end():
    task = task_of()
    rows, words = task.captions(task.collate([task.encode(c) for c in CELLS]))
    assert rows.tolist() == [0, 1, 1, 2, 2, 4]
    assert task.written(words.values) == ["a dog runs", "a cat sits", "one cat", "a dog", "the dog runs", "a cat"]
    assert words.mask.sum(1).tolist() == [4, 4, 3, 3, 4, 3] and task.longest_ == 4


def test_long_texts_are_cut_and_counted():
    task = task_of(["a dog runs", "word " * 10_000], limit=5)
    assert task.cut_ == 1 and task.longest_ == 6
    target = task.collate([task.encode("word " * 10_000), task.encode("a dog runs")])
    assert target.values.shape[2] <= 5 * 64
    assert task.captions(target)[1].mask.sum(1).tolist() == [6, 4]


def said_of(task: Generation, ids: torch.Tensor) -> Texts:
    """Ids (B, T) as the only text of each row."""
    return Texts(ids[:, None], torch.zeros(len(ids), 1), task.vocabulary.end)


@pytest.mark.parametrize(
    "text", ["नमस्ते दुनिया", "一只狗在跑", "สุนัขวิ่ง", "שלום עולם", "مرحبا بالعالم", "👍🏽 ok 👩‍👩‍👧", "ǅ ﬁ x² ½"]
)
@pytest.mark.parametrize("kind", [*VOCABULARIES])
def test_any_script_comes_back_whole(text, kind):
    task = Generation(VOCABULARIES[kind]()).fit([text] * 3)
    _, words = task.captions(task.collate([task.encode(text)]))
    (said,) = task.written(words.values)
    assert said.casefold() == references(text)[0].casefold()
    assert (
        float(task.scores(said_of(task, words.values), task.collate([task.encode(text)]), np.ones((1, 1)))["cer"][0])
        == 0
    )


def test_the_loss_is_smoothed_cross_entropy_over_real_words():
    task = task_of(smoothing=0.2)
    g = torch.Generator().manual_seed(0)
    logits = torch.randn(5, task.outputs, generator=g, requires_grad=True)
    target = Masked(torch.tensor([3, 4, 1, 2, 5]), torch.tensor([True, True, False, True, False]))
    keep = [0, 1, 3]
    expected = sum(
        0.8 * cross_entropy(logits[i], target.values[i]) - 0.2 * logits[i].log_softmax(-1).mean() for i in keep
    ) / len(keep)
    loss = task.loss(logits, target)
    assert torch.allclose(loss, expected)
    none = task.loss(logits, target.hidden())
    none.backward()
    assert none.item() == 0 and not logits.grad.any()


def test_scores_leave_rows_without_a_text_out():
    task = task_of()
    target = task.collate([task.encode(c) for c in CELLS])
    said = said_of(task, torch.tensor([[*task.vocabulary.ids("a dog"), 1]] * len(CELLS)))
    every = task.scores(said, target, np.ones((2, len(CELLS))))
    assert {*"bleu_1 bleu_4 meteor_exact_stem rouge_l cider_d chrf wer cer novelty".split()} <= set(every)
    assert every["exact_match"].tolist() == [0.25, 0.25]  # row 2 alone, of four with a text
    weights = np.array([[0, 0, 1, 9, 0, 9]])
    assert task.scores(said, target, weights)["exact_match"].tolist() == [1.0]
    assert every["novelty"].tolist() == [0.0, 0.0]


def test_columns_are_the_texts_with_their_log_probabilities():
    task = task_of()
    (one, two), end = (task.vocabulary.ids(t) for t in ("a dog", "dog")), task.vocabulary.end
    found = Texts(torch.tensor([[[*one, end], [*two, end, end]]]), torch.tensor([[-1.0, -2.5]]), end)
    assert task.decode(found) == {
        "prediction": ["a dog"], "log_probability": [-1.0], "prediction_2": ["dog"], "log_probability_2": [-2.5],
    }  # fmt: skip
    with pytest.raises(TypeError, match="texts were expected and Scores came"):
        task.decode(Scores(torch.zeros(1, 2)))


def test_texts_of_unlike_lengths_are_joined_by_more_ends():
    a, b = (Texts(torch.full((2, 1, t), t), torch.full((2, 1), -float(t)), 9) for t in (1, 3))
    both = cat([a, b])
    assert both.ids[:, 0].tolist() == [[1, 9, 9]] * 2 + [[3, 3, 3]] * 2 and both.logprob[:, 0].tolist() == [
        -1,
        -1,
        -3,
        -3,
    ]
    assert both.take(torch.tensor([2])).ids.tolist() == b.take(torch.tensor([0])).ids.tolist()


def test_a_task_comes_back_from_its_specification():
    task = task_of(measure="wer", limit=9)
    again = build(json.loads(json.dumps(spec(task))), CLASSES)
    assert spec(again) == spec(task) and again.metric == ("wer", False)
    target = task.collate([task.encode(c) for c in CELLS])
    assert torch.equal(again.captions(target)[1].values, task.captions(target)[1].values)


def test_errors_name_the_way_out():
    with pytest.raises(InputError, match="none of the 2 rows has a text in the target"):
        task_of([None, " "])
    with pytest.raises(InputError, match=r"has no metric 'bleu'; did you mean 'bleu_4'\? It is one of cider_d, bleu_4"):
        Generation().by("bleu")
    with pytest.raises(InputError, match="estimators on features can't write text"):
        task_of().answers(Masked(torch.zeros(1), torch.ones(1, dtype=torch.bool)))


def test_characters_write_words_never_seen():
    task = Generation(CharacterList()).fit(["abc de"] * 3)
    _, words = task.captions(task.collate([task.encode("bed ca")]))
    assert task.written(words.values) == ["bed ca"]

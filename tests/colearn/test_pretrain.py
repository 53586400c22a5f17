"""Pretraining's questions against loops over rows, what is absent, and that they can be learned."""

import math

import pytest
import torch
from torch.nn.functional import binary_cross_entropy_with_logits

from polymodal.batch import Batch, Masked
from polymodal.colearn.pretrain import Pretraining
from polymodal.fusion import Concat
from polymodal.heads.pretraining import KINDS, Matching, info_nce, questions, swap
from polymodal.learners.encoders import Encoders
from polymodal.modalities.vector.encoders import Projection
from polymodal.ops import masked_mean


def test_info_nce_is_the_loop_over_rows_that_have_both():
    g = torch.Generator().manual_seed(0)
    x, y = (torch.randn(7, 5, generator=g) for _ in range(2))
    here = torch.tensor([True, True, False, True, True, False, True])
    x[2], y[5] = float("nan"), float("inf")  # of rows that lack one
    scale = torch.tensor(math.log(4.0))
    found = info_nce(x, y, here, scale)
    rows = here.nonzero()[:, 0].tolist()

    def cosine(a, b):
        return float(a @ b / (a.norm() * b.norm()))

    for b in rows:
        one = math.log(sum(math.exp(4 * cosine(x[b], y[k])) for k in rows)) - 4 * cosine(x[b], y[b])
        two = math.log(sum(math.exp(4 * cosine(x[k], y[b])) for k in rows)) - 4 * cosine(x[b], y[b])
        assert found.loss[b].item() == pytest.approx((one + two) / 2, rel=1e-4)
        best = max(rows, key=lambda k: cosine(x[b], y[k])) == b, max(rows, key=lambda k: cosine(x[k], y[b])) == b
        assert found.right[b].item() == sum(best) / 2
    assert found.asked.tolist() == here.tolist() and found.loss.isfinite().all()


def test_a_row_that_is_alone_is_asked_nothing():
    x = torch.randn(3, 4)
    assert not info_nce(x, x, torch.tensor([False, True, False]), torch.tensor(0.0)).asked.any()


def test_the_scale_has_a_limit():
    x = torch.eye(4)
    here = torch.ones(4, dtype=torch.bool)
    assert torch.equal(info_nce(x, x, here, torch.tensor(9.0)).loss, info_nce(x, x, here, torch.tensor(99.0)).loss)


def test_swapped_rows_get_another_s_and_others_their_own():
    here = torch.tensor([True, False, True, True, False])
    for chance in (True, False):
        index, moved = swap(here, chance)
        assert moved.tolist() == here.tolist()
        assert all((i != k) == h for k, (i, h) in enumerate(zip(index.tolist(), here.tolist(), strict=True)))
        assert sorted(index.tolist()) == [0, 1, 2, 3, 4]
    index, moved = swap(torch.tensor([False, True]), True)
    assert index.tolist() == [0, 1] and not moved.any()


def made(kind):
    encoders = Encoders({m: Projection(4, 8, dropout=0.0) for m in "abc"})
    return Pretraining(encoders, questions(kind, Concat(encoders.dims, 8), 8))


def judged(learner, data):
    """(B, 2) of each row its loss and the share of right answers, NaN where it is asked nothing."""
    loss, right, asked = learner.questions.judged(learner.encoders(data))
    return torch.stack([torch.where(asked, x, torch.nan) for x in (loss, right)], dim=1)


def rows(n=6, seed=0, masks=None):
    g = torch.Generator().manual_seed(seed)
    return {
        m: Masked(torch.randn(n, 1, 4, generator=g), torch.tensor(masks[m])[:, None] if masks else torch.ones(n, 1) > 0)
        for m in "abc"
    }


MASKS = {
    "a": [True, True, False, True, True, False],
    "b": [True, False, True, True, True, False],
    "c": [False, False, True, True, False, True],
}


@pytest.mark.parametrize("kind", KINDS)
def test_rows_with_one_modality_are_left_out_and_what_is_absent_never_matters(kind):
    torch.manual_seed(0)
    learner = made(kind).eval()
    data = rows(masks=MASKS)
    there = judged(learner, data)
    assert there[[1, 5]].isnan().all() and (there[[0, 2, 3, 4], 0] > 0).all()
    for m, x in data.items():
        x.values[~x.mask] = float("nan") if m == "a" else 1e30
    again = judged(learner, data)
    assert torch.equal(there.nan_to_num(-1), again.nan_to_num(-1)) and again[[0, 2, 3, 4]].isfinite().all()
    loss = learner.train().loss(Batch(data, {})).total
    loss.backward()
    assert loss.isfinite() and all(p.grad is None or p.grad.isfinite().all() for p in learner.parameters())


@torch.no_grad()
def test_matching_is_the_mean_of_both_answers():
    torch.manual_seed(0)
    learner = made("matching").eval()
    asking, data = learner.questions, rows(masks=MASKS)
    assert isinstance(asking, Matching)
    tokens = learner.encoders(data)

    def logit(parts):
        return asking.out(masked_mean(asking.fusion(parts)))[:, 0]

    several = [i for i in range(6) if sum(MASKS[m][i] for m in "abc") > 1]
    losses = {i: [] for i in several}
    for m in "abc":
        ring = [i for i in several if MASKS[m][i]]
        for i, of in zip(ring, ring[-1:] + ring[:-1], strict=True):
            index = torch.arange(6)
            index[i] = of
            false = logit({**tokens, m: tokens[m].take(index)})[i]
            pair = torch.stack([logit(tokens)[i], false])
            losses[i].append(float(binary_cross_entropy_with_logits(pair, torch.tensor([1.0, 0.0]))))
    found = judged(learner, data)[:, 0]
    for i, each in losses.items():
        assert found[i].item() == pytest.approx(sum(each) / len(each), rel=1e-5)


def test_what_is_hidden_is_not_seen_by_what_guesses_it():
    torch.manual_seed(0)
    learner = made("masked").eval()
    seen = []
    learner.questions.fusion.register_forward_pre_hook(
        lambda _, args: seen.append({m: x.mask.any().item() for m, x in args[0].items()})
    )
    judged(learner, rows())
    assert seen == [{m: m != hidden for m in "abc"} for hidden in "abc"]


@pytest.mark.parametrize("kind", KINDS)
def test_modalities_that_say_the_same_teach_each_other(kind):
    torch.manual_seed(0)
    learner = made(kind).train()
    steps = torch.optim.Adam(learner.parameters(), 0.01)
    hidden = torch.randn(16, 1, 4)
    turn = {m: torch.linalg.qr(torch.randn(4, 4))[0] for m in "abc"}
    data = {m: Masked(hidden @ turn[m], torch.ones(16, 1, dtype=torch.bool)) for m in "abc"}
    for _ in range(120):
        loss = learner.loss(Batch(data, {})).total
        steps.zero_grad()
        loss.backward()
        steps.step()
    after = judged(learner.eval(), data)[:, 1].mean()
    assert after > (0.8 if kind == "matching" else 0.6), after


@pytest.mark.parametrize("kind", KINDS)
@torch.no_grad()
def test_the_loss_is_the_mean_over_rows_that_are_asked(kind):
    learner, data = made(kind).eval(), rows(masks=MASKS)
    each, parts = judged(learner, data), learner.loss(Batch(data, {})).parts
    assert int(parts["asked"]) == int((~each[:, 0].isnan()).sum()) == 4
    assert parts["objective"].item() == pytest.approx(each[:, 0].nanmean().item(), rel=1e-5)
    assert parts["right"].item() == pytest.approx(each[:, 1].nanmean().item(), rel=1e-5)

"""One-line bugs, each of which a test must see: `python tests/mutants.py [word ...]`, about three minutes.

Every law is proven by breaking the code once. Each mutant is one replacement in a copy of the source, never
in the tree itself; its tests must then fail. A mutant that survives, or whose text is gone from the source,
is an error. Words choose the mutants whose file or law holds one of them.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parent.parent


class Mutant(NamedTuple):
    """A bug: where `old` stands, `new` is written, and these tests must turn red."""

    law: str
    file: str  # below src/polymodal
    old: str
    new: str
    tests: str  # arguments of pytest


FUSION, OPS, REF = (
    "tests/contract/test_fusion.py",
    "tests/reference/test_ops.py",
    "tests/reference/test_fusion.py",
)
FORMULAS, HEADS = "tests/reference/test_fusion_formulas.py", "tests/reference/test_fusion_heads.py"
TASKS, METRICS = "tests/contract/test_tasks.py", "tests/reference/test_metrics.py"
ABLE, INTERVALS = "tests/contract/test_capabilities.py", "tests/reference/test_intervals.py"
LEARNERS, AUTO = "tests/reference/test_learners.py", "tests/end_to_end/test_auto.py"
CHRONOLOGY = "tests/reference/test_chronology.py"
COMPARE, SIGNIFICANCE = "tests/end_to_end/test_compare.py", "tests/reference/test_significance.py"
SENTENCES, GENERATE = "tests/reference/test_sentences.py", "tests/contract/test_generate.py"
TRANSLATOR, TRANSLATION = "tests/contract/test_translator.py", "tests/end_to_end/test_translation.py"
SEARCH, CTC_TESTS = "tests/reference/test_search.py", "tests/reference/test_ctc.py"
TARGET = "tests/end_to_end/test_target.py"
INFORMATION = "tests/reference/test_information.py"
DTW = "tests/alignment/test_dtw.py"

MUTANTS = [
    Mutant(
        "what is best at its own threshold is chosen",
        "experiment/search.py",
        "seen = [decider.judged(t) for t in trials]",
        "seen = list(trials)",
        f"{TARGET} -k its_own_threshold",
    ),
    Mutant(
        "the model decides at the threshold that was chosen",
        "tasks/classify.py",
        "log_odds(self.thresholds_)[0] if self.thresholds_ else 0.0",
        "0.0",
        f"{TARGET} -k 'chosen_kept and features'",
    ),
    Mutant(
        "the threshold is that of calibrated probabilities",
        "experiment/decide.py",
        "-tuned.log_odds / temperature",
        "-tuned.log_odds * temperature",
        "tests/uncertainty/test_threshold.py -k calibrated",
    ),
    Mutant(
        "a threshold that helps only the rows that chose it is dropped",
        "uncertainty/threshold.py",
        "if not (after > before and k > 1):",
        "if False:",
        "tests/uncertainty/test_threshold.py -k noise",
    ),
    Mutant(
        "balanced labels weigh alike in all",
        "tasks/classify.py",
        '"balanced": 1.0',
        '"balanced": 0.0',
        f"{TARGET} -k 'found_more_often and features'",
    ),
    Mutant(
        "each label has weights of its own",
        "learners/estimators.py",
        "v[:, k]",
        "v[:, 0]",
        f"{LEARNERS} -k weights_of_its_own",
    ),
    Mutant(
        "a row of weight two is two rows, in the loss",
        "tasks/classify.py",
        "    if target.weight is not None:\n        loss_b = loss_b",
        "    if False:\n        loss_b = loss_b",
        f"{TASKS} -k weight_two",
    ),
    Mutant(
        "a row of weight two is two rows, in scores",
        "tasks/classify.py",
        "return counts if target.weight is None else counts * numpy(target.weight)",
        "return counts",
        f"{TASKS} -k weight_two",
    ),
    Mutant(
        "weights have mean one over training rows",
        "experiment/problem.py",
        "if rows.weights is None else float(",
        "if True else float(",
        f"{TARGET} -k other_units",
    ),
    Mutant(
        "the metric that is asked for chooses",
        "objectives/__init__.py",
        "objective.task = target.of(objective.task)",
        "target.of(objective.task)",
        f"{TARGET} -k chooses_estimators",
    ),
    Mutant(
        "mask with where, not with *",
        "ops.py",
        "return torch.where(widen(x.mask, x.values.ndim), x.values, x.values.new_zeros(()))",
        "return x.values * widen(x.mask, x.values.ndim)",
        f"{FUSION} -k never_matter",
    ),
    Mutant(
        "values are zeroed before they are attended to",
        "ops.py",
        "torch.where(keep, k_bhkd, zero), torch.where(keep, v_bhkd, zero)",
        "torch.where(keep, k_bhkd, zero), v_bhkd",
        f"{OPS} -k attend",
    ),
    Mutant(
        "the mean divides by what is real",
        "ops.py",
        "widen(x.mask.sum(1).clamp(min=1), x.values.ndim - 1)",
        "x.mask.shape[1]",
        f"{OPS} {FUSION} -k 'masked_mean or padding'",
    ),
    Mutant(
        "nothing present is finite",
        "ops.py",
        "x.mask.sum(1).clamp(min=1)",
        "x.mask.sum(1)",
        f"{FUSION} {OPS} -k 'finite or masked_mean'",
    ),
    Mutant(
        "the gradient of an absent voter is finite",
        "ops.py",
        "torch.where(w > 0, torch.where(w > 0, w, 1.0).log(), -torch.inf)",
        "w.log()",
        f"{FUSION} {OPS} -k 'gradient or mixture'",
    ),
    Mutant(
        "the average is of answers, not of logits",
        "ops.py",
        "(log_w + logit_bmc.log_softmax(-1)).logsumexp(1)",
        "(w * logit_bmc).sum(1)",
        f"{OPS} -k mixture",
    ),
    Mutant(
        "an absent modality is (1, 0 ... 0)",
        "ops.py",
        "torch.cat([x_bd.new_ones(x_bd.shape[0], 1), x_bd], dim=1)",
        "torch.cat([x_bd.any(1, keepdim=True).to(x_bd), x_bd], dim=1)",
        f"{OPS} {FUSION} -k others",
    ),
    Mutant(
        "each pair of modalities once",
        "ops.py",
        "torch.cat(list(xs[m + 1 :]), dim=1)[:, None]",
        "torch.cat(list(xs[len(xs) - 1 : m : -1]), dim=1)[:, None]",
        f"{OPS} {REF} -k pair",
    ),
    Mutant(
        "an absent modality is the zero vector, not the bias",
        "fusion/pooled.py",
        "return torch.where(x.present()[:, None], y, y.new_zeros(()))",
        "return y",
        f"{FUSION} -k others",
    ),
    Mutant(
        "every parameter is registered",
        "fusion/tensor.py",
        "self.factors = nn.ParameterList(torch.randn(rank, dim, d) * d**-0.5 for d in dims.values())",
        "self.factors = [torch.randn(rank, dim, d, dtype=torch.double) * d**-0.5 for d in dims.values()]",
        f"{FUSION} -k registered",
    ),
    Mutant(
        "the low-rank factors multiply",
        "ops.py",
        "out = out * linear(x, factor.flatten(0, 1), constant.flatten())",
        "out = out + linear(x, factor.flatten(0, 1), constant.flatten())",
        f"{OPS} -k low_rank",
    ),
    Mutant(
        "concat sees who is absent",
        "fusion/pooled.py",
        "presence(inputs).to(vectors[0].dtype)], dim=1)",
        "torch.ones_like(presence(inputs)).to(vectors[0].dtype)], dim=1)",
        f"{REF} -k absent",
    ),
    Mutant(
        "modalities are addressed by name",
        "fusion/base.py",
        "return [inputs[m] for m in self.dims]",
        "return list(inputs.values())",
        f"{FUSION} -k key_order",
    ),
    Mutant(
        "a row without any modality is masked",
        "fusion/base.py",
        "presence(inputs).any(1, keepdim=True)",
        "presence(inputs).any(1, keepdim=True) | True",
        f"{FUSION} -k 'finite or shape'",
    ),
    Mutant(
        "rows never see each other",
        "fusion/attention.py",
        "return one_token(self.norm(y)[:, 0], xs)",
        "return one_token(self.norm(y - y.mean(0))[:, 0], xs)",
        f"{FUSION} -k independent",
    ),
    Mutant(
        "every modality counts",
        "fusion/attention.py",
        "others = states[:i] + states[i + 1 :] or states",
        "others = states[:1]",
        f"{FUSION} -k 'learns or spec or counts'",
    ),
    Mutant(
        "late weights are renormalised over what is there",
        "fusion/late.py",
        "w_bm = masked_softmax(self.score_m.expand_as(voters_bm), voters_bm, dim=1)",
        "w_bm = self.score_m.expand_as(voters_bm).softmax(1)",
        f"{FUSION} -k renormalises",
    ),
    Mutant(
        "the majority wins",
        "fusion/late.py",
        "(vote_bmc * voters_bm[..., None]).sum(1) + soft_bc",
        "(vote_bmc * voters_bm[..., None]).sum(1) * 0.1 + soft_bc",
        f"{REF} -k majority",
    ),
    Mutant(
        "an absent modality is left out of a product",
        "ops.py",
        "torch.where(widen(present_bm[:, m], x.ndim), x, 1.0)",
        "torch.where(widen(present_bm[:, m], x.ndim), x, 0.0)",
        f"{OPS} {FUSION} -k 'product_of_present or others'",
    ),
    Mutant(
        "a sketch has signs",
        "ops.py",
        "index_add(1, h_d, x_bd * s_d)",
        "index_add(1, h_d, x_bd)",
        f"{OPS} -k sketch",
    ),
    Mutant(
        "the convolution is circular",
        "ops.py",
        "torch.fft.irfft(out, n=xs[0].shape[1])",
        "torch.fft.irfft(out, n=xs[0].shape[1] + 1)[:, :-1]",
        f"{OPS} -k sketches",
    ),
    Mutant(
        "the constant of a sketch is the unit of convolution",
        "fusion/products.py",
        "h[0], s[0] = 0, 1",
        "h[0], s[0] = 1, 1",
        f"{FUSION} -k others",
    ),
    Mutant(
        "each window is summed on its own",
        "fusion/products.py",
        "unflatten(1, (-1, self.window))",
        "unflatten(1, (self.window, -1)).transpose(1, 2)",
        f"{FORMULAS} -k mfb",
    ),
    Mutant(
        "nobody modulates itself",
        "fusion/exchange.py",
        "torch.cat(vectors[:m] + vectors[m + 1 :], dim=1)",
        "torch.cat(vectors[1:], dim=1)",
        f"{FORMULAS} -k film",
    ),
    Mutant(
        "the squeeze sees who is absent",
        "fusion/exchange.py",
        "join([masked_mean(x) for x in values], xs)",
        "join([masked_mean(x) for x in values], [*xs[1:], xs[0]])",
        f"{FORMULAS} -k mmtm",
    ),
    Mutant(
        "what is exchanged is of the others that are present",
        "fusion/exchange.py",
        "real_bmd = zeroed(Masked(x_bmd, here_bm))",
        "real_bmd = x_bmd",
        f"{FORMULAS} -k exchange",
    ),
    Mutant(
        "channels that matter stay",
        "fusion/exchange.py",
        "self.own_md & (scale_md.abs() < self.threshold)",
        "self.own_md & (scale_md < self.threshold)",
        f"{FORMULAS} -k cen_is",
    ),
    Mutant(
        "sparsity is asked of one part only",
        "fusion/exchange.py",
        "torch.where(self.own_md, scale_smd.abs(), 0)",
        "scale_smd.abs()",
        f"{FORMULAS} {HEADS} -k 'cen_is or penalty'",
    ),
    Mutant(
        "absent modalities write nothing into the bottleneck",
        "fusion/latent.py",
        "masked_mean(Masked(written_bmld, here_bm))",
        "written_bmld.mean(1)",
        f"{FORMULAS} -k mbt",
    ),
    Mutant(
        "latents are masked where nothing is present",
        "fusion/latent.py",
        "presence(xs).any(1, keepdim=True).expand(-1, self.latents)",
        "x.mask",
        f"{FUSION} -k 'shape or finite'",
    ),
    Mutant(
        "the state asks",
        "fusion/latent.py",
        "(self.query + h_bd)[:, None]",
        "(self.query + 0 * h_bd)[:, None]",
        f"{FORMULAS} -k recurrent",
    ),
    Mutant(
        "sources are in the order of the stacks",
        "fusion/crossmodal.py",
        "tokens[:m] + tokens[m + 1 :] or tokens",
        "tokens[m + 1 :] + tokens[:m] or tokens",
        f"{FORMULAS} -k mult",
    ),
    Mutant(
        "answers multiply, and are not added",
        "ops.py",
        "(weight_bmc * logit_bmc.log_softmax(-1)).sum(1).log_softmax(-1)",
        "(weight_bmc * logit_bmc.softmax(-1)).sum(1).log()",
        f"{OPS} {HEADS} -k 'agreement or product'",
    ),
    Mutant(
        "only who is present can be the surest",
        "ops.py",
        "return torch.where(mask_bm[..., None], x_bmc, low).amax(1)",
        "return x_bmc.amax(1)",
        f"{OPS} {FUSION} -k 'surest or renormalises'",
    ),
    Mutant(
        "answers are stacked, not logits",
        "fusion/hybrid.py",
        "logit_bc.log_softmax(-1) if self.link",
        "logit_bc if self.link",
        f"{HEADS} -k stacking",
    ),
    Mutant(
        "absent modalities have no say in the hybrid",
        "fusion/hybrid.py",
        "torch.cat([here_bm.any(1, keepdim=True), here_bm], dim=1)",
        "torch.cat([here_bm.any(1, keepdim=True), here_bm | True], dim=1)",
        f"{HEADS} {FUSION} -k 'hybrid or renormalises'",
    ),
    Mutant(
        "every head is trained",
        "heads/fused.py",
        "for x in answers]",
        "for x in answers[:1]]",
        f"{HEADS} -k trained",
    ),
    Mutant(
        "a head is not blamed for rows that it can't read",
        "heads/fused.py",
        "target.mask & widen(rows, target.mask.ndim)",
        "target.mask",
        f"{HEADS} -k 'trained or label'",
    ),
    Mutant(
        "the penalty is part of the loss",
        "heads/fused.py",
        "return Losses(loss + penalty,",
        "return Losses(loss,",
        f"{HEADS} -k penalty",
    ),
    Mutant(
        "a missing label has no loss",
        "tasks/classify.py",
        "return torch.where(target.mask, loss_b, 0).sum() / target.mask.sum().clamp(min=1)",
        "return loss_b.sum() / target.mask.sum().clamp(min=1)",
        f"{TASKS} -k never_matter",
    ),
    Mutant(
        "no label gives no loss, and not NaN",
        "tasks/classify.py",
        "target.mask.sum().clamp(min=1)",
        "target.mask.sum()",
        f"{TASKS} -k no_label",
    ),
    Mutant(
        "what stands under a missing number is not read",
        "tasks/regress.py",
        "y_bk = torch.where(mask_bk, target.values, 0).to(logits.dtype)",
        "y_bk = target.values.to(logits.dtype)",
        f"{TASKS} -k never_matter",
    ),
    Mutant(
        "labels are in numeric order",
        "tasks/labels.py",
        "if all(x is not None for x in numbers):",
        "if not numbers:",
        f"{TASKS} -k sorted",
    ),
    Mutant(
        "a prediction is in the target's own unit",
        "tasks/regress.py",
        "* self.scale_ + self.center_",
        "* self.scale_",
        f"{TASKS} -k 'leads or standardised'",
    ),
    Mutant(
        "thresholds are monotone",
        "tasks/ordinal.py",
        "return (logits.cummin(1).values > 0).sum(1)",
        "return (logits > 0).sum(1)",
        f"{TASKS} -k median",
    ),
    Mutant(
        "weights have mean 1 over the training rows",
        "tasks/classify.py",
        "(w_c * counts.sum() / (w_c * counts).sum().clamp(min=1e-9))[target_b]",
        "(w_c * len(counts) / w_c.sum())[target_b]",
        f"{TASKS} -k balance",
    ),
    Mutant(
        "refitting forgets the old labels",
        "tasks/classify.py",
        'for learned in ("_index", "thresholds_"):',
        "for learned in ():",
        f"{TASKS} -k refitting",
    ),
    Mutant(
        "ties count half",
        "metrics.py",
        "hits = (misses + sums.take(upto, 1)) / 2 if ties else misses",
        "hits = misses",
        METRICS,
    ),
    Mutant(
        "precision is among the rows that score no less",
        "metrics.py",
        '(np.searchsorted(-score[rows], -score[yes], "right") for rows in (order, yes))',
        '(np.searchsorted(-score[rows], -score[yes], "left") for rows in (order, yes))',
        f"{METRICS} -k scikit",
    ),
    Mutant(
        "a class that is not there is no zero",
        "metrics.py",
        "return ratio(np.where(is_number, x, 0.0).sum(1), is_number.sum(1))",
        "return np.where(is_number, x, 0.0).mean(1)",
        f"{METRICS} -k 'lacks or scikit'",
    ),
    Mutant(
        "the variance far from 0 keeps its digits",
        "metrics.py",
        "return x - x.mean() if len(x) else x",
        "return x",
        f"{METRICS} -k numbers",
    ),
    Mutant(
        "groups are drawn whole",
        "evaluate/intervals.py",
        "row[:] = counts if code is None else counts[code]",
        "row[:] = np.bincount(rng.integers(0, n, n), minlength=n)",
        f"{INTERVALS} -k groups",
    ),
    Mutant(
        "a difference is paired",
        "evaluate/intervals.py",
        "score(a, target, w) - score(b, target, w) for w",
        "score(a, target, w) - score(b, target, w[::-1]) for w",
        f"{INTERVALS} -k paired",
    ),
    Mutant(
        "rows without a label are no part of the sample",
        "evaluate/intervals.py",
        "own_groups = None if groups is None else [g for g, k in zip(groups, keep.tolist(), strict=True) if k]",
        "own_groups = None if groups is None else list(groups[: int(keep.sum())])",
        f"{INTERVALS} -k label",
    ),
    Mutant(
        "the interval holds 95%",
        "evaluate/intervals.py",
        "[0.025, 0.975]",
        "[0.25, 0.75]",
        f"{INTERVALS} -k 'normal or covers'",
    ),
    Mutant(
        "blocks learn from training rows alone",
        "learners/library.py",
        "block.fit_matrix([self.rows[v][i] for i in train], vectors[train], self._labels[train])",
        "block.fit_matrix(list(self.rows[v]), vectors, self._labels)[train]",
        LEARNERS,
    ),
    Mutant(
        "outcomes are of weights that other rows chose",
        "learners/library.py",
        "for by, others in self.cross if len(members) > 1 else ():",
        "for by, others in ():",
        LEARNERS,
    ),
    Mutant(
        "a category is not read by a row's own label",
        "learners/categories.py",
        "x[at] = own",
        "pass",
        LEARNERS,
    ),
    Mutant(
        "trees see numbers as they are",
        "learners/matrix.py",
        "return Raw(extractor, link, seed)",
        "return Block(extractor, sight.components, sight.sparse, seed)",
        LEARNERS,
    ),
    Mutant(
        "rows that do not judge drop no member",
        "learners/library.py",
        "rows = self.labelled(np.intersect1d(self.valid, self.judge.numpy()))",
        "rows = self.labelled(self.valid)",
        LEARNERS + " -k drop_no_member",
    ),
    Mutant(
        "the second layer sees the answers of the first",
        "learners/library.py",
        "return x if member.layer == 1 else beside([x, self._meta(self.below)])",
        "return x",
        LEARNERS,
    ),
    Mutant(
        "a network is chosen where it is better by more than noise",
        "experiment/search.py",
        "if gain > error:",
        "if gain > 0:",
        AUTO + " -k network_is_chosen",
    ),
    Mutant(
        "estimators are compared by all rows",
        "experiment/search.py",
        "views = {id(t): t.everywhere or Judgement(t.judged, valid) for t in trials}",
        "views = {id(t): Judgement(t.judged, valid) for t in trials}",
        AUTO + " -k compared_by_all",
    ),
    Mutant(
        "what is chosen is fitted on all rows",
        "experiment/fit.py",
        "(search.refit or not prepared.given)",
        "search.refit",
        AUTO + " -k all_rows_in_the_end",
    ),
    Mutant(
        "kernels of a series are dilated",
        "modalities/series/kernels.py",
        "wide[..., i * dilation :]",
        "wide[..., i:]",
        "tests/reference/test_kernels.py",
    ),
    Mutant(
        "a saving is claimed where an interval shows it",
        "experiment/learning_curve.py",
        "p.gain is not None and p.gain.low > 0",
        "p.gain is not None",
        "tests/colearn/test_curve.py -k sentence",
    ),
    Mutant(
        "class weights reach the estimators",
        "learners/library.py",
        "weight = None if self._weight is None else self._weight[train]",
        "weight = None",
        LEARNERS,
    ),
    Mutant(
        "absent views lie at the mean",
        "learners/matrix.py",
        "out = np.zeros((len(rows), x.shape[1]), dtype=np.float32)",
        "out = np.ones((len(rows), x.shape[1]), dtype=np.float32)",
        LEARNERS,
    ),
    Mutant(
        "weights are renormalised over what is seen",
        "learners/ensemble.py",
        "w_here = torch.where(here_bk, w_bk, 0)",
        "w_here = w_bk",
        LEARNERS,
    ),
    Mutant(
        "an average that grows leaves out what sees nothing",
        "learners/ensemble.py",
        "torch.where(self.here_kb[..., None], self.all_skbc, nothing)",
        "self.all_skbc",
        LEARNERS,
    ),
    Mutant(
        "an average is judged by weights of other rows",
        "experiment/search.py",
        "rows = torch.tensor(by)",
        "rows = torch.arange(n)",
        AUTO + " -k averages",
    ),
    Mutant(
        "networks are judged by an epoch that other rows chose",
        "experiment/candidates.py",
        "rows = torch.tensor(by)",
        "rows = torch.tensor(held)",
        AUTO + " -k other_rows",
    ),
    Mutant(
        "no row soon after a held-out stretch of time is learned from",
        "data/chronology.py",
        "max(gap, self.apart)",
        "self.apart",
        CHRONOLOGY,
    ),
    Mutant(
        "the latest rows validate",
        "data/chronology.py",
        "return self._around(order, start, len(order), 0)",
        "return self._around(order, 0, len(order) - start, 0)",
        CHRONOLOGY,
    ),
    Mutant(
        "a table of overlapping rows is parted by time",
        "experiment/problem.py",
        "if self.chronology is not None:\n            return self.chronology.folds",
        "if False:\n            return self.chronology.folds",
        CHRONOLOGY,
    ),
    Mutant(
        "a series that never varies overlaps nothing",
        "modalities/series/overlap.py",
        "if np.nanmax(np.nanstd(rest, axis=0)) > 0 else None",
        "",
        CHRONOLOGY,
    ),
    Mutant(
        "a linear estimator is fitted on each view by itself",
        "learners/library.py",
        "return [member.view] if member.view else",
        "return",
        LEARNERS,
    ),
    Mutant(
        "time is kept for fitting what is chosen on all rows",
        "learners/library.py",
        "self._seconds.get(job, 0.0) + after > until",
        "self._seconds.get(job, 0.0) > until",
        LEARNERS,
    ),
    Mutant(
        "cells that recur are encoded once",
        "learners/encoders.py",
        "recurs = 2 * len(first) <= len(at)",
        "recurs = False",
        "tests/reference/test_encoders.py",
    ),
    Mutant(
        "whoever looks into an encoder sees each row",
        "learners/encoders.py",
        "if x.values.requires_grad or is_watched(self[modality]):",
        "if x.values.requires_grad:",
        "tests/reference/test_encoders.py",
    ),
    Mutant(
        "the slope of each cell is its own",
        "learners/encoders.py",
        "if x.values.requires_grad or is_watched(self[modality]):",
        "if is_watched(self[modality]):",
        "tests/reference/test_encoders.py",
    ),
    Mutant(
        "equal rows are told by every byte",
        "learners/encoders.py",
        "_checksum(x.values) * 3 + _checksum(x.mask)",
        "_checksum(x.values[:, :1] if x.values.ndim > 1 else x.values) * 3 + _checksum(x.mask)",
        "tests/reference/test_encoders.py",
    ),
    Mutant(
        "rows that share a heavy cell are in one batch",
        "data/preprocess.py",
        "totals[heaviest] < HEAVY * sum(totals.values())",
        "True",
        "tests/end_to_end/test_train.py -k share",
    ),
    Mutant(
        "answers are in the order of the rows",
        "training/inference.py",
        "dtype=torch.int64).argsort()",
        "dtype=torch.int64)",
        "tests/reference/test_encoders.py",
    ),
    Mutant(
        "rows of a light cell are not put together",
        "data/preprocess.py",
        "totals[heaviest] < HEAVY * sum(totals.values())",
        "False",
        "tests/end_to_end/test_train.py -k share",
    ),
    Mutant(
        "a fold that would end too late is not begun",
        "learners/library.py",
        "begun + self._expected(job) + after > until",
        "begun + after > until",
        LEARNERS + " -k too_late",
    ),
    Mutant(
        "a perceptron reads counts alone",
        "learners/library.py",
        "counts and not self._has_counts(job)",
        "counts and False",
        LEARNERS + " -k perceptron",
    ),
    Mutant(
        "a batch without any weight leaves a perceptron finite",
        "learners/perceptron.py",
        ".sum().clamp(min=1e-9)",
        ".sum()",
        LEARNERS + " -k without_any_weight",
    ),
    Mutant(
        "a row of no weight teaches a perceptron nothing",
        "learners/perceptron.py",
        'reduction="none") * weight_n[at]',
        'reduction="none")',
        LEARNERS + " -k perceptron",
    ),
    Mutant(
        "a fusion that helps no average is the last one tried",
        "experiment/search.py",
        "[-1] > 0",
        "[-1] >= 0",
        AUTO + " -k networks",
    ),
    Mutant(
        "networks far behind estimators are not trained further",
        "experiment/search.py",
        "return gain > far * error > 0",
        "return False",
        AUTO + " -k networks",
    ),
    Mutant(
        "a view has a matrix of its own, though it is called as its modality",
        "learners/stacked.py",
        'f"view {view}" if view',
        'f"{view}" if view',
        LEARNERS,
    ),
    Mutant(
        "groups stay together in the inner folds",
        "experiment/candidates.py",
        "groups = problem.groups(learn)",
        "groups = None",
        COMPARE + " -k group",
    ),
    Mutant(
        "groups stay together where a network's epoch is chosen",
        "experiment/parts.py",
        "of, INNER, self.seed",
        "None, INNER, self.seed",
        COMPARE + " -k group",
    ),
    Mutant(
        "who is far behind is run on no further fold",
        "experiment/race.py",
        "return any(self.behind(name) is None for name in self.names[job])",
        "return True",
        "tests/reference/test_race.py",
    ),
    Mutant(
        "a network that time ended is in no table",
        "experiment/parts.py",
        "if trial.finished:",
        "if True:",
        COMPARE + " -k too_short",
    ),
    Mutant(
        "persistence knows no row of its own time",
        "evaluate/baselines.py",
        'side="left")',
        'side="right")',
        "tests/reference/test_baselines.py",
    ),
    Mutant(
        "answers stand beside their rows",
        "experiment/ranking.py",
        "torch.tensor([place[row] for row in fold.test])] = parts[i].logits",
        "torch.tensor([place[row] for row in fold.test]).flip(0)] = parts[i].logits",
        COMPARE + " -k beside",
    ),
    Mutant(
        "another table is not resumed",
        "experiment/runs.py",
        "if before.get(k) != json.loads(json.dumps(plan[k]))]",
        "if False]",
        COMPARE + " -k resume",
    ),
    Mutant(
        "the t-test is corrected for shared training rows",
        "evaluate/significance.py",
        "(1 / n + test_share / (1 - test_share))",
        "(1 / n)",
        SIGNIFICANCE,
    ),
    Mutant(
        "BLEU has a penalty for what is too short",
        "sentences/grams.py",
        "np.exp(np.minimum(0, 1 - 1 / share))",
        "1",
        SENTENCES,
    ),
    Mutant(
        "CIDEr-D is lower where lengths differ",
        "sentences/grams.py",
        "2 * SIGMA**2",
        "SIGMA**2",
        SENTENCES,
    ),
    Mutant(
        "METEOR counts chunks",
        "sentences/meteor.py",
        "0 if perfect else chunks",
        "chunks",
        SENTENCES,
    ),
    Mutant(
        "edits are bit-parallel Levenshtein's",
        "sentences/edits.py",
        "right = right << 1 | 1",
        "right = right << 1",
        SENTENCES,
    ),
    Mutant(
        "references travel as text",
        "tasks/generate.py",
        "x[m].tobytes().decode()",
        "x.tobytes().decode()",
        GENERATE,
    ),
    Mutant(
        "a caption ends",
        "tasks/generate.py",
        "[: self.longest_ - 1], self.vocabulary.end]",
        "[: self.longest_ - 1]]",
        GENERATE,
    ),
    Mutant(
        "a word looks at its own modality",
        "heads/writer.py",
        "masks.append(x.mask)",
        "masks.append(torch.ones_like(x.mask))",
        TRANSLATOR,
    ),
    Mutant(
        "each word follows the one before",
        "heads/writer.py",
        "words.values[:, :-1]], dim=1), words.mask)",
        "words.values[:, 1:]], dim=1), words.mask)",
        TRANSLATOR,
    ),
    Mutant(
        "a reward is above that of the row's other draws",
        "learners/self_critical.py",
        "(reward_bn - reward_bn.mean(1, keepdim=True))",
        "(reward_bn - reward_bn.mean())",
        TRANSLATOR + " -k others_of",
    ),
    Mutant(
        "the end that was written counts",
        "heads/writer.py",
        "return Masked(ids, before == 0)",
        "return Masked(ids, (ids == end).cumsum(1) == 0)",
        TRANSLATOR,
    ),
    Mutant(
        "captions of one input are one row",
        "data/references.py",
        "if len(places) == table.rows:",
        "if True:",
        TRANSLATION + " -k one_input",
    ),
    Mutant(
        "a beam's state follows its words",
        "decoders/base.py",
        "{k: x[rows] for k, x in self.past.items()}",
        "dict(self.past)",
        SEARCH,
    ),
    Mutant(
        "no banned word has a probability",
        "decoders/search.py",
        "logits.index_fill_(1, self.banned, IMPOSSIBLE).log_softmax(-1)",
        "logits.log_softmax(-1)",
        SEARCH,
    ),
    Mutant(
        "twins need a blank between them",
        "decoders/ctc.py",
        "return ids.mask.sum(1) + twins.sum(1)",
        "return ids.mask.sum(1)",
        CTC_TESTS,
    ),
    Mutant(
        "smoothing is taken from the true word",
        "tasks/generate.py",
        "label_smoothing=self.smoothing)",
        "label_smoothing=0.0)",
        "tests/contract/test_generate.py -k smoothed",
    ),
    Mutant(
        "an absent modality is no factor of the product of experts",
        "fusion/experts.py",
        "nats_b.sum() / here_b.sum().clamp(min=1)",
        "nats_b.mean()",
        "tests/reference/test_experts.py",
    ),
    Mutant(
        "a modality is guessed from the others alone",
        "fusion/fill.py",
        "others_bm = here_bm & (torch.arange(len(xs), device=here_bm.device) != i)",
        "others_bm = here_bm",
        "tests/contract/test_fill.py",
    ),
    Mutant(
        "the teacher's loss keeps its size as the temperature grows",
        "colearn/distill.py",
        "return temperature**2 * (logp.exp()",
        "return temperature * (logp.exp()",
        "tests/colearn/test_distill.py",
    ),
    Mutant(
        "the limit of a set has the correction for a finite sample",
        "uncertainty/conformal.py",
        "rank = int(np.ceil((self.rows + 1) * coverage - 1e-9))",
        "rank = int(np.ceil(self.rows * coverage - 1e-9))",
        "tests/uncertainty/test_conformal.py -k slow_loop",
    ),
    Mutant(
        "an answer at the limit is in the set",
        "tasks/classify.py",
        "self.label_scores(logits) <= limits[:, None]",
        "self.label_scores(logits) < limits[:, None]",
        f"{ABLE} -k holds_the_truth",
    ),
    Mutant(
        "evidence for a label is against all others",
        "tasks/classify.py",
        "return y[:, at] - others.logsumexp(1)",
        "return y[:, at]",
        f"{ABLE} -k evidence",
    ),
    Mutant(
        "a set of labels is as sure as the least sure of them",
        "tasks/multilabel.py",
        "least: Array = np.where(self._sets(logits), p_bk, 1 - p_bk).min(1)",
        "least: Array = np.where(self._sets(logits), p_bk, 1 - p_bk).max(1)",
        f"{ABLE} -k least_sure",
    ),
    Mutant(
        "numbers have no probabilities",
        "tasks/regress.py",
        'frozenset({"conformal", "explain_parts", "residuals"})',
        'frozenset({"calibrate", "conformal", "explain_parts", "residuals"})',
        f"{ABLE} -k capabilities_are_true",
    ),
    Mutant(
        "hidden cells are gone",
        "data/encode.py",
        "part._where[away] = (-1, 0, 0)",
        "part._where[~away] = (-1, 0, 0)",
        "tests/uncertainty/test_conformal.py -k empty_row",
    ),
    Mutant(
        "parts explain the calibrated answer",
        "explain/parts.py",
        "learner.task.values(answer / self.model.scorer.temperature)[:, self.at]",
        "learner.task.values(answer)[:, self.at]",
        "tests/explain/test_parts.py",
    ),
    Mutant(
        "heads that watch move nothing",
        "heads/balanced.py",
        "own = self.unimodal(tokens if blend else",
        "own = self.unimodal(tokens if self.how != 'ogm-ge' else",
        "tests/reference/test_balanced.py",
    ),
    Mutant(
        "blending weighs by the square of what was overfitted",
        "heads/balanced.py",
        ".nan_to_num(1.0).square()",
        ".nan_to_num(1.0)",
        "tests/reference/test_balanced.py -k by_hand",
    ),
    Mutant(
        "a row keeps one of its modalities",
        "colearn/__init__.py",
        "keep_bm = (draw_bm >= p) | (draw_bm == last_b1)",
        "keep_bm = draw_bm >= p",
        "tests/reference/test_colearn.py",
    ),
    Mutant(
        "the one that stays is one that is there",
        "colearn/__init__.py",
        "last_b1 = torch.where(here_bm, draw_bm, -1.0)",
        "last_b1 = torch.where(here_bm, draw_bm, draw_bm)",
        "tests/reference/test_colearn.py",
    ),
    Mutant(
        "the end may come once a text is long enough",
        "decoders/search.py",
        "        else:\n            end.copy_(last)",
        "        else:\n            end.fill_(CLOSED)",
        SEARCH,
    ),
    Mutant(
        "scheduled sampling begins with none",
        "heads/writer.py",
        "min(1.0, 2 * self.progress)",
        "1.0",
        f"{TRANSLATOR} -k scheduled",
    ),
    Mutant(
        "a learner is told how far training is",
        "training/loop.py",
        "learner.progress = share = _share(",
        "share = _share(",
        "tests/reference/test_balanced.py -k hides",
    ),
    Mutant(
        "a student's report counts the rows without a label",
        "experiment/distill.py",
        'unlabelled = prepared.counts["unlabelled"]',
        "unlabelled = 0",
        "tests/colearn/test_student.py -k beside_itself",
    ),
    Mutant(
        "a setting that the method does not use is refused",
        "decoders/base.py",
        "if self.method not in methods:",
        "if False:",
        "tests/reference/test_decoders.py -k can_not_be",
    ),
    Mutant(
        "no text is asked to be longer than the model writes",
        "decoders/base.py",
        "0 <= self.min_length <= most",
        "0 <= self.min_length",
        "tests/reference/test_decoders.py -k longer",
    ),
    Mutant(
        "fit names what gives a target away",
        "objectives/predict.py",
        "for s in leaks(table, schema, self.task, t, QUICK)]",
        "for s in []]",
        "tests/end_to_end/test_inspect.py -k same_leaks",
    ),
    Mutant(
        "two pictures with one frame are two",
        "data/table.py",
        "return hashlib.blake2b(x.tobytes(), digest_size=16).digest()",
        "return str(x).encode()",
        "tests/end_to_end/test_schema.py -k whichever_axis",
    ),
    Mutant(
        "ordered categories keep their order",
        "modalities/tabular/columns.py",
        "return float(levels.index(str(category(x))))",
        "return float(sorted(levels).index(str(category(x))))",
        "tests/end_to_end/test_schema.py -k number_by_its_place",
    ),
    Mutant(
        "of a report one page is in sight",
        "report/writing.py",
        "s._replace(folded=s.key not in OPEN)",
        "s._replace(folded=False)",
        "tests/report/test_page.py -k in_sight",
    ),
    Mutant(
        "a range that falls is none",
        "modalities/tabular/ways.py",
        "return (low + high) / 2 if low <= high else None",
        "return (low + high) / 2",
        "tests/reference/test_tabular.py -k several_ways",
    ),
    Mutant(
        "units of one dimension add up",
        "modalities/tabular/ways.py",
        "total, end = total + float(",
        "total, end = float(",
        "tests/reference/test_tabular.py -k way_of_their_column",
    ),
    Mutant(
        "a number without a unit is no kilograms",
        "modalities/tabular/columns.py",
        'if y and (state or {}).get("way") in ways.UNITS:',
        'if y and (state or {}).get("way") in ():',
        "tests/reference/test_tabular.py -k without_a_unit",
    ),
    Mutant(
        "a later table is read in the way of training",
        "modalities/tabular/columns.py",
        "if levels is None and (way := way_of(values, HALF)):",
        "if levels is None and (way := way_of(values, 2)):",
        "tests/end_to_end/test_schema.py -k later_tables",
    ),
    Mutant(
        "check digits are checked",
        "modalities/tabular/codes.py",
        "for i, d in enumerate(x)) % 11 == 0",
        "for i, d in enumerate(x)) % 1 == 0",
        "tests/reference/test_tabular.py -k check_digits",
    ),
    Mutant(
        "commas alone make no list",
        "modalities/tabular/lists.py",
        "and 2 * len(counts) <= len(set(map(tuple, each)))",
        "and len(set(map(tuple, each))) > 0",
        "tests/reference/test_tabular.py -k only_has_commas",
    ),
    Mutant(
        "a saved file is for all whom the umask lets",
        "saving.py",
        "temporary.chmod(mode)",
        "pass",
        "tests/end_to_end/test_folder.py -k umask",
    ),
    Mutant(
        "predictions have the index of the frame",
        "model.py",
        "else index[start:stop]",
        "else pd.RangeIndex(start, stop)",
        "tests/end_to_end/test_predict.py -k index",
    ),
    Mutant(
        "the device of a run is that of the run alone",
        "hardware.py",
        "        os.environ.pop(VARIABLE)\n",
        "",
        "tests/reference/test_hardware.py -k another_device",
    ),
    Mutant(
        "a gap is left out before what is held out too",
        "data/chronology.py",
        "order[: max(0, start - self.apart)]",
        "order[:start]",
        "tests/reference/test_chronology.py -k gap",
    ),
    Mutant(
        "the fastest is sought near the best alone",
        "experiment/search.py",
        "if trial is not best and gain <= error else",
        "if trial is not best else",
        "tests/end_to_end/test_auto.py -k the_fastest_is",
    ),
    Mutant(
        "the command line shows options as they are typed",
        "cli/__init__.py",
        "with command_line(), errors():",
        "with errors():",
        "tests/reference/test_errors.py -k main_ways",
    ),
    Mutant(
        "a warping path may step in both streams at once",
        "alignment/lattice.py",
        "np.minimum(best, two[:, low:high], out=best)",
        "pass",
        f"{DTW} -k cheapest_of_all",
    ),
    Mutant(
        "no path goes around a band",
        "alignment/lattice.py",
        "row[:, high + 1 : high + 2] = INFINITY",
        "row[:, high + 1 : high + 2] = 0.0",
        f"{DTW} -k 'band or narrow'",
    ),
    Mutant(
        "the least band is the least",
        "alignment/bands.py",
        "need <= steps[middle]",
        "need < steps[middle]",
        f"{DTW} -k least_band",
    ),
    Mutant(
        "soft-DTW has the gradient of all paths",
        "alignment/soft.py",
        "(one, k + 3, place), (one, k + 3, after), (two, k + 4, after)",
        "(one, k + 3, place), (one, k + 3, after)",
        "tests/alignment/test_soft.py -k 'gradient'",
    ),
    Mutant(
        "each side of a transport has its own price of mass",
        "alignment/transport.py",
        "return self.damp_b * (self.g",
        "return self.damp_a * (self.g",
        "tests/alignment/test_transport.py -k 'least or same'",
    ),
    Mutant(
        "the gradient of a transport is that of its optimum",
        "alignment/transport.py",
        "y_bm = y_bm - k_bnm.mT @ x_bn",
        "y_bm = y_bm + k_bnm.mT @ x_bn",
        "tests/alignment/test_transport.py -k finite",
    ),
    Mutant(
        "a monotone path never goes backwards",
        "alignment/forced.py",
        "best_k.cummax(0)",
        "best_k.flip(0).cummax(0)",
        "tests/alignment/test_forced.py -k monotone",
    ),
    Mutant(
        "the blank may be any column",
        "alignment/forced.py",
        "alignment(logp_tv[:, order], ",
        "alignment(logp_tv, ",
        "tests/alignment/test_forced.py -k spans",
    ),
    Mutant(
        "masked frames are packed away",
        "alignment/arrays.py",
        "order = real_first(mask)[:, :longest]",
        "order = real_first(torch.ones_like(mask))[:, :longest]",
        f"{DTW} -k 'masked or many_pairs'",
    ),
]


def survives(mutant: Mutant, copy: Path) -> str | None:
    """None where a test saw the bug, else what is wrong."""
    path = copy / "src" / "polymodal" / mutant.file
    text = path.read_text(encoding="utf-8")
    if mutant.old not in text:
        return "its text is no longer in the source"
    path.write_text(text.replace(mutant.old, mutant.new, 1), encoding="utf-8")
    try:
        env = {
            **os.environ,
            "PYTHONPATH": str(copy / "src"),
            "OMP_NUM_THREADS": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        command = f"{sys.executable} -m pytest -x -q -p no:cacheprovider {mutant.tests}"
        ended = subprocess.run(command, shell=True, cwd=copy, env=env, capture_output=True, text=True, check=False)
    finally:
        path.write_text(text, encoding="utf-8")
    if ended.returncode == 1:
        return None
    return "no test failed" if ended.returncode == 0 else f"pytest ended with {ended.returncode}: {ended.stdout[-500:]}"


def main(words: list[str]) -> int:
    """Run the mutants that the words choose; 1 where any survives."""
    chosen = [m for m in MUTANTS if not words or any(w in m.file or w in m.law for w in words)]
    alive = 0
    with tempfile.TemporaryDirectory() as folder:
        copy = Path(folder)
        for name in ("src", "tests"):
            shutil.copytree(ROOT / name, copy / name, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
        shutil.copy(ROOT / "pyproject.toml", copy)
        for mutant in chosen:
            began = time.monotonic()
            wrong = survives(mutant, copy)
            alive += wrong is not None
            said = "seen" if wrong is None else f"SURVIVES, {wrong}"
            print(f"{time.monotonic() - began:5.1f} s  {mutant.file}: {mutant.law}: {said}", flush=True)
    print(f"{len(chosen) - alive} of {len(chosen)} seen")
    return int(alive > 0)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))

"""A head in which no modality starves: the one that is learned first must not end the learning of the others.

    tokens of each encoder --masked mean--> linear head of its own --> what the modality can say alone, so far
                           --> fusion --> head                     --> the answer

Two ways to use what the heads say. "ogm-ge" slows the encoder whose modality is ahead. "blending" trains the encoders
by their own heads too, each as much as it still learns what holds on new rows.

b batch, t token, d width, o output, k one loss.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from polymodal.batch import Losses, Masked
from polymodal.errors import InputError
from polymodal.fusion.base import Fusion
from polymodal.heads.base import Head, Shared, Tokens
from polymodal.heads.fused import Fused, for_rows
from polymodal.nn import Named
from polymodal.ops import masked_mean
from polymodal.output import Scores
from polymodal.tasks.base import Task

HOWS = ("ogm-ge", "blending", "watch")
FLAT = 0.05  # of a validation loss: an overfitting below this is noise, and 1 / O^2 would make it infinitely good
LEAST = 0.2  # of the weights is shared equally: a loss without weight would never show that it can learn again


class Balanced(Head):
    """A `Fused` head with a linear head on the pooled tokens of each modality, by which its learning is balanced.

    how="ogm-ge", Peng et al. 2022 (on-the-fly gradient modulation with generalisation enhancement): the gradient that
    flows from the fusion into encoder m is multiplied by k_m of `coefficients`, and noise of its own spread is added,
    `noise` times. (The paper adds it to the gradients of the encoder's weights, with the covariance of SGD's own noise
    there; here it is added once, where the gradient enters the encoder.) AdamW divides the size of a gradient out, and
    k_m with it; so the encoder's learning rate is multiplied by what the size has lost,
    sqrt((k_m^2 + noise^2) / (1 + noise^2)) (`lr_scales`), which plain SGD has no need of. The heads learn from tokens
    through which no gradient flows back, so that encoders learn from the fusion alone. The paper splits the linear head
    of two concatenated modalities, and sums scores over a batch; heads that watch do for any fusion, and means, over
    the rows that have the modality, for rows that lack some.

    how="blending", Wang, Tran & Feiszli 2020 (gradient blending): the loss is sum_k w_k L_k over the fusion and the
    heads, which train the encoders here. Every `every` epochs (a super-epoch) `blending_weights` sets w from what
    training and validation losses have done since, the first time since the end of the first epoch; w is equal until
    then. In the paper each k is trained apart from the others to find that out. Training losses are those seen on the
    way, with dropout; "validation" are the rows by which the best epoch is chosen too.

    how="watch": the heads of "ogm-ge" without its modulation, for the learning curve of each modality.

    Raises InputError for another `how`.
    """

    embeds: ClassVar[bool] = True

    def __init__(
        self, fused: Fused, *, how: str = "ogm-ge", alpha: float = 0.5, noise: float = 1.0, every: int = 4
    ) -> None:
        super().__init__()
        if how not in HOWS:
            raise InputError(f"modalities can't be balanced by {how!r}; it is one of {', '.join(HOWS)}")
        if every < 1:
            raise InputError(f"every can't be {every}; a super-epoch has at least 1 epoch")
        self.fused, self.task = fused, fused.task
        self.how, self.alpha, self.noise, self.every = how, alpha, noise, every
        dims = fused.fusion.dims
        self.heads = Named({m: nn.Linear(d, self.task.outputs) for m, d in dims.items()})
        self.slow_m = dict.fromkeys(dims, 1.0)  # k_m of the last batch
        self.weight_k: Tensor  # of the fusion's loss, then of the heads'
        self.register_buffer("weight_k", torch.full((1 + len(dims),), 1 / (1 + len(dims))))

    def check(self, dims: Mapping[str, int]) -> None:
        """As of `Fused`."""
        self.fused.check(dims)

    def infer(self, tokens: Tokens) -> Scores:
        """As of `Fused`."""
        return self.fused.infer(tokens)

    def unimodal_names(self) -> Sequence[str]:
        """All."""
        return self.heads.names

    def unimodal(self, tokens: Tokens) -> dict[str, Tensor]:
        """Of rows that lack a modality, its head's bias."""
        return {m: head(masked_mean(tokens[m])) for m, head in self.heads.items()}

    def loss(self, tokens: Tokens, targets: Mapping[str, Masked]) -> Losses:
        """See the class. Each head is asked about the labelled rows in which its modality is present."""
        (target,) = targets.values()
        blend = self.how == "blending"
        own = self.unimodal(tokens if blend else {m: Masked(x.values.detach(), x.mask) for m, x in tokens.items()})
        apart = {m: self.task.loss(x, for_rows(target, tokens[m].present())) for m, x in own.items()}
        losses = self.fused.loss(self._slowed(tokens, own, target) if self.how == "ogm-ge" else tokens, targets)
        joint, penalty = losses.parts["loss"], losses.parts["penalty"]
        every = torch.stack([joint, *apart.values()])
        total = (self.weight_k * every).sum() if blend else every.sum()
        return Losses(total + penalty, losses.parts, apart)

    def lr_scales(self) -> Mapping[str, float]:
        """See the class."""
        if self.how != "ogm-ge":
            return {}
        whole = 1 + self.noise**2
        return {m: ((k**2 + self.noise**2) / whole) ** 0.5 for m, k in self.slow_m.items()}

    def epoch_ended(self, history: Sequence[Mapping[str, Any]]) -> None:
        """At the end of a super-epoch, weigh the losses anew."""
        if self.how != "blending" or len(history) < 2 or len(history) % self.every:
            return
        lines = []
        for line in (history[max(0, len(history) - 1 - self.every)], history[-1]):
            apart = [line.get("unimodal", {}).get(m, {}) for m in self.heads.names]
            lines.append([line.get("parts", {}).get("loss"), *(x.get("loss") for x in apart)])
            lines.append([line.get("valid_loss"), *(x.get("valid_loss") for x in apart)])
        losses = [[float("nan") if x is None else x for x in line] for line in lines]
        weight_k = blending_weights(*(torch.tensor(x, dtype=torch.float64) for x in losses))
        if weight_k is not None:
            self.weight_k.copy_(weight_k)

    def joint(self, tokens: Tokens) -> Masked:
        """As of `Fused`."""
        return self.fused.joint(tokens)

    def fused_by(self) -> Fusion:
        """The fusion."""
        return self.fused.fusion

    def filled(self, tokens: Tokens) -> Tokens:
        """As of `Fused`."""
        return self.fused.filled(tokens)

    def shared(self, modalities: Sequence[str]) -> dict[str, Shared]:
        """As of `Fused`."""
        return self.fused.shared(modalities)

    def describe(self, encoders: Mapping[str, str]) -> list[str]:
        """As of `Fused`."""
        return self.fused.describe(encoders)

    def _slowed(self, tokens: Tokens, own: Mapping[str, Tensor], target: Masked) -> dict[str, Masked]:
        """The same tokens; the gradient that comes back through them is that of `Modulated`."""
        right = likelihoods(self.task, {m: x.detach() for m, x in own.items()}, target)
        scores = {}
        for m, right_b in right.items():
            rows_b = tokens[m].present() & ~right_b.isnan()
            scores[m] = right_b[rows_b].mean()  # NaN where no row has it
        k_m = coefficients(torch.stack([*scores.values()]), self.alpha)
        self.slow_m = dict(zip(tokens, k_m.tolist(), strict=True))
        through: Any = Modulated.apply
        return {
            m: Masked(through(x.values, x.mask, k, self.noise), x.mask)
            for (m, x), k in zip(tokens.items(), k_m, strict=True)
        }


def likelihoods(task: Task, logits: Mapping[str, Tensor], target: Masked) -> dict[str, Tensor]:
    """(B,) by name: how right each answer is, from 0 to 1; NaN for a row without a label.

    softmax: the probability of the true class. sigmoid: the mean over outputs of the probability of what is true of
    each. identity: the mean over numbers of exp(-e^2 / 2), e the error in the target's standard units, which is the
    density of a normal with variance 1 as a share of its peak. The paper has the first alone.
    """
    answers = torch.as_tensor(task.answers(target))
    out = {}
    for m, x in logits.items():
        y = answers.to(x.device)
        if task.link == "softmax":
            right_b = x.softmax(1).gather(1, torch.where(target.mask, y, 0)[:, None].long())[:, 0]
        else:
            right_bo = (1 - y - x.sigmoid()).abs() if task.link == "sigmoid" else torch.exp(-((x - y) ** 2) / 2)
            right_b = right_bo.nanmean(1)
        out[m] = torch.where(target.present(), right_b, torch.nan)
    return out


def coefficients(score_m: Tensor, alpha: float) -> Tensor:
    """(M,) k_m = 1 - tanh(alpha rho_m) where rho_m = score_m / (mean of the others' scores) > 1, else 1.

    Peng et al. 2022, eq. 8 to 10, with the mean in the place of the other of two modalities. A score that is NaN is
    that of a modality which no row has: its k is 1, and the others' means leave it out.
    """
    known_m = ~score_m.isnan()
    s_m = torch.where(known_m, score_m, 0)
    others_m = (s_m.sum() - s_m) / (known_m.sum() - known_m.long()).clamp(min=1)
    ahead_m = known_m & (others_m > 0) & (s_m > others_m)
    rho_m = s_m / torch.where(ahead_m, others_m, 1)
    return torch.where(ahead_m, 1 - torch.tanh(alpha * rho_m), 1.0)


class Modulated(torch.autograd.Function):
    """The identity. Backward: k g + noise * std(g) * N(0, 1), where a token is real; 0 elsewhere.

    x: (B, T, D). std is over all numbers of the real tokens' gradient.
    """

    @staticmethod
    def forward(ctx: Any, x_btd: Tensor, mask_bt: Tensor, k: Tensor, noise: float) -> Tensor:
        """x itself."""
        ctx.save_for_backward(mask_bt, k)
        ctx.noise = noise
        return x_btd.view_as(x_btd)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None, None, None]:
        """The gradient of x, and none of the rest."""
        (g_btd,) = grads
        mask_bt, k = ctx.saved_tensors
        keep = mask_bt[..., None]
        count = (mask_bt.sum() * g_btd.shape[-1]).clamp(min=1)
        g_btd = torch.where(keep, g_btd, 0)
        spread = torch.where(keep, g_btd - g_btd.sum() / count, 0).square().sum().div(count).sqrt()
        out = k.to(g_btd.dtype) * g_btd + ctx.noise * spread * torch.randn_like(g_btd)
        return torch.where(keep, out, 0), None, None, None


def blending_weights(train0_k: Tensor, valid0_k: Tensor, train1_k: Tensor, valid1_k: Tensor) -> Tensor | None:
    """(K,) w_k in proportion to G_k / O_k^2, from losses at the beginning (0) and the end (1) of a super-epoch.

    G = valid0 - valid1: what was learned that holds on new rows. O = (valid1 - train1) - (valid0 - train0): by how much
    the gap between new rows and training rows has grown. Wang, Tran & Feiszli 2020, algorithm 1. Here, besides: G < 0
    counts as 0, |O| as at least `FLAT` valid0, and the share `LEAST` of the weights is spread equally. A loss that is
    NaN is of nothing and gets that share. None where nothing was learned at all: the weights then stay.
    """
    gain_k = (valid0_k - valid1_k).nan_to_num(0.0).clamp(min=0)
    over_k = ((valid1_k - train1_k) - (valid0_k - train0_k)).abs()
    floor_k = (FLAT * valid0_k.abs()).clamp(min=1e-12)
    w_k = gain_k / torch.maximum(over_k, floor_k).nan_to_num(1.0).square()
    if not w_k.sum() > 0:
        return None
    return LEAST / len(w_k) + (1 - LEAST) * w_k / w_k.sum()

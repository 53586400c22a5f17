"""Co-learning: functions from batch to batch, and from learner to learner, that let modalities help each other."""

import torch

from polymodal.batch import Batch, Masked
from polymodal.ops import widen


def modality_dropout(batch: Batch, p: float) -> Batch:
    """Hide each modality of each row with probability `p`, apart from each other, but never all that a row has.

    Of a row that would lose all of the n modalities it has one stays, each as likely, so that each is hidden with
    probability p - p^n / n. A learner then can't lean on the one modality that is learned by heart first, and has met
    every pattern of absence that it may meet later. ModDrop, Neverova et al. 2016, where the last one may go too.
    """
    here_bm = torch.stack([x.present() for x in batch.inputs.values()], dim=1)
    draw_bm = torch.rand(here_bm.shape, device=here_bm.device)
    last_b1 = torch.where(here_bm, draw_bm, -1.0).amax(1, keepdim=True)
    keep_bm = (draw_bm >= p) | (draw_bm == last_b1)
    inputs = {
        m: Masked(x.values, x.mask & widen(keep_bm[:, i], x.mask.ndim)) for i, (m, x) in enumerate(batch.inputs.items())
    }
    return Batch(inputs, batch.targets)

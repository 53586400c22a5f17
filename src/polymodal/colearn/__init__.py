"""Co-learning: functions from batch to batch, and from learner to learner, that let modalities help each other."""

import torch

from polymodal.batch import Batch, Masked
from polymodal.ops import widened


def modality_dropout(batch: Batch, p: float) -> Batch:
    """Hide each modality of each row with probability `p`, apart from each other, but never all that a row has.

    A row that would lose all of the n modalities it has is left as it is, so that each of them is hidden with
    probability p - p^n: of two at most 1/4, whatever p is. A learner then can't lean on the one modality that is
    learned by heart first, and has met every pattern of absence that it may meet later. ModDrop, Neverova et al. 2016,
    where the last one may go too.
    """
    here_bm = torch.stack([x.present() for x in batch.inputs.values()], dim=1)
    keep_bm = torch.rand(here_bm.shape, device=here_bm.device) >= p
    keep_bm = keep_bm | ~(keep_bm & here_bm).any(1, keepdim=True)
    inputs = {
        m: Masked(x.values, x.mask & widened(keep_bm[:, i], x.mask.ndim))
        for i, (m, x) in enumerate(batch.inputs.items())
    }
    return Batch(inputs, batch.targets)

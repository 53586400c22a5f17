"""Self-critical training: a network that writes is rewarded for what it writes, and not only told the words.

Axes: b batch, n caption that is drawn, k real word of all captions.
"""

import torch

from polymodal.batch import Batch, Losses
from polymodal.decoders.base import Decoding
from polymodal.heads.writer import Writer, with_end
from polymodal.learners.base import evaluating
from polymodal.learners.network import Network
from polymodal.sentences import Cider

SAMPLES = 4  # captions of a row that are drawn: of one alone the gradient is mostly noise


def self_critical(network: Network, batch: Batch, *, head: Writer, reward: Cider) -> Losses:
    """Minus the log-probability of captions that are drawn, each times its reward above that of its row's others.

    The reward is CIDEr-D against the row's references. Rennie et al. 2017, eq. 8; the mean reward of the row's other
    draws, in place of the greedy caption's, is Luo 2020, which has less variance. head: the network's own.
    """
    task = head.task
    (target,) = batch.targets.values()
    memory = head.memory(network.encoders(batch.inputs)).tokens
    references = [r for r in task.texts(target) if r]
    if not references:
        nothing = memory.values[:0].sum()
        return Losses(nothing, {"loss": nothing})
    start = head.decoder.start(memory)
    rows = target.present().nonzero()[:, 0]
    seed = int(torch.randint(2**31, ()))
    with evaluating(network), torch.no_grad():  # drawn as it would be when nothing is learned
        sober = head.decoder.start(head.memory(network.encoders(batch.inputs)).tokens).take(rows)
        each = torch.arange(len(references), device=rows.device)  # rows draw apart from each other
        samples = head.search(sober, Decoding("sample", captions=SAMPLES, seed=seed), each).ids.flatten(0, 1)
    rewards = reward.reward(task.written(samples), [r for r in references for _ in range(SAMPLES)])
    reward_bn = torch.as_tensor(rewards, dtype=torch.float32, device=samples.device).unflatten(0, (-1, SAMPLES))
    above = (reward_bn - reward_bn.mean(1, keepdim=True)).flatten() * SAMPLES / (SAMPLES - 1)
    words = with_end(samples, task.vocabulary.end)
    logp_k = head.logp(start.take(rows.repeat_interleave(SAMPLES)), words)
    loss = -(above[words.mask.nonzero()[:, 0]] * logp_k).sum() / words.mask.sum().clamp(min=1)
    return Losses(loss, {"loss": loss, "reward": reward_bn.mean()})

"""A pretrained language model as the decoder: the memory is a prefix of embeddings before the text.

    memory (B, S, dim) --linear--> (B, S, width of the model's embeddings) --model--> keys and values of each layer
    ids (B, T) --model, with these as the past--> hidden (B, T, width) --the model's own head--> logits

ClipCap: Mokady et al. 2021. transformers is imported where used.

Axes: b row, s memory token, t token, l layer, h head, d width, v token of the vocabulary.
"""

import inspect
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from polymodal.batch import Masked
from polymodal.decoders.base import Decoder, HiddenStates, State
from polymodal.errors import InputError
from polymodal.modalities.pretrained import source as hub
from polymodal.modalities.pretrained.source import check_written, copy, explain_errors, quiet, transformers
from polymodal.ops import zeroed

Pairs = Sequence[tuple[Tensor, Tensor]]


class HubDecoder(Decoder):
    """A causal language model of transformers, behind a linear map of the memory to the width of its embeddings.

    source: name or folder, as in `modalities.pretrained.Hub`. size: of the vocabulary, at most the model's. finetune:
    whether the model is trained; else only the map is, and the model stays in eval().

    Raises InputError for a model that is not causal, whose head is more than a linear map, that has no cache of keys
    and values, counts masked tokens in its positions, or has a smaller vocabulary.
    """

    def __init__(self, source: str, dim: int, size: int, finetune: bool = False) -> None:
        super().__init__()
        self.source, self.dim, self.size, self.finetune = source, dim, size, finetune
        self.model: Any = load_network(source, "AutoModelForCausalLM").requires_grad_(finetune)
        ids = self.model.get_input_embeddings().num_embeddings
        if size > ids:
            raise InputError(
                f"the language model {source!r} knows {ids:,} ids, but the vocabulary has {size:,}; "
                "write with the model's own vocabulary"
            )
        self.map = nn.Linear(dim, self.model.get_input_embeddings().embedding_dim)
        self._takes_positions = "position_ids" in inspect.signature(self.model.base_model.forward).parameters
        _check_causal(self.model, source)
        self._check()
        self.train()

    def train(self, mode: bool = True) -> Self:
        """As of any module, but a model that is not fine-tuned stays in eval()."""
        super().train(mode)
        self.model.train(mode and self.finetune)
        return self

    def start(self, memory: Masked) -> State:
        """Runs the model over the memory's real tokens; raises InputError for more of them than its context length."""
        order = (~memory.mask).long().argsort(dim=1, stable=True)  # no gap inside: positions count real tokens only
        real = memory.mask.gather(1, order)
        used = max(1, *real.sum(1).tolist()) if len(real) else 1
        if used >= self._places():
            raise InputError(
                f"the memory has {used:,} tokens, but the language model {self.source!r} reads {self._places():,} with "
                "the text; let the encoders give fewer"
            )
        tokens = zeroed(memory).take_along_dim(order[..., None], 1)[:, :used]
        mask = real[:, :used].clone()
        mask[:, 0] |= ~real.any(1)  # where nothing may be attended to, some kernels give NaN
        y = self._run([], mask, inputs_embeds=self.map(tokens))
        return State({"order": order, "real": real}, {"mask": mask, **_by_layer(y.pairs)})

    def teacher_forcing(self, state: State, ids: Masked) -> HiddenStates:
        """All tokens after the memory, in one pass."""
        hidden = self._words(state, zeroed(ids)).hidden
        return HiddenStates(hidden, hidden.new_zeros(()))

    def logits(self, hidden: Tensor) -> Tensor:
        """The model's own head, without the ids from `size` on."""
        logits: Tensor = self.model.get_output_embeddings()(hidden)
        return logits[..., : self.size]

    def step(self, state: State, ids_b: Tensor) -> tuple[Tensor, State]:
        """One more token in the keys and values."""
        y = self._words(state, ids_b[:, None])
        mask = nn.functional.pad(state.past["mask"], (0, 1), value=True)
        return y.hidden[:, 0], State(state.memory, {"mask": mask, **_by_layer(y.pairs)})

    def attention(self, state: State, ids: Masked) -> Tensor:
        """Mean over layers and heads of the attention to the memory's tokens, divided by its sum over them."""
        was = self.model.config._attn_implementation
        with quiet():
            self.model.set_attn_implementation("eager")  # the others do not give weights
            try:
                weights = self._words(state, zeroed(ids), output_attentions=True).attention
            finally:
                self.model.set_attn_implementation(was)
        assert weights is not None
        order, real = state.memory["order"], state.memory["real"]
        shares = weights.new_zeros(*weights.shape[:2], order.shape[1])
        used = min(order.shape[1], weights.shape[2])
        shares[..., :used] = torch.where(real[:, None, :used], weights[..., :used], 0.0)
        shares = shares / shares.sum(-1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
        return torch.zeros_like(shares).scatter(2, order[:, None].expand_as(shares), shares)

    def save_source(self, folder: Path) -> None:
        """Write the config, and a note that weights are elsewhere, so that `source` can be this folder."""
        copy(self.source, folder, weights=False)
        check_written(folder)

    def _words(self, state: State, ids_bt: Tensor, **more: Any) -> "_Run":
        past = {k: x for k, x in state.past.items() if k != "mask"}
        pairs = [(past[f"key{i}"], past[f"value{i}"]) for i in range(len(past) // 2)]
        mask = nn.functional.pad(state.past["mask"], (0, ids_bt.shape[1]), value=True)
        return self._run(pairs, mask, input_ids=ids_bt, **more)

    def _run(self, pairs: Pairs, mask_bt: Tensor, **inputs: Any) -> "_Run":
        """The model on the inputs after `pairs`, the past; mask_bt covers both."""
        if not len(mask_bt):  # not every model can do an empty batch
            inputs = {k: _pad_row(x) if isinstance(x, Tensor) else x for k, x in inputs.items()}
            y = self._run([(_pad_row(k), _pad_row(v)) for k, v in pairs], _pad_row(mask_bt) | True, **inputs)
            none = None if y.attention is None else y.attention[:0]
            return _Run(y.hidden[:0], [(k[:0], v[:0]) for k, v in y.pairs], none)
        (fresh,) = (inputs[name].shape[1] for name in ("input_ids", "inputs_embeds") if name in inputs)
        places = (mask_bt.cumsum(1)[:, -fresh:] - 1).clamp(0, self._places() - 1)
        if self._takes_positions:
            inputs["position_ids"] = places
        cache = transformers().DynamicCache(pairs)
        y = self.model.base_model(
            attention_mask=mask_bt.long(), past_key_values=cache, use_cache=True, return_dict=True, **inputs
        )
        attention = torch.stack(y.attentions).mean((0, 2)) if inputs.get("output_attentions") else None
        return _Run(y.last_hidden_state, [(layer.keys, layer.values) for layer in cache.layers], attention)

    @torch.no_grad()
    def _check(self) -> None:
        """A row with less memory than another, token by token with a cache, must give what the row gives alone."""
        self.eval()
        weight = self.map.weight
        mask = torch.tensor([[True] * 3, [True, False, False]], device=weight.device)
        x = Masked(torch.arange(1.0, 4.0).to(weight)[:, None].expand(2, 3, self.dim), mask)
        ids, row = torch.tensor([[0, 1]], device=weight.device), torch.tensor([1], device=weight.device)
        try:
            with quiet(), explain_errors(self.source):
                want = self.teacher_forcing(self.start(x.take(row)), Masked(ids, ids >= 0))
                state, got = self.start(x), []
                for word in ids[0]:
                    hidden, state = self.step(state, word.expand(2))
                    got.append(hidden[1])
            same = torch.allclose(torch.stack(got), want.hidden[0], rtol=1e-3, atol=1e-4)
        except InputError:
            same = False
        if not same:
            raise InputError(
                f"the language model {self.source!r} can't follow a memory with a mask: it keeps no keys and values, "
                "or counts masked tokens as places; name another, such as gpt2"
            )

    def _places(self) -> int:
        return int(getattr(self.model.config, "max_position_embeddings", None) or 2**31)


class _Run(NamedTuple):
    """hidden: (B, T, width). pairs: keys and values (B, H, S + T, D) of each layer. attention: (B, T, S + T)."""

    hidden: Tensor
    pairs: Pairs
    attention: Tensor | None


def _pad_row(x: Tensor) -> Tensor:
    """With a row of zeros appended."""
    return torch.cat([x, x.new_zeros(1, *x.shape[1:])])


def _by_layer(pairs: Pairs) -> dict[str, Tensor]:
    return {f"{name}{i}": x for i, pair in enumerate(pairs) for name, x in zip(("key", "value"), pair, strict=True)}


@torch.no_grad()
def _check_causal(model: Any, source: str) -> None:
    """A change of the second token must not change the first, and the head must give the logits."""
    device = next(model.parameters()).device
    ids = torch.tensor([[0, 1], [0, 2]], device=device)
    with quiet(), explain_errors(source):
        model.eval()
        hidden = model.base_model(input_ids=ids, use_cache=False).last_hidden_state
        logits = model(input_ids=ids, use_cache=False).logits
        own = model.get_output_embeddings()(hidden)
    if not torch.allclose(hidden[0, 0], hidden[1, 0], rtol=1e-3, atol=1e-4):
        raise InputError(
            f"{source!r} is no causal language model: its hidden state of a token depends on later ones; "
            "name one that was trained to write, such as gpt2"
        )
    if not torch.allclose(own, logits, rtol=1e-3, atol=1e-3):
        raise InputError(
            f"the language model {source!r} does more than a linear map after its last layer, which this decoder can't "
            "follow; name another, such as gpt2"
        )


def load_network(source: str, architecture: str) -> Any:
    """A network with its head, in eval(). Raises InputError where weights are missing."""
    network, missing = hub.open_source(source, architecture)
    if missing:
        raise InputError(
            f"the weights of {source!r} lack {len(missing)} of the network's tensors (such as {missing[0]}): it was "
            "not trained to write, or the file is incomplete"
        )
    return network.eval()

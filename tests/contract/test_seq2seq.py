"""Whole pretrained writers, and language models as decoders, by their laws: tiny random ones, no network access."""

import json
import math
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from polymodal.batch import Batch, Masked
from polymodal.decoders.base import Decoding
from polymodal.decoders.pretrained import HubDecoder, load_network
from polymodal.decoders.search import search
from polymodal.errors import InputError
from polymodal.learners.families import FAMILIES
from polymodal.learners.seq2seq import Seq2Seq
from polymodal.modalities.pretrained import source
from polymodal.output import Texts
from polymodal.spec import build, spec, table
from polymodal.tasks.generate import Generation
from polymodal.tasks.vocabulary import Vocabulary

WORDS = "<pad> <s> </s> <unk> a red blue green cat dog sits runs".split()
SIZE, MORE = len(WORDS), 2  # the networks know two ids more than the vocabulary
BEGIN, END, BANNED = 1, 2, [0, 1, 3]
TEXTS = ["a red cat sits", "blue dog", "a green dog runs", "cat"]


class Listed(Vocabulary):
    """The words above, as a pretrained tokenizer would have them: begin is 1, end 2."""

    def __init__(self, words: Sequence[str], shut: bool = True) -> None:
        self.words, self.shut = list(words), shut

    def fit(self, texts: Any) -> "Listed":
        return self

    def ids(self, text: str) -> list[int]:
        return [self.words.index(w) for w in text.split()]

    def text(self, ids: Sequence[int]) -> str:
        return " ".join(self.tokens(ids))

    def tokens(self, ids: Sequence[int]) -> list[str]:
        return [self.words[i] for i in ids]

    size = property(lambda self: len(self.words))
    begin = property(lambda self: BEGIN)
    end = property(lambda self: END)
    banned = property(lambda self: [*BANNED, *range(SIZE, self.size)] if self.shut else [])


CLASSES = table([Seq2Seq, HubDecoder, Generation, Listed, Decoding])
PART = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 24}
IMAGE = PART | {"image_size": 24, "patch_size": 8}
MARKS = {"pad_token_id": 0, "bos_token_id": BEGIN, "eos_token_id": END}
TEXT = PART | MARKS | {"vocab_size": SIZE + MORE, "max_position_embeddings": 24}
GPT = MARKS | {"vocab_size": SIZE + MORE, "n_embd": 16, "n_layer": 2, "n_head": 2, "n_positions": 24}


def captioner(folder: Path) -> None:
    from transformers import GPT2Config, VisionEncoderDecoderConfig, VisionEncoderDecoderModel, ViTConfig

    decoder = GPT2Config(**GPT, add_cross_attention=True, is_decoder=True)
    form = VisionEncoderDecoderConfig.from_encoder_decoder_configs(
        ViTConfig(**IMAGE), decoder, decoder_start_token_id=BEGIN, pad_token_id=0, eos_token_id=END
    )
    VisionEncoderDecoderModel(form).save_pretrained(folder)


def blip(folder: Path) -> None:
    from transformers import BlipConfig, BlipForConditionalGeneration

    text = TEXT | {"encoder_hidden_size": 16, "sep_token_id": END, "projection_dim": 16}
    BlipForConditionalGeneration(BlipConfig(text_config=text, vision_config=IMAGE)).save_pretrained(folder)


def git(folder: Path) -> None:
    from transformers import GitConfig, GitForCausalLM

    GitForCausalLM(GitConfig(**TEXT, vision_config=IMAGE)).save_pretrained(folder)


def whisper(folder: Path) -> None:
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    form = WhisperConfig(
        vocab_size=SIZE + MORE, d_model=16, encoder_layers=1, decoder_layers=1, encoder_attention_heads=2,
        decoder_attention_heads=2, encoder_ffn_dim=16, decoder_ffn_dim=16, num_mel_bins=8,
        max_source_positions=20, max_target_positions=16, decoder_start_token_id=BEGIN, **MARKS,
    )  # fmt: skip
    WhisperForConditionalGeneration(form).save_pretrained(folder)
    more = {"lang_to_id": {"<|en|>": 12, "<|de|>": 13}, "task_to_id": {"transcribe": 3}, "begin_suppress_tokens": [4]}
    path = folder / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def gpt2(folder: Path) -> None:
    from transformers import GPT2Config, GPT2LMHeadModel

    GPT2LMHeadModel(GPT2Config(**GPT)).save_pretrained(folder)


def opt(folder: Path) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    OPTForCausalLM(OPTConfig(**TEXT, ffn_dim=24, word_embed_proj_dim=8)).save_pretrained(folder)


def llama(folder: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    LlamaForCausalLM(LlamaConfig(**TEXT, num_key_value_heads=1)).save_pretrained(folder)


def mpt(folder: Path) -> None:
    from transformers import MptConfig, MptForCausalLM

    MptForCausalLM(MptConfig(vocab_size=SIZE, d_model=16, n_layers=1, n_heads=2, max_seq_len=24)).save_pretrained(
        folder
    )


def mamba(folder: Path) -> None:
    from transformers import MambaConfig, MambaForCausalLM

    form = MambaConfig(vocab_size=SIZE, hidden_size=16, num_hidden_layers=1, state_size=4)
    MambaForCausalLM(form).save_pretrained(folder)


def granite(folder: Path) -> None:
    from transformers import GraniteConfig, GraniteForCausalLM

    GraniteForCausalLM(GraniteConfig(**TEXT, num_key_value_heads=1, logits_scaling=3.0)).save_pretrained(folder)


def bert(folder: Path) -> None:
    from transformers import BertConfig, BertForMaskedLM

    BertForMaskedLM(BertConfig(**TEXT)).save_pretrained(folder)


WRITERS: dict[str, Callable[[Path], None]] = {
    "vision-encoder-decoder": captioner,
    "blip": blip,
    "git": git,
    "whisper": whisper,
}
MODELS: dict[str, Callable[[Path], None]] = {"gpt2": gpt2, "opt": opt, "llama": llama}


@pytest.fixture(scope="session")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    torch.manual_seed(0)
    root = tmp_path_factory.mktemp("writers")
    every = {**WRITERS, **MODELS, "bert": bert, "mpt": mpt, "mamba": mamba, "granite": granite}
    with source.quiet():
        for name, make in every.items():
            make(root / name)
    return {name: root / name for name in every}


@pytest.fixture(params=list(WRITERS))
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def task(shut: bool = True, limit: int = 6) -> Generation:
    made = Generation(Listed(WORDS if shut else [*WORDS, "<12>", "<13>"], shut), limit=limit, smoothing=0.0).fit(TEXTS)
    made.longest_ = limit + 1
    return made


def writer(folder: Path, **settings: Any) -> Seq2Seq:
    torch.manual_seed(0)
    return Seq2Seq(str(folder), "x", settings.pop("task", task()), **settings).eval()


def given(name: str, missing: Sequence[int] = ()) -> Masked:
    g = torch.Generator().manual_seed(1)
    shape = (8, 40) if name == "whisper" else (3, 24, 24)
    mask = torch.tensor([i not in missing for i in range(4)])
    return Masked(torch.randn(4, *shape, generator=g), mask)


def batch(net: Seq2Seq, x: Masked, cells: Sequence[Any] = (TEXTS[:2], None, TEXTS[2], TEXTS[3])) -> Batch:
    return Batch({"x": x}, {"y": net.task.collate([net.task.encode(c) for c in cells])})


def forward(name: str, net: Any, x: Tensor, ids: Tensor) -> Tensor:
    """Logits by the network's own forward, pixels or spectrogram and all words at once."""
    if name == "whisper":
        return net(input_features=x, decoder_input_ids=ids).logits
    if name == "vision-encoder-decoder":
        return net(pixel_values=x, decoder_input_ids=ids).logits
    return net(pixel_values=x, input_ids=ids).logits[:, -ids.shape[1] :]


def trained(net: Seq2Seq, x: Masked, steps: int, rate: float = 1e-2) -> list[float]:
    learn = torch.optim.Adam(net.train().parameters(), lr=rate)
    losses = []
    for _ in range(steps):
        learn.zero_grad()
        loss = net.loss(batch(net, x)).total
        loss.backward()
        learn.step()
        losses.append(loss.item())
    net.eval()
    return losses


@pytest.fixture(scope="session")
def taught(folders: dict[str, Path]) -> Callable[[str], Seq2Seq]:
    """Of each family, one that has seen the texts a few times and so ends them by itself."""
    made: dict[str, Seq2Seq] = {}

    def find(name: str) -> Seq2Seq:
        if name not in made:
            made[name] = writer(folders[name], task=task(shut=False))
            trained(made[name], given(name), 12)
        return made[name]

    return find


def test_every_family_is_tested() -> None:
    assert set(FAMILIES) == set(WRITERS)


def test_it_learns(name: str, folders: dict[str, Path]) -> None:
    net = writer(folders[name])
    losses = trained(net, given(name, [1]), 6)
    assert losses[-1] < losses[0] - 0.1 and all(map(math.isfinite, losses))
    for key, p in net.named_parameters():
        assert p.grad is not None and torch.isfinite(p.grad).all(), key


def test_loss_is_that_of_the_networks_own_forward(name: str, folders: dict[str, Path]) -> None:
    net, x = writer(folders[name]), given(name)
    terms = []
    for row, text in ((0, TEXTS[0]), (0, TEXTS[1]), (2, TEXTS[2]), (3, TEXTS[3])):
        words = [*net.task.vocabulary.ids(text), END]
        ids = torch.tensor([[*net.prompt, *words[:-1]]])
        logp = forward(name, net.network, x.values[[row]], ids)[0, len(net.prompt) - 1 :].log_softmax(-1)
        terms += [-logp[t, w] for t, w in enumerate(words)]
    assert torch.allclose(net.loss(batch(net, x)).total, torch.stack(terms).mean(), atol=1e-5)


def test_masked_words_never_matter(name: str, folders: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    net, x = writer(folders[name]), given(name)
    rows, words = net.task.captions(batch(net, x).targets["y"])
    want = net.loss(batch(net, x)).total
    junk = Masked(torch.where(words.mask, words.values, 10**6), words.mask)
    monkeypatch.setattr(net.task, "captions", lambda target: (rows, junk))
    assert torch.equal(net.loss(batch(net, x)).total, want)


def test_rows_without_a_reference_are_left_out(name: str, folders: dict[str, Path]) -> None:
    net, x = writer(folders[name]), given(name)
    alone = net.loss(batch(net, x, [None, None, TEXTS[2], None])).total
    assert torch.allclose(net.loss(batch(net, x.take(torch.tensor([2])), [TEXTS[2]])).total, alone, atol=1e-6)
    nothing = net.loss(batch(net, x, [None] * 4)).total
    nothing.backward()
    assert nothing == 0 and all(p.grad is None or not p.grad.any() for p in net.parameters())


def slow(name: str, net: Seq2Seq, x: Tensor, how: Decoding) -> tuple[list[int], float]:
    """The likeliest allowed word at each step, all words read anew each time; and their log-probability."""
    words: list[int] = []
    total, most = 0.0, min(net.task.longest_ - 1, how.max_length or 99)
    while END not in words:
        logits = forward(name, net.network, x, torch.tensor([[*net.prompt, *words]]))[0, -1].detach()
        logits[[*net.task.vocabulary.banned, *range(SIZE, SIZE + MORE)]] = -math.inf
        logp = logits.log_softmax(-1)
        free = logp.clone()
        if len(words) < how.min_length:
            free[END] = -math.inf
        word = END if len(words) == most else int(free.argmax())
        total += float(logp[word])
        words.append(word)
    return words, total


@pytest.mark.parametrize("settings", [{}, {"min_length": 3, "max_length": 4}])
def test_greedy_is_the_likeliest_word_each_time(name: str, settings: dict[str, Any], folders: dict[str, Path]) -> None:
    net, x, how = writer(folders[name]), given(name, [1]), Decoding("greedy", **settings)
    trained(net, x, 4)
    got = net.write({"x": x}, how)
    clean = torch.where(x.mask.reshape(-1, *[1] * (x.values.ndim - 1)), x.values, 0.0)
    for b in range(4):
        words, total = slow(name, net, clean[[b]], how)
        assert got.ids[b, 0].tolist() == words + [END] * (got.ids.shape[2] - len(words))
        assert math.isclose(got.logprob[b, 0], total, abs_tol=1e-4)


def ended(ids: list[int]) -> list[int]:
    return ids[: ids.index(END)]


def stock(name: str, net: Seq2Seq, x: Tensor, how: Decoding) -> Any:
    """What transformers writes when it is asked directly."""
    from transformers import GenerationMixin

    form = {
        "num_beams": how.beams, "num_return_sequences": how.captions, "length_penalty": how.length_penalty,
        "no_repeat_ngram_size": how.no_repeat, "min_new_tokens": how.min_length, "max_new_tokens": 14,
        "early_stopping": True, "return_dict_in_generate": True, "output_scores": True, "pad_token_id": END,
    }  # fmt: skip
    start = {"decoder_start_token_id": BEGIN, "eos_token_id": END}
    ids = torch.tensor([net.prompt] * len(x))
    with source.quiet():
        if name == "whisper":
            return GenerationMixin.generate(net.network, x, decoder_input_ids=ids, **start, **form)
        if name == "blip":
            del form["pad_token_id"]
            return net.network.generate(x, **form)
        more = {"input_ids": ids, "eos_token_id": END} if name == "git" else start
        return net.network.generate(pixel_values=x, **more, **form)


@pytest.mark.parametrize(
    "how", [Decoding(beams=3, captions=2), Decoding(beams=4, captions=4, length_penalty=0.3, no_repeat=1, min_length=2)]
)
def test_beams_are_those_of_transformers(name: str, how: Decoding, taught: Callable[[str], Seq2Seq]) -> None:
    net, x = taught(name), given(name)
    net.task.longest_ = 15 if name != "whisper" else 13
    got, want = net.write({"x": x}, how), stock(name, net, x.values, how)
    net.task.longest_ = 7
    texts = want.sequences[:, len(net.prompt) :].unflatten(0, (4, -1))
    scores = want.sequences_scores.unflatten(0, (4, -1))
    for b in range(4):
        for n in range(how.captions):
            a, c = (ended(row[b, n].tolist()) for row in (got.ids, texts))
            assert a == c
            assert math.isclose(got.logprob[b, n] / (len(a) + 1) ** how.length_penalty, scores[b, n], abs_tol=1e-4)


HOWS = [
    Decoding("greedy"),
    Decoding(beams=4, captions=3),
    Decoding(beams=2, no_repeat=2, min_length=2, max_length=4),
    Decoding("sample", captions=3, top_p=0.9, top_k=5, temperature=1.5, seed=3),
]


def same(a: Texts, b: Texts) -> None:
    length = min(a.ids.shape[2], b.ids.shape[2])
    assert torch.equal(a.ids[..., :length], b.ids[..., :length])
    assert (a.ids[..., length:] == END).all() and (b.ids[..., length:] == END).all()
    assert torch.allclose(a.logprob, b.logprob, atol=1e-4)


@pytest.mark.parametrize("how", HOWS, ids=str)
def test_the_laws_of_writing(name: str, how: Decoding, taught: Callable[[str], Seq2Seq]) -> None:
    """Masked values never matter, rows never see each other, banned ids never come, every caption ends."""
    net, x = taught(name), given(name, [1])
    dirty, zero = x.values.clone(), x.values.clone()
    dirty[1], zero[1] = torch.nan, 0.0
    net.task.vocabulary.shut = True
    got = net.write({"x": x}, how)
    same(got, net.write({"x": Masked(dirty, x.mask)}, how))
    same(got, net.write({"x": Masked(zero, torch.ones_like(x.mask))}, how))
    alone = net.write({"x": x.take(torch.tensor([2]))}, how)
    same(got.take(torch.tensor([2])), alone)
    net.task.vocabulary.shut = False
    words = got.ids != END
    lengths = words.sum(-1)
    assert got.ids.shape[:2] == (4, how.captions) and got.ids.shape[2] <= net.task.longest_
    assert (got.ids[..., -1] == END).all() and torch.isfinite(got.logprob).all()
    assert not torch.isin(got.ids, torch.tensor([*BANNED, *range(SIZE, SIZE + MORE)])).any()
    assert lengths.min() >= how.min_length and (not how.max_length or lengths.max() <= how.max_length)
    rank = got.logprob / (lengths + 1) ** how.length_penalty
    assert (rank.diff(dim=1) <= 1e-6).all()
    if how.method == "beam":
        assert all(len({tuple(t) for t in row.tolist()}) == how.captions for row in got.ids)


def test_masked_values_reach_no_gradient(name: str, folders: dict[str, Path]) -> None:
    x, grads = given(name, [1]), []
    for junk in (0.0, torch.nan):
        values = x.values.clone()
        values[1] = junk
        net = writer(folders[name])
        net.loss(batch(net, Masked(values, x.mask), TEXTS)).total.backward()
        grads.append([p.grad for p in net.parameters()])
    assert all(torch.equal(a, b) and torch.isfinite(a).all() for a, b in zip(*grads, strict=True))


def test_draws_differ_by_seed_alone(taught: Callable[[str], Seq2Seq]) -> None:
    net, x = taught("blip"), given("blip")
    draw = lambda seed: net.write({"x": x}, Decoding("sample", captions=4, temperature=2.0, seed=seed))  # noqa: E731
    before = torch.get_rng_state()
    first = draw(0)
    assert torch.equal(torch.get_rng_state(), before)
    same(first, draw(0))
    assert first.ids.shape != draw(1).ids.shape or not torch.equal(first.ids, draw(1).ids)


def test_recombined_rows_are_written_as_rows_are(name: str, taught: Callable[[str], Seq2Seq]) -> None:
    net, x = taught(name), given(name)
    at = torch.tensor([3, 0, 0])
    whole = net.infer({"x": x})
    assert whole.rows == 4 and net.reads == ["x"]
    same(net.recombine({"x": x})({"x": at}), whole.take(at))


def moved(part: Any, folder: Path) -> Any:
    """Built again from its specification and the folder that it wrote, with weights as a model folder has them."""
    part.save_source(folder)
    assert not list(folder.glob("*.safetensors"))
    form = json.loads(json.dumps(spec(part)))
    form["args"]["source"] = str(folder)
    save_file({k: v.clone() for k, v in part.state_dict().items()}, folder.parent / "weights.safetensors")
    again = build(form, CLASSES)
    again.load_state_dict(load_file(folder.parent / "weights.safetensors"))
    return again.eval()


def test_saved_and_built_again(name: str, taught: Callable[[str], Seq2Seq], tmp_path: Path) -> None:
    net, x = taught(name), given(name)
    again = moved(net, tmp_path / "source")
    assert again.prompt == net.prompt and again.decoding == net.decoding
    assert torch.equal(again.loss(batch(net, x)).total, net.loss(batch(net, x)).total)
    a, b = again.write({"x": x}), net.write({"x": x})
    assert torch.equal(a.ids, b.ids) and torch.equal(a.logprob, b.logprob)


def test_whisper_is_asked_for_a_language(folders: dict[str, Path]) -> None:
    assert writer(folders["whisper"]).prompt == [BEGIN, 12, 3]
    assert writer(folders["whisper"], language="de").prompt == [BEGIN, 13, 3]
    with pytest.raises(InputError, match="no language 'fr'; it has de, en"):
        writer(folders["whisper"], language="fr")


def test_whisper_writes_no_times(folders: dict[str, Path], tmp_path: Path) -> None:
    shutil.copytree(folders["whisper"], tmp_path / "w")
    path = tmp_path / "w" / "generation_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"no_timestamps_token_id": 5}))
    net = writer(tmp_path / "w", task=task(shut=False))
    assert net.prompt == [BEGIN, 12, 3, 5]
    assert net.write({"x": given("whisper")}, Decoding("sample", captions=20)).ids.max() == 5


def test_no_rows_give_no_captions(name: str, folders: dict[str, Path]) -> None:
    net, x = writer(folders[name]), given(name).take(torch.arange(0))
    got = net.write({"x": x}, Decoding(beams=3, captions=2))
    assert got.ids.shape[:2] == got.logprob.shape == (0, 2) and net.infer({"x": x}).rows == 0


def test_what_cannot_be_is_told(folders: dict[str, Path]) -> None:
    with pytest.raises(InputError, match="can't search by diverse beams: transformers has dropped them"):
        writer(folders["blip"]).write({"x": given("blip")}, Decoding("diverse", beams=4, groups=2))
    with pytest.raises(InputError, match=r"of the kind 'bert', which can't write.* vision-encoder-decoder, blip, git"):
        writer(folders["bert"])
    many = Generation(Listed([*WORDS, *"uvwxyz"]), limit=6).fit(TEXTS)
    with pytest.raises(InputError, match=r"writes 14 ids, but the vocabulary has 18; use the network's own.*HubTokens"):
        writer(folders["blip"], task=many)
    with pytest.raises(InputError, match="writes at most 24 words with the end, but the task asks for 31; lower"):
        writer(folders["blip"], task=task(limit=30))


# --- a language model as the decoder --------------------------------------------------------------------------------


@pytest.fixture(params=list(MODELS))
def model(request: pytest.FixtureRequest, folders: dict[str, Path]) -> HubDecoder:
    torch.manual_seed(0)
    return HubDecoder(str(folders[request.param]), 6, SIZE).eval()


HERE = [[True, True, True, True], [False, True, False, True], [True, True, False, False], [False] * 4]
LINES = [[BEGIN, 4, 5, 8], [BEGIN, 6, 9, 10], [BEGIN, 8, 8, 8], [BEGIN, 4, 7, 9]]


def memory(junk: float = 9.0) -> Masked:
    g = torch.Generator().manual_seed(2)
    mask = torch.tensor(HERE)
    return Masked(torch.where(mask[..., None], torch.randn(4, 4, 6, generator=g), junk), mask)


def lines() -> Masked:
    ids = torch.tensor(LINES)
    return Masked(ids, torch.ones(ids.shape, dtype=torch.bool))


def hidden(model: HubDecoder, x: Masked) -> Tensor:
    return model.teacher_forcing(model.start(x), lines()).hidden


def test_step_is_forced(model: HubDecoder) -> None:
    x, ids = memory(), lines()
    want = model.teacher_forcing(model.start(x), ids).hidden
    state = model.start(x)
    for t in range(4):
        got, state = model.step(state, ids.values[:, t])
        assert torch.allclose(got, want[:, t], atol=1e-5)
    rows = torch.tensor([2, 0, 0])
    taken = model.teacher_forcing(model.start(x).take(rows), ids.take(rows)).hidden
    assert torch.allclose(taken, want[rows], atol=1e-5)


def test_it_is_the_model_with_the_memory_before_the_words(model: HubDecoder) -> None:
    x = memory()
    got = model.logits(hidden(model, x))
    for b in range(3):
        prefix = model.map(x.values[b][x.mask[b]])
        words = model.model.get_input_embeddings()(torch.tensor(LINES[b]))
        want = model.model(inputs_embeds=torch.cat([prefix, words])[None]).logits[0, len(prefix) :, :SIZE]
        assert torch.allclose(got[b], want, atol=1e-5)
    assert torch.isfinite(got[3]).all()
    assert model.start(x).past["mask"].any(1).all()  # some kernels give NaN where all is shut


@pytest.mark.parametrize("junk", [1e30, math.nan, math.inf])
def test_masked_memory_never_matters(model: HubDecoder, junk: float) -> None:
    outs, grads = [], []
    for dirty in (0.0, junk):
        model.zero_grad()
        x = memory(dirty)
        values = x.values.clone().requires_grad_()
        y = hidden(model, Masked(values, x.mask))
        y.square().sum().backward()
        outs.append(y.detach())
        grads += [values.grad, model.map.weight.grad.clone()]
    assert torch.equal(*outs) and torch.isfinite(outs[0]).all()
    assert torch.equal(grads[0], grads[2]) and torch.equal(grads[1], grads[3]) and not grads[0][~x.mask].any()
    longer = Masked(nn.functional.pad(x.values, (0, 0, 3, 2), value=junk), nn.functional.pad(x.mask, (3, 2)))
    assert torch.allclose(hidden(model, longer), outs[0], atol=1e-5)


def test_padded_words_and_other_rows_never_matter(model: HubDecoder) -> None:
    x, ids = memory(), lines()
    whole = model.teacher_forcing(model.start(x), ids).hidden
    short = Masked(ids.values.clone(), torch.tensor([[True, True, False, False]] * 4))
    short.values[:, 2:] = 10**6
    assert torch.allclose(model.teacher_forcing(model.start(x), short).hidden[:, :2], whole[:, :2], atol=1e-5)
    for b in range(4):
        row = torch.tensor([b])
        alone = model.teacher_forcing(model.start(x.take(row)), ids.take(row)).hidden
        assert torch.allclose(alone[0], whole[b], atol=1e-5)


def test_attention_is_the_share_of_each_memory_token(model: HubDecoder) -> None:
    x = memory()
    state = model.start(x)
    got = model.attention(state, lines())
    assert torch.allclose(got.sum(-1), x.mask.any(1)[:, None].float().expand(4, 4), atol=1e-5)
    assert not got[~x.mask[:, None].expand_as(got)].any() and (got >= 0).all()
    was = model.model.config._attn_implementation
    assert was != "eager"
    model.model.set_attn_implementation("eager")
    words = model.model.get_input_embeddings()(torch.tensor(LINES[1]))
    row = torch.cat([model.map(x.values[1][x.mask[1]]), words])[None]
    seen = torch.stack(model.model(inputs_embeds=row, output_attentions=True).attentions).mean((0, 2))[0, 2:, :2]
    model.model.set_attn_implementation(was)
    assert torch.allclose(got[1][:, x.mask[1]], seen / seen.sum(-1, keepdim=True), atol=1e-5)


def taught_lines(model: HubDecoder, steps: int) -> list[float]:
    """Learn the first three lines by heart; the loss of each step."""
    learn = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=2e-2)
    words = torch.tensor([[*row[1:], END] for row in LINES[:3]])
    x, ids, losses = memory().take(torch.arange(3)), lines().take(torch.arange(3)), []
    for _ in range(steps):
        learn.zero_grad()
        forced = model.teacher_forcing(model.start(x), ids)
        loss = nn.functional.cross_entropy(model.logits(forced.hidden).flatten(0, 1), words.flatten()) + forced.penalty
        loss.backward()
        learn.step()
        losses.append(loss.item())
    return losses


@pytest.mark.parametrize("kind", list(MODELS))
def test_beams_over_it_are_those_of_transformers(kind: str, folders: dict[str, Path]) -> None:
    torch.manual_seed(0)
    model, x = HubDecoder(str(folders[kind]), 6, SIZE + MORE, finetune=True), memory()
    taught_lines(model, 12)
    model.eval()
    how = Decoding(beams=3, captions=3, length_penalty=0.5)
    got = search(model, model.start(x), begin=BEGIN, end=END, excluded=[], how=how, limit=15)
    for b in range(3):
        begin = model.model.get_input_embeddings()(torch.tensor([BEGIN]))
        row = torch.cat([model.map(x.values[b][x.mask[b]]), begin])[None]
        with source.quiet():
            want = model.model.generate(
                inputs_embeds=row, attention_mask=torch.ones(row.shape[:2]).long(), num_beams=3,
                num_return_sequences=3, length_penalty=0.5, max_new_tokens=15, early_stopping=True, eos_token_id=END,
                pad_token_id=END, return_dict_in_generate=True, output_scores=True,
            )  # fmt: skip
        for n in range(3):
            a, c = (ended(row.tolist()) for row in (got.ids[b, n], want.sequences[n]))
            assert a == c
            score = want.sequences_scores[n] * (len(a) + 1) ** 0.5
            assert math.isclose(got.logprob[b, n], score, abs_tol=1e-4)


@pytest.mark.parametrize("tune", [False, True])
def test_it_learns_the_map_and_the_model_where_asked(tune: bool, folders: dict[str, Path]) -> None:
    torch.manual_seed(0)
    model = HubDecoder(str(folders["gpt2"]), 6, SIZE, finetune=tune).train()
    assert model.training and model.model.training == tune
    before = [p.clone() for p in model.model.parameters()]
    losses = taught_lines(model, 6)
    assert losses[-1] < losses[0] and model.map.weight.grad.any()
    moved_at_all = [not torch.equal(a, b) for a, b in zip(before, model.model.parameters(), strict=True)]
    assert all(moved_at_all) if tune else not any(moved_at_all)


def test_a_decoder_saved_and_built_again(model: HubDecoder, tmp_path: Path) -> None:
    again = moved(model, tmp_path / "source")
    assert torch.equal(hidden(again, memory()), hidden(model, memory()))
    assert torch.equal(again.logits(hidden(again, memory())), model.logits(hidden(model, memory())))


def test_a_caption_of_any_length_and_a_memory_that_is_too_long(model: HubDecoder) -> None:
    ids = Masked(torch.full((4, 40), 4), torch.ones(4, 40, dtype=torch.bool))
    assert torch.isfinite(model.teacher_forcing(model.start(memory()), ids).hidden).all()
    with pytest.raises(InputError, match=r"memory has 30 tokens, but the language model .* reads 24 with the text"):
        model.start(Masked(torch.zeros(1, 30, 6), torch.ones(1, 30, dtype=torch.bool)))


def test_mixed_precision_and_no_rows(model: HubDecoder) -> None:
    x, how = memory(), Decoding(beams=2)
    with torch.autocast("cpu", torch.bfloat16):
        forced = model.teacher_forcing(model.start(x), lines())
        model.logits(forced.hidden).float().square().mean().backward()
        got = search(model, model.start(x), begin=BEGIN, end=END, excluded=[], how=how, limit=9)
    assert torch.isfinite(model.map.weight.grad).all() and torch.isfinite(got.logprob).all()
    start = model.start(x.take(torch.arange(0)))
    none = search(model, start, begin=BEGIN, end=END, excluded=[], how=how, limit=9)
    assert none.ids.shape[:2] == none.logprob.shape == (0, 1)


def test_models_that_cannot_be_decoders(folders: dict[str, Path], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no causal language model: .* depends on later ones; name one"):
        HubDecoder(str(folders["bert"]), 6, SIZE)
    for name in ("mpt", "mamba"):  # the one tells places by the length of what it reads, the other has a state
        with pytest.raises(
            InputError, match="can't follow a memory with a mask: it keeps no keys and values, or counts"
        ):
            HubDecoder(str(folders[name]), 6, SIZE)
    with pytest.raises(InputError, match="does more than a linear map after its last layer"):
        HubDecoder(str(folders["granite"]), 6, SIZE)
    with pytest.raises(InputError, match="knows 14 ids, but the vocabulary has 15; write with the model's own"):
        HubDecoder(str(folders["gpt2"]), 6, 15)
    with pytest.raises(InputError, match="transformers can't load"):
        HubDecoder(str(folders["whisper"].parent / "blip"), 6, SIZE)
    (tmp_path / "config.json").write_text((folders["gpt2"] / "config.json").read_text())
    with pytest.raises(InputError, match="has no safetensors weights; save it again"):
        load_network(str(tmp_path), "AutoModelForCausalLM")
    (tmp_path / "pytorch_model.bin").touch()
    with pytest.raises(
        InputError, match=r"weights, only pytorch_model\.bin, which may run code when read; save it again"
    ):
        load_network(str(tmp_path), "AutoModelForCausalLM")
    whole = load_file(folders["gpt2"] / "model.safetensors")
    lost = next(k for k in whole if "attn" in k)
    save_file({k: v for k, v in whole.items() if k != lost}, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lack 1 of the network's tensors .*not trained to write, or the file is inc"):
        load_network(str(tmp_path), "AutoModelForCausalLM")

"""Vocabularies: text undoes ids, in any script; what is learned against its definition."""

import json
import sys
import unicodedata
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cases import over
from polymodal.decoders.tokens import HubTokens
from polymodal.errors import InputError
from polymodal.spec import build, spec, table
from polymodal.tasks import vocabulary
from polymodal.tasks.vocabulary import (
    JOINER,
    MARKS,
    VOCABULARIES,
    CharacterList,
    Subwords,
    Vocabulary,
    WordList,
    fold_case,
    pieces,
    tokenizers,
)

CAPTIONS = [
    "A dog runs.",
    "Two dogs run, and a man in Paris doesn't.",
    "The man's dog (black-and-white) runs in Paris!",
    "Paris in 2024: 3.5 men",
]
SCRIPTS = [
    "Ein Mädchen hört „Über allen Gipfeln“.",
    "Девушка в красном платье.",
    "Η γάτα κοιμάται· ο σκύλος όχι.",
    "一个女孩在唱歌。",
    "我有iPhone手机 和 two dogs",
    "少女がピアノを弾いている。ガール",
    "ผู้หญิงกำลังเล่นกีตาร์ ที่บ้าน",
    "ສາວນ້ອຍ ກຳລັງຫຼິ້ນ",
    "ក្មេងស្រីកំពុងច្រៀង។",
    "မိန်းကလေး သီချင်းဆိုနေသည်။",
    "लड़की गाना गा रही है।",
    "মেয়েটি গান গাইছে।",
    "الفتاةُ تَعزِفُ البيانو، أليس كذلك؟",
    "ילדה מנגנת בפסנתר.",
    "소녀가 피아노를 친다.",
    "Cô gái chơi đàn dương cầm.",
    "می‌خواهم بروم",
    "👩‍👩‍👧 1️⃣ 👍🏽 🇫🇷 :-) x_y",
    "e\u0301 A\u030a q\u0307\u0323",
    "\u0301 lone mark",
    "l'homme rock'n'roll 'tis O'Neill the dogs' don’t",
]
PASSAGES = [*CAPTIONS, *SCRIPTS]
# every kind of character: letters of any script, marks, spaces, symbols, what no file can hold
ANY = st.text(st.characters() | st.sampled_from("aA .'’_-\u0301\u0e33\u4e2d\u200d\x1f\u00a0İßΣς\u0345"), max_size=12)


def flat(text: str) -> str:
    """NFC, one space for each run of white space."""
    text = text.encode("utf-8", "replace").decode()
    return " ".join(unicodedata.normalize("NFC", text).split())


def caseless(text: str) -> str:
    return unicodedata.normalize("NFC", flat(text).casefold())


FITTED = {name: kind().fit(PASSAGES) for name, kind in VOCABULARIES.items()}
KINDS = sorted(VOCABULARIES)


@over("text", PASSAGES)
def test_text_undoes_ids_in_any_script(text: str) -> None:
    words = WordList(min_count=1).fit(PASSAGES)
    said = words.text(words.ids(text.replace(" ", " \n ")))
    assert caseless(said) == caseless(text)
    assert unicodedata.is_normalized("NFC", said)
    for kind in (CharacterList().fit(PASSAGES), FITTED["bpe"]):
        assert kind.text(kind.ids(f" {text}\t")) == flat(text)


@settings(max_examples=300, deadline=None)
@given(st.lists(ANY, min_size=1, max_size=4))
@example(["ΑΣ ας ΑΣΑ"])
@example(["İ i̇ I ı"])
@example(["ﬁ FI Straße STRASSE ẞ"])
@example(["ᾳ ᾼ Αι \u0345"])
@example(["Ꭰ ꭰ ᏸ Ᏸ"])
@example(["a\x1fb \ue000"])
def test_text_undoes_ids_of_any_characters(texts: list[str]) -> None:
    if not any(flat(t) for t in texts):
        return
    words, letters = WordList(min_count=1).fit(texts), CharacterList().fit(texts)
    for text in texts:
        assert words.unknown not in words.ids(text)
        # the case that is shown is another spelling of the same caseless text
        assert caseless(words.text(words.ids(text))) == caseless(text)
        assert words.ids(words.text(words.ids(text))) == words.ids(text)
        assert letters.text(letters.ids(text)) == flat(text)


@settings(max_examples=200, deadline=None)
@given(ANY)
def test_nothing_is_unknown_to_pieces_over_bytes(text: str) -> None:
    bpe = FITTED["bpe"]
    assert bpe.text(bpe.ids(text)) == flat(text)
    assert all(len(MARKS) <= i < bpe.size for i in bpe.ids(text))


@settings(max_examples=300, deadline=None)
@given(ANY)
def test_pieces_are_the_chunk(text: str) -> None:
    for chunk in flat(text).split():
        first, *others = pieces(chunk)
        assert all(p[0] == JOINER for p in others) and JOINER not in first
        assert "".join([first, *(p[1:] for p in others)]) == chunk


@over(
    "chunk, tokens",
    [
        ("dog.", "dog +."),
        ("“(dog),”", "“ +( +dog +) +, +”"),
        ("man's", "man +'s"),
        ("DOESN’T", "DOESN +’T"),
        ("dogs'", "dogs +'"),
        ("O'Neill", "O +' +Neill"),
        ("O'Nei", "O +' +Nei"),
        ("3.5", "3 +. +5"),
        ("x_y", "x +_ +y"),
        ("हिन्दी।", "हिन्दी +।"),
        ("q\u0307\u0323a", "q\u0307\u0323a"),
        ("می‌خواهم", "می‌خواهم"),
        ("中文abc", "中 +文 +abc"),
        ("กำลัง", "ก +ำ +ลั +ง"),
        ("カ\u3099キ", "カ\u3099 +キ"),
        ("👍🏽!", "👍🏽 +!"),
    ],
)
def test_words_and_punctuation_are_apart(chunk: str, tokens: str) -> None:
    assert " ".join(p.replace(JOINER, "+") for p in pieces(chunk)) == tokens


def test_words_are_counted_whatever_their_case_and_numbered_by_frequency() -> None:
    words = WordList(min_count=2).fit(["B a b c", "b A d"])
    assert words.words_ == ["b", "a"]  # three times, twice
    assert words.ids("A b B x") == [4, 3, 3, 2] and words.size == 5
    assert WordList(min_count=2, limit=1).fit(["B a b c", "b A d"]).words_ == ["b"]
    assert WordList(min_count=3).fit(["c b a", "B"]).words_ == ["b", "a", "c"]  # none comes so often: all are kept


def test_the_case_shown_is_the_commonest_away_from_starts() -> None:
    words = WordList(min_count=1).fit(
        [
            "A man in Paris",
            "Paris is a town",
            "“Red” is red",
            "NATO NATO nato",
            "Here NATO",
            "Only McCoy MCCOY mcCoy McCoy",
        ]
    )
    assert words.text(words.ids("a MAN IN paris")) == "a man in Paris"
    assert words.text(words.ids("HERE only")) == "here only"  # seen at starts alone
    assert words.text(words.ids("nato mccoy RED")) == "NATO McCoy red"
    even = WordList(min_count=1).fit(["x Rose rose", "x rose Rose"])
    assert even.text(even.ids("ROSE")) == "rose"


def test_a_word_at_a_start_in_quotation_marks_has_no_case() -> None:
    words = WordList(min_count=1).fit(["(The cat", "(The dog"])
    assert words.text(words.ids("(the CAT")) == "(the cat"


def test_a_form_with_or_without_a_space_stands_for_the_other() -> None:
    words = WordList(min_count=1).fit(["dog, cat"])
    assert words.text(words.ids("dog , cat")) == "dog, cat"
    assert words.unknown not in words.ids("cat-cat"[:3]) and words.ids("x,") == [words.unknown, words.ids(",")[0]]
    han = WordList(min_count=1).fit(["「一个」女孩。"])
    assert han.text(han.ids("女孩「一个」。")) == "女孩「一个」。"


@over("name", KINDS)
def test_marks_are_ids_that_no_text_spells(name: str) -> None:
    kind = FITTED[name]
    assert (kind.begin, kind.end, kind.unknown) == (0, 1, 2)
    assert kind.end not in kind.banned and {kind.begin, kind.unknown} <= set(kind.banned)
    ids = kind.ids("A dog <end> runs <begin> <unknown>")
    assert not {0, 1} & set(ids)
    plain = kind.ids("A dog runs")
    assert kind.text([0, *plain[:1], 2, *plain[1:], 1, 1]) == kind.text(plain)
    assert kind.tokens([0, 1, 2]) == list(MARKS)
    assert kind.ids(" \n") == [] and kind.text([]) == "" and kind.tokens([]) == []


@over("name", KINDS)
def test_ids_are_below_size_and_every_id_can_be_read(name: str) -> None:
    kind = FITTED[name]
    every = range(kind.size)
    tokens = kind.tokens(every)
    assert len(tokens) == kind.size and all(tokens)
    assert all(t.isprintable() or "\u200c" in t or "\u200d" in t for t in tokens)
    assert all(kind.text([i]) is not None for i in every)
    seen = {i for text in PASSAGES for i in kind.ids(text)}
    assert max(seen) < kind.size and (
        name != "characters" or kind.size == len(MARKS) + len(set("".join(map(flat, PASSAGES))))
    )


@over("name", KINDS)
def test_numpy_ids_are_ids(name: str) -> None:
    kind = FITTED[name]
    ids = np.array(kind.ids("A dog runs in Paris."))
    assert kind.text(ids) == kind.text(ids.tolist()) and kind.tokens(ids) == kind.tokens(ids.tolist())


@over("name", KINDS)
def test_a_saved_vocabulary_is_the_same(name: str) -> None:
    kind = FITTED[name]
    form = json.loads(json.dumps(spec(kind)))
    again = build(form, table(VOCABULARIES.values()))
    assert type(again) is type(kind) and again.size == kind.size
    for text in PASSAGES:
        assert again.ids(text) == kind.ids(text) and again.text(kind.ids(text)) == kind.text(kind.ids(text))


@over("name", KINDS)
def test_a_second_fit_forgets_the_first(name: str) -> None:
    kind = VOCABULARIES[name]().fit(["dog dog"])
    before = kind.ids("dog dog")
    assert kind.fit(["cat cat dog dog zebra zebra zebra"]).ids("dog dog") != before
    assert kind.text(kind.ids("dog zebra")) == "dog zebra"


@over("name", KINDS)
def test_what_is_handed_out_is_not_remembered(name: str) -> None:
    kind = FITTED[name]
    first = kind.ids("A dog runs.")
    first.append(999_999)
    assert kind.ids("A dog runs.") == first[:-1]


@over("name", KINDS)
@over("texts, said", [([], "there is no training text"), (["", " \n"], "all 2 training texts are blank")])
def test_texts_without_words_are_refused(name: str, texts: list[str], said: str) -> None:
    with pytest.raises(InputError, match=f"^{said}, so there are no words to learn; name a target column"):
        VOCABULARIES[name]().fit(iter(texts))


@over(
    "make, said",
    [
        (lambda: WordList(limit=0), "WordList: limit can't be 0; it must be a whole number from 1"),
        (lambda: WordList(min_count=1.5), "WordList: min_count can't be 1.5; it must be"),  # type: ignore[arg-type]
        (lambda: CharacterList(limit=-1), "CharacterList: limit can't be -1"),
        (lambda: Subwords(limit=200), "Subwords: limit can't be 200; it must be a whole number from 256"),
    ],
)
def test_settings_out_of_bounds_are_refused(make: Callable[[], Vocabulary], said: str) -> None:
    with pytest.raises(InputError, match=said):
        make().fit(["a dog"])


def test_characters_are_the_commonest_composed_ones() -> None:
    kind = CharacterList(limit=3).fit(["aab e\u0301e\u0301", "a b"])
    assert kind.characters_ == ["a", " ", "b"]  # 3, 2, 2 times; é comes twice too and stands behind b
    assert kind.ids("a  bé") == [3, 4, 5, 2] and kind.tokens(kind.ids("a b")) == ["a", "␣", "b"]


def test_pieces_merge_what_comes_often() -> None:
    kind = Subwords(limit=300).fit(["low lower lowest"] * 9)
    assert kind.tokens(kind.ids("low lower")) == ["low", "lower"]
    assert kind.size <= 300 + len(MARKS)
    assert kind.tokens(kind.ids("lowed slow")) == ["lowe", "##d", "␣", "##s", "##lo", "##w"]
    assert kind.tokens(kind.ids("中"))[-3:] == ["<e4>", "<b8>", "<ad>"]
    assert Subwords(limit=300).fit(["low lower lowest"] * 9).bpe_ == kind.bpe_


def test_pieces_are_those_that_the_library_finds_in_the_whole_text() -> None:
    kind = Subwords(limit=400).fit(PASSAGES)
    whole = tokenizers().Tokenizer.from_str(kind.bpe_)
    for text in PASSAGES:
        assert kind.ids(text) == [i + len(MARKS) for i in whole.encode(flat(text)).ids]


def test_broken_characters_are_written_as_such() -> None:
    kind = FITTED["bpe"]
    ids = [i for i in kind.ids("🦥") if kind.tokens([i]) != ["␣"]]
    assert kind.text(ids[:-1]) in ("\ufffd", "\ufffd" * (len(ids) - 1))


def test_without_the_library_it_is_said_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    with pytest.raises(ImportError, match=r"Subwords needs the tokenizers library: pip install polymodal\[hub\]"):
        Subwords().fit(["a dog"])


def test_a_chunk_that_came_before_is_not_taken_apart_again(monkeypatch: pytest.MonkeyPatch) -> None:
    taken: list[str] = []
    kind = WordList(min_count=1).fit(["a dog's bone"])
    monkeypatch.setattr(vocabulary, "pieces", lambda chunk: taken.append(chunk) or pieces(chunk))
    first = kind.ids("a dog's bone, a dog's!")
    assert kind.ids("a dog's bone, a dog's!") == first and taken == ["a", "dog's", "bone,", "dog's!"]


@over(
    "unit",
    ["x", "क\u093f", "👩\u200d", "a'b", "\u0301", "a\u0301'"],
)
def test_a_long_text_is_taken_apart_and_not_kept(unit: str) -> None:
    words = WordList(min_count=1).fit(["a dog"])
    assert words.ids(unit * 1_000) and not words._index[2]
    assert "".join(p.removeprefix(JOINER) for p in pieces(unit * 1_000)) == unit * 1_000


@over("name", KINDS)
def test_a_lone_surrogate_is_a_question_mark(name: str) -> None:
    kind = VOCABULARIES[name]().fit(["a \ud800 dog ? ? a"])
    assert kind.ids("a \ud800") == kind.ids("a ?") and kind.text(kind.ids("a \ud800")) == "a ?"


def test_case_is_folded_and_composed() -> None:
    assert fold_case("É") == fold_case("e\u0301") == "é" and fold_case("STRASSE") == fold_case("straße")


# --- tokenizers of pretrained networks ----------------------------------------------------------------


def hub_folder(folder: Path, kind: str) -> Path:
    """A network's folder with a tokenizer over bytes, as GPT-2's, or of word pieces, as BERT's."""
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import BertConfig, BertTokenizer, PreTrainedTokenizerFast

    folder.mkdir()
    if kind == "bert":
        words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a", "dog", "##s", "run", "in", "paris", ".", "'"]
        (folder / "v").mkdir()
        (folder / "v/vocab.txt").write_text("\n".join(words), encoding="utf-8")
        BertTokenizer.from_pretrained(folder / "v").save_pretrained(folder)
    else:
        bpe = Tokenizer(models.BPE())
        bpe.pre_tokenizer, bpe.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
        alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
        marks = ["<|endoftext|>"] if kind == "gpt2" else []
        trainer = trainers.BpeTrainer(
            vocab_size=300, special_tokens=marks, initial_alphabet=alphabet, show_progress=False
        )
        bpe.train_from_iterator(PASSAGES, trainer)
        names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), "<|endoftext|>") if marks else {}
        PreTrainedTokenizerFast(tokenizer_object=bpe, **names).save_pretrained(folder)
    BertConfig(num_hidden_layers=1, hidden_size=8, intermediate_size=8, num_attention_heads=2).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def hubs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    home = tmp_path_factory.mktemp("hubs")
    return {kind: hub_folder(home / kind, kind) for kind in ("gpt2", "bert", "endless")}


def test_a_pretrained_tokenizer_over_bytes_is_undone(hubs: dict[str, Path], tmp_path: Path) -> None:
    kind = HubTokens(str(hubs["gpt2"])).fit([])
    for text in PASSAGES:
        assert kind.text(kind.ids(f" {text}\n")) == flat(text)
        assert kind.ids(text) == kind.ids(text)
    assert kind.begin == kind.end == kind.unknown == 0 and kind.banned == []
    assert kind.size == 300 and all(0 < i < 300 for i in kind.ids("a <|endoftext|> dog"))
    assert kind.text([*kind.ids("A dog"), kind.end]) == "A dog"
    kind.ids("A dog").append(7)
    assert 7 not in kind.ids("A dog")
    kind.save_source(tmp_path)
    again = build(json.loads(json.dumps(spec(kind))), table([HubTokens]))
    again.source = str(tmp_path)
    assert again.ids("A dog in Paris") == kind.ids("A dog in Paris")


def test_a_pretrained_tokenizer_of_word_pieces(hubs: dict[str, Path]) -> None:
    kind = HubTokens(str(hubs["bert"])).fit([])
    assert kind.begin == 2 and kind.end == 3 and kind.unknown == 1 and kind.banned == [0, 1, 2, 4] and kind.size == 13
    ids = kind.ids("A dogs run in Paris [SEP]")
    assert ids[:6] == [5, 6, 7, 8, 9, 10] and 3 not in ids
    assert kind.tokens(ids[:3]) == ["a", "dog", "##s"] and kind.text([2, *ids[:6], 3, 0]) == "a dogs run in paris"


def test_a_tokenizer_without_an_end_is_refused(hubs: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"endless' has no end-of-text token \(eos or sep\).*words, bpe or characters"):
        HubTokens(str(hubs["endless"])).fit([])

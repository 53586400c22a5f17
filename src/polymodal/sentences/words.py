"""Tokenisation for the metrics of texts: words, in any script."""

import re
import unicodedata
from functools import lru_cache
from hashlib import blake2b

ASCII = re.compile("[a-z0-9']+")
RUNS = re.compile("(?:[LS]M*|(?<=[LM])J(?=L))+")  # over the kinds of characters, see _kind
WORDS = re.compile("L(?:[LM]|J(?=L))*|SM*")
# apostrophes as typographers set them; selectors, which say how the character before is drawn
SAME = {0x2019: "'", 0x02BC: "'", **dict.fromkeys(range(0xFE00, 0xFE10))}
JOINERS = "\u200c\u200d"  # inside words of Persian and of the scripts of India
SINGLE = (  # written without spaces, or pictures: each character is a word
    (0x2600, 0x27BF),  # symbols
    (0x2E80, 0x2FDF),  # radicals
    (0x3005, 0x3007),
    (0x3040, 0x312F),  # kana, bopomofo
    (0x31A0, 0x31FF),
    (0x3400, 0x4DBF),
    (0x4E00, 0x9FFF),  # ideographs
    (0xF900, 0xFAFF),
    (0xFF66, 0xFF9F),  # kana of half width
    (0x1F000, 0x1FAFF),  # emoji
    (0x20000, 0x3FFFF),  # rare ideographs
)


def words(text: str) -> list[str]:
    """The tokens of the metrics: NFC, lower case, runs of letters, digits, marks and apostrophes of any script.

    Ideographs, kana and emoji are words one by one. Other scripts without spaces, such as Thai, give one word a
    phrase: chrF and the error rate of characters are the scores to read there. Of ASCII these are the matches of
    [a-z0-9']+ in the lower-case text.

    >>> words("A dog's life, 2 times")
    ['a', "dog's", 'life', '2', 'times']
    """
    return _find(text, WORDS)


def character_text(text: str) -> str:
    """The text of the character error rate: the words, with one space wherever there was anything between them.

    >>> character_text("A dog -- runs!")
    'a dog runs'
    """
    return " ".join(_find(text, RUNS))


def normal_form(text: str) -> str:
    """What exact match compares: the words joined by spaces, or the stripped text where it has no word."""
    return " ".join(words(text)) or text.strip()


def fingerprint(text: str) -> int:
    """A hash of the words joined by spaces: 63 bits of blake2b."""
    return int.from_bytes(blake2b(" ".join(words(text)).encode(), digest_size=8).digest(), "big") >> 1


def _find(text: str, pattern: re.Pattern[str]) -> list[str]:
    if text.isascii():
        return ASCII.findall(text.lower())
    low = unicodedata.normalize("NFC", text.lower().translate(SAME))
    kinds = "".join(map(_kind, low))
    return [low[m.start() : m.end()] for m in pattern.finditer(kinds)]


@lru_cache(maxsize=2**14)
def _kind(character: str) -> str:
    """L letter, digit or apostrophe; M mark; S a word by itself; J joiner; a space for anything else."""
    code, first = ord(character), unicodedata.category(character)[0]
    if first in "LNS" and any(low <= code <= high for low, high in SINGLE):
        return "S"
    return "J" if character in JOINERS else first if first in "LM" else "L" if first == "N" or code == 0x27 else " "

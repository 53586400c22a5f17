"""How long a recording is, its rate and its channels."""

from typing import Any

from polymodal.modalities.audio.files import from_pair, playable, rate_of, read
from polymodal.modalities.sizes import Measure, Sizes, Summary, spread

SECONDS = 30.0  # of a recording that are decoded: as many as the codec reads


def extent(cell: Any) -> Sizes:
    """(seconds, rate, channels)."""
    rate = rate_of(cell) or 16_000
    x_n = read(cell, rate, SECONDS)
    if isinstance(cell, tuple):
        samples, rate = from_pair(*cell)
        return len(samples) / rate, rate, samples.shape[1]
    import soundfile

    about = soundfile.info(playable(cell))
    has_end = about.frames < 2**62  # a stream may not say how long it is
    return (about.duration if has_end else len(x_n) / rate), rate, about.channels


def in_words(sizes: Summary) -> str:
    """The size of a column's recordings."""
    rates = sizes["rates"]
    common = ", ".join(f"{r} Hz" for r in list(rates)[:3]) + (" ..." if len(rates) > 3 else "")
    channels = spread(sizes["channels"])
    return f"{spread(sizes['seconds'])} s, {common}, {channels} channel{'s' * (channels != '1')}"


MEASURE = Measure(("seconds", "rates", "channels"), extent, in_words, counted=("rates",))

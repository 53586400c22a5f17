"""Reading, resampling and log-mel frames, each against its definition or a tone whose answer is known."""

import io
import math
import struct
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from cases import over
from polymodal.batch import Masked
from polymodal.errors import Unreadable
from polymodal.modalities.audio.codec import LogMel, geometry, hertz, log_mel, mel, mel_matrix
from polymodal.modalities.audio.encoders import AudioConv, AudioTransformer, halve, level
from polymodal.modalities.audio.files import read
from polymodal.nn import SIZES
from polymodal.ops import masked_mean

TINY = SIZES["tiny"]


def tone(hz: float, rate: int, seconds: float) -> np.ndarray:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(rate * seconds)) / rate)


def wav(x: np.ndarray, rate: int, form: str = "WAV", **options: object) -> bytes:
    out = io.BytesIO()
    soundfile.write(out, x, rate, format=form, **options)
    return out.getvalue()


def slow_log_mel(x: np.ndarray, rate: int, mels: int) -> np.ndarray:
    """The definition, one number at a time."""
    hop, window, fft = geometry(rate, mels)
    low = 2595 * math.log10(1 + rate / 2 / 700) / (mels + 1)
    corners = [700 * (10 ** (i * low / 2595) - 1) for i in range(mels + 2)]
    frames = math.ceil(len(x) / hop)
    out = np.zeros((frames, mels))
    for t in range(frames):
        first = t * hop - window // 2
        power = []
        for k in range(fft // 2 + 1):
            total = 0j
            for i in range(window):
                n = first + i
                if 0 <= n < len(x):
                    hann = 0.5 - 0.5 * math.cos(2 * math.pi * i / window)
                    total += hann * x[n] * np.exp(-2j * math.pi * k * i / fft)
            power.append(abs(total) ** 2)
        for f in range(mels):
            a, b, c = corners[f : f + 3]
            for k, p in enumerate(power):
                hz = k * rate / fft
                if a < hz <= b:
                    out[t, f] += p * (hz - a) / (b - a)
                elif b < hz < c:
                    out[t, f] += p * (c - hz) / (c - b)
    return np.log(np.maximum(out, max(1e-8 * out.max(), 1e-10)))


@over("rate, mels, samples", [(1000, 4, 57), (2000, 8, 101), (1000, 6, 1), (800, 3, 16)])
def test_log_mel_is_its_definition(rate: int, mels: int, samples: int) -> None:
    x = np.random.default_rng(samples).normal(0, 0.1, samples)
    got = log_mel(torch.from_numpy(x).float(), rate, mels)
    want = slow_log_mel(x.astype(np.float32).astype(float), rate, mels)
    assert got.shape == want.shape
    assert np.abs(got.numpy() - want).max() < 1e-3


def test_the_mel_scale_is_the_htk_one() -> None:
    assert (
        mel(0) == 0 and mel(1000) == pytest.approx(999.99, abs=0.01) and mel(8000) == pytest.approx(2840.02, abs=0.01)
    )
    assert hertz(mel(440.0)) == pytest.approx(440)


@over("rate", [500, 4000, 8000, 11025, 16000])
@over("mels", [8, 64, 128])
def test_no_band_is_empty(rate: int, mels: int) -> None:
    matrix = mel_matrix(rate, geometry(rate, mels)[2], mels)
    assert (matrix.sum(1) > 0).all() and matrix.max() <= 1 and matrix.min() == 0


@over("hz", [200, 1000, 3000])
def test_a_tone_is_loudest_in_its_own_band(hz: int) -> None:
    frames = log_mel(torch.from_numpy(tone(hz, 8000, 0.5)).float(), 8000, 64)
    band = int(frames[10:-10].mean(0).argmax())
    assert abs(mel(hz) / mel(4000) * 65 - (band + 1)) <= 1


def test_silence_is_finite() -> None:
    assert torch.isfinite(log_mel(torch.zeros(100), 8000, 64)).all()


@over("came", [8000, 11025, 16000, 22050, 44100, 48000, 44099])
def test_resampling_keeps_a_tone(came: int) -> None:
    x = read((tone(440, came, 1.0), came), 8000, 9.0)
    assert abs(len(x) - 8000) <= 8
    middle = slice(1000, 7000)
    assert np.abs(x[middle] - tone(440, 8000, 1.0)[middle]).max() < 0.02


def test_resampling_drops_what_the_new_rate_cannot_hold() -> None:
    assert np.abs(read((tone(6000, 16000, 1.0), 16000), 8000, 9.0)[200:-200]).max() < 0.01  # else it sounds as 2000 Hz


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3"])
def test_formats(form: str, tmp_path: Path) -> None:
    x = tone(440, 16000, 0.5)
    data = wav(np.stack([x, x], 1), 16000, form)
    path = tmp_path / f"x.{form.lower()}"
    path.write_bytes(data)
    for cell in (data, path, str(path)):
        got = read(cell, 16000, 9.0)
        assert abs(len(got) - 8000) < 1300  # MP3 pads
        assert np.corrcoef(np.abs(np.fft.rfft(got[:8000])), np.abs(np.fft.rfft(x[: len(got)])))[0, 1] > 0.9
    assert LogMel.accepts([data, path]).confidence == 1


def test_channels_are_averaged_and_integers_scaled() -> None:
    left, right = np.array([8, 16, 0], np.float32), np.array([0, 0, 4], np.float32)
    assert read((np.stack([left, right], 1), 8000), 8000, 9.0).tolist() == [4, 8, 2]
    assert read((np.array([0, 16384, -32768], np.int16), 8000), 8000, 9.0) == pytest.approx([0, 0.5, -1], abs=1e-4)
    assert read((np.array([128, 255, 0], np.uint8), 8000), 8000, 9.0) == pytest.approx([0, 1, -1], abs=0.01)


def test_length() -> None:
    codec = LogMel(seconds=0.5)
    codec.rate_ = 8000
    shapes = {n: codec.encode((np.ones(n), 8000)).shape for n in (1, 79, 80, 81, 3999, 4000, 9000)}
    assert {n: s[0] for n, s in shapes.items()} == {1: 1, 79: 1, 80: 1, 81: 2, 3999: 50, 4000: 50, 9000: 50}
    assert codec.encode((np.ones(1), 48000)).shape == (1, 32)
    assert codec.encode(None) is None
    long = wav(np.zeros(80_000), 8000)
    assert len(read(long, 16000, 0.5)) == 8000


def test_fit_learns_rate_and_bands() -> None:
    g = np.random.default_rng(0)
    cells = [wav(g.normal(0, 0.1, 4000), r) for r in (8000, 11025, 11025, 44100)]
    codec = LogMel().fit([*cells, None, b"junk"], TINY)
    assert codec.rate_ == 11025
    frames = torch.cat([codec.encode(c).double() for c in cells])
    assert frames.mean(0).abs().max() < 0.01 and (frames.std(0) - 1).abs().max() < 0.01
    assert LogMel().fit([wav(np.zeros(99), 44100)], TINY).rate_ == 16000
    assert LogMel().fit([None], TINY).collate([None]).values.shape == (1, 1, 32)


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda d: d / "absent.wav", "absent.wav does not exist"),
        (lambda d: d, "is a folder, expected a file"),
        (lambda d: written(d / "zero.wav", b""), r"zero.wav is empty \(0 bytes\)"),
        (lambda d: written(d / "text.wav", b"hello" * 99), "text.wav can't be read as audio"),
        (lambda d: written(d / "none.wav", wav(np.zeros(0), 8000)), "none.wav is a recording of 0 samples"),
        (lambda d: written(d / "cut.flac", wav(noise(9999), 8000, "FLAC")[:3000]), "cut.flac"),
        (lambda d: (np.array([0.0, np.nan]), 8000), "NaN or infinite"),
        (lambda d: (np.array([0.0, 1e300]), 8000), "NaN or infinite"),
        (lambda d: (np.zeros(9), 3), "says 3 samples a second"),
        (lambda d: (np.zeros(9), "x"), r"a pair that is not \(samples, rate\)"),
        (lambda d: (np.zeros((2, 2, 2)), 8000), r"samples of shape \(2, 2, 2\)"),
        (lambda d: (["a"], 8000), "expected numbers"),
        (lambda d: b"", "0 bytes"),
        (lambda d: 7, r"a int is not a recording: expected a path, bytes or \(samples, rate\)"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said(make, text: str, tmp_path: Path) -> None:
    with pytest.raises(Unreadable, match=text):
        LogMel().encode(make(tmp_path))


def noise(n: int) -> np.ndarray:
    return np.random.default_rng(0).normal(0, 0.1, n)


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_a_cut_off_file_is_said_to_be_cut_off(tmp_path: Path) -> None:
    """The header of a WAV promises more samples than the file holds: libsndfile itself says nothing of it."""
    data = wav(np.zeros(9000), 8000)
    assert struct.unpack("<I", data[40:44])[0] == 18000
    half = written(tmp_path / "half.wav", data[:9044])
    got = read(half, 8000, 9.0)
    assert len(got) == 4500  # what is there is used


def test_accepts(tmp_path: Path) -> None:
    good = written(tmp_path / "a.wav", wav(np.zeros(99), 8000))
    bad = written(tmp_path / "b.wav", b"junk")
    assert LogMel.accepts([good, good]) == (1.0, "2 of 2 cells are paths that open as recordings")
    assert LogMel.accepts([good, bad]).confidence == 0.75
    assert LogMel.accepts([(np.zeros(9), 8000)]).confidence == 1
    assert LogMel.accepts(["a.wav", 3, (1, 2), (np.zeros((9, 9, 9)), 8000), None]).confidence == 0


def test_any_of_two_frames() -> None:
    mask = torch.tensor([[1, 1, 1, 0, 0], [0, 0, 0, 0, 1], [0, 0, 0, 1, 0]]).bool()
    assert halve(mask).tolist() == [[True, True, False], [False, False, True], [False, True, False]]


def test_levelled_takes_each_clips_own_mean_and_spread_off() -> None:
    x = torch.randn(2, 5, 3, dtype=torch.float64) * 4
    mask = torch.tensor([[True] * 3 + [False] * 2, [False] * 5])
    y = level(Masked(x, mask))
    want = x[0, :3] - x[0, :3].mean(0)
    assert torch.allclose(y[0, :3], want / (want.square().mean() + 0.01).sqrt())
    assert not y[0, 3:].any() and not y[1].any()


@over("encoder", [AudioConv, AudioTransformer])
def test_padding_never_matters(encoder: type) -> None:
    torch.manual_seed(0)
    net = encoder.for_codec(LogMel(mels=20), TINY).eval()
    for real in (1, 2, 7, 8, 13):
        x = torch.randn(1, real, 20)
        alone = net(Masked(x, torch.ones(1, real, dtype=torch.bool)))
        for extra in (1, 2, 3, 9):
            junk = torch.full((1, extra, 20), 1e30)
            mask = torch.tensor([[True] * real + [False] * extra])
            padded = net(Masked(torch.cat([x, junk], 1), mask))
            assert padded.mask.sum() == alone.mask.sum() >= 1
            assert torch.allclose(padded.values[padded.mask], alone.values[alone.mask], atol=1e-5)


@over("encoder", [AudioConv, AudioTransformer])
def test_the_colour_of_a_recording_matters_only_by_its_own_map(encoder: type) -> None:
    """A microphone multiplies each band by a constant: a constant added to the log-mel of every frame."""
    torch.manual_seed(0)
    net = encoder.for_codec(LogMel(mels=20), TINY).eval()
    x, mask, colour = torch.randn(1, 30, 20), torch.ones(1, 30, dtype=torch.bool), torch.randn(20)
    plain, coloured = Masked(x, mask), Masked(x + colour, mask)
    assert torch.allclose(net(plain).values, net(coloured).values, atol=1e-4)
    torch.nn.init.normal_(net.front.colour.weight)
    assert (net(plain).values - net(coloured).values).abs().max() > 0.1


@over("encoder", [AudioConv, AudioTransformer])
def test_steady_sounds_can_be_told_apart(encoder: type) -> None:
    """They have nothing but colour: taking the clip's mean off must not make them alike."""
    torch.manual_seed(0)
    g = np.random.default_rng(0)
    cells = [(tone((300, 1500)[i % 2] * g.uniform(0.8, 1.2), 8000, g.uniform(0.1, 0.3)), 8000) for i in range(40)]
    codec = LogMel().fit(cells, TINY)
    x, y = codec.collate([codec.encode(c) for c in cells]), torch.arange(40) % 2
    net = encoder.for_codec(codec, TINY)
    head = torch.nn.Linear(TINY.dim, 2)
    learn = torch.optim.Adam([*net.parameters(), *head.parameters()], lr=3e-3)
    train, test = torch.arange(20), torch.arange(20, 40)
    for _ in range(30):
        loss = torch.nn.functional.cross_entropy(head(masked_mean(net(x.take(train)))), y[train])
        learn.zero_grad()
        loss.backward()
        learn.step()
    assert (head(masked_mean(net.eval()(x.take(test)))).argmax(1) == y[test]).float().mean() >= 0.95


def test_a_varied_spectrogram_is_stretched_in_both_directions_and_stays_in_its_clip():
    from polymodal.batch import Masked
    from polymodal.modalities.audio import voices

    torch.manual_seed(0)
    ramp = torch.arange(40.0)[:, None] + 100 * torch.arange(16.0)  # x[t, f] = t + 100 f
    mask = torch.arange(40) < torch.tensor([40, 20, 0])[:, None]
    x = Masked(torch.where(mask[..., None], ramp, math.nan), mask)
    out = voices.vary(x)
    assert out.values.isfinite().all() and not out.values[2].any() and not out.mask[2].any()
    counts = out.mask.sum(1).tolist()
    assert 40 * 0.8 - 1 <= counts[0] <= 40 * 1.2 + 1 and 20 * 0.8 - 1 <= counts[1] <= 20 * 1.2 + 1
    torch.manual_seed(0)
    again = voices.vary(Masked(torch.where(mask[..., None], ramp, 1e30), mask))
    assert torch.equal(again.values, out.values) and torch.equal(again.mask, out.mask)


def test_without_stripes_a_varied_spectrogram_is_the_formula(monkeypatch):
    from polymodal.batch import Masked
    from polymodal.modalities.audio import voices

    monkeypatch.setattr(voices, "BANDS", 0.0)
    monkeypatch.setattr(voices, "FRAMES", 0.0)
    torch.manual_seed(3)
    ramp = torch.arange(40.0)[:, None] + 100 * torch.arange(16.0)
    out = voices.vary(Masked(ramp[None], torch.ones(1, 40, dtype=torch.bool)))
    torch.manual_seed(3)
    tempo, voice = ((1 + most * (2 * torch.rand(1) - 1)).item() for most in (voices.TEMPO, voices.VOICE))
    for t in range(out.values.shape[1]):
        for f in range(16):
            expected = min(t / tempo, 39) + 100 * min(f / voice, 15)
            assert abs(out.values[0, t, f].item() - expected) < 1e-2

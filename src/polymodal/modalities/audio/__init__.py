"""Recordings: any file, rate and number of channels, and what hears them."""

from polymodal.modalities.audio.codec import LogMel
from polymodal.modalities.audio.encoders import AudioConv, AudioTransformer
from polymodal.modalities.audio.features import LogMelStatistics, Mfcc, Prosody, Spectral
from polymodal.modalities.audio.files import RECORDINGS
from polymodal.modalities.audio.hub import HubAudio
from polymodal.modalities.audio.measure import MEASURE
from polymodal.modalities.audio.noise import NOISES
from polymodal.modalities.audio.onnx import FEEDING
from polymodal.modalities.audio.preview import recording
from polymodal.modalities.audio.segments import SEGMENTS
from polymodal.modalities.audio.voices import Voices
from polymodal.modalities.record import Modality

AUDIO = Modality(
    kind="audio",
    cells="WAV, FLAC, OGG, MP3 files of any rate and number of channels; (samples, rate)",
    codecs={"logmel": LogMel},
    encoders={"conv": AudioConv, "transformer": AudioTransformer},
    hub=HubAudio,
    extractors={"mfcc": Mfcc, "logmel": LogMelStatistics, "spectral": Spectral, "prosody": Prosody},
    default_extractors=["mfcc", "spectral", "prosody"],
    suffixes=RECORDINGS,
    recurs=True,
    measure=MEASURE,
    noise=NOISES,
    onnx=FEEDING,
    segments=SEGMENTS,
    preview=recording,
    stream=True,
    speech=True,
    transcriber="transformer",  # a token each 40 ms; the convolutions' 80 are too few for the letters of fast speech
    variation=Voices,
)

"""Text: words, pieces of words or bytes, and what reads them."""

from polymodal.modalities.record import Modality
from polymodal.modalities.text.codec import Bytes, Pieces, Words
from polymodal.modalities.text.embeddings import SkipGram, WordVectors
from polymodal.modalities.text.encoders import TextBag, TextConv, TextGRU, TextTransformer
from polymodal.modalities.text.features import BagOfWords, Characters, Hashed, Statistics, Tfidf, Whole
from polymodal.modalities.text.hub import HubText
from polymodal.modalities.text.measure import MEASURE
from polymodal.modalities.text.noise import NOISES
from polymodal.modalities.text.onnx import FEEDING
from polymodal.modalities.text.segments import SEGMENTS

SAMPLE = 200  # cells that are looked at for a space

TEXT = Modality(
    kind="text",
    cells="any script, any length",
    codecs={"words": Words, "pieces": Pieces, "bytes": Bytes},
    encoders={"transformer": TextTransformer, "conv": TextConv, "bag": TextBag, "gru": TextGRU},
    hub=HubText,
    extractors={
        "bag": BagOfWords,
        "tfidf": Tfidf,
        "characters": Characters,
        "whole": Whole,
        "hashed": Hashed,
        "statistics": Statistics,
        "skipgram": SkipGram,
        "wordvectors": WordVectors,  # needs a path
    },
    default_extractors=["tfidf", "characters", "whole"],
    identifies=lambda kind, cells: not any(" " in str(c) for c in cells[:SAMPLE]),
    legible=True,
    tells={"text": "words"},
    measure=MEASURE,
    noise=NOISES,
    onnx=FEEDING,
    segments=SEGMENTS,
)

"""Classical features of each modality; see `base` for the contract. The table at the foot names all."""

from polymodal.features.audio import LogMelStatistics, Mfcc, Prosody, Spectral
from polymodal.features.base import Extractor
from polymodal.features.embeddings import SkipGram, WordVectors
from polymodal.features.image import HOG, LBP, ColorStatistics, Thumbnail
from polymodal.features.physiology import Electrodermal, HeartRate
from polymodal.features.series import Canonical, Correlations, SeriesStatistics, Spectrum, Wavelets
from polymodal.features.text import BagOfWords, Characters, Hashed, Statistics, Tfidf
from polymodal.features.visual_words import KeypointWords, VisualWords

__all__ = ["DEFAULT", "EXTRACTORS", "Extractor"]

# By kind of column, then by name; `DEFAULT` says which of them are used unless others are asked for.
EXTRACTORS: dict[str, dict[str, type[Extractor]]] = {
    "text": {
        "bag": BagOfWords,
        "tfidf": Tfidf,
        "characters": Characters,
        "hashed": Hashed,
        "statistics": Statistics,
        "skipgram": SkipGram,
        "wordvectors": WordVectors,  # needs a path
    },
    "image": {
        "color": ColorStatistics,
        "hog": HOG,
        "lbp": LBP,
        "visual_words": VisualWords,
        "keypoint_words": KeypointWords,
        "pixels": Thumbnail,
    },
    "audio": {"mfcc": Mfcc, "logmel": LogMelStatistics, "spectral": Spectral, "prosody": Prosody},
    "series": {
        "statistics": SeriesStatistics,
        "spectrum": Spectrum,
        "wavelets": Wavelets,
        "canonical": Canonical,
        "correlations": Correlations,
        "heart": HeartRate,  # an ECG; better with its rate
        "electrodermal": Electrodermal,  # skin conductance; better with its rate
    },
}
DEFAULT: dict[str, list[str]] = {
    "text": ["tfidf", "characters"],
    "image": ["color", "hog", "visual_words"],
    "audio": ["mfcc", "spectral", "prosody"],
    "series": ["statistics", "spectrum"],
}

"""Time series: readings of sensors with gaps, and what reads them."""

from polymodal.modalities.arrays import ARRAY_FILE
from polymodal.modalities.record import Modality
from polymodal.modalities.series.codec import Readings
from polymodal.modalities.series.encoders import TCN, SeriesTransformer
from polymodal.modalities.series.features import Canonical, Correlations, SeriesStatistics, Spectrum, Wavelets
from polymodal.modalities.series.kernels import MiniRocket, Windows
from polymodal.modalities.series.measure import MEASURE
from polymodal.modalities.series.noise import NOISES
from polymodal.modalities.series.onnx import FEEDING
from polymodal.modalities.series.overlap import shift
from polymodal.modalities.series.physiology import Electrodermal, HeartRate
from polymodal.modalities.series.preview import lines
from polymodal.modalities.series.segments import SEGMENTS

SERIES = Modality(
    kind="series",
    cells="CSV or NPY files, lists, arrays; several channels, unequal lengths, gaps",
    codecs={"readings": Readings},
    encoders={"tcn": TCN, "transformer": SeriesTransformer},
    extractors={
        "statistics": SeriesStatistics,
        "spectrum": Spectrum,
        "wavelets": Wavelets,
        "canonical": Canonical,
        "correlations": Correlations,
        "windows": Windows,
        "rocket": MiniRocket,
        "heart": HeartRate,  # an ECG; better with its rate
        "electrodermal": Electrodermal,  # skin conductance; better with its rate
    },
    default_extractors=["statistics", "spectrum", "windows", "rocket"],
    suffixes=[ARRAY_FILE],
    recurs=True,
    measure=MEASURE,
    shift=shift,
    noise=NOISES,
    onnx=FEEDING,
    segments=SEGMENTS,
    preview=lines,
    stream=True,
)

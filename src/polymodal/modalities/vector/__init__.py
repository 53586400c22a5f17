"""Ready-made embeddings, and what reads them."""

from polymodal.modalities.arrays import ARRAY_FILE
from polymodal.modalities.record import Modality
from polymodal.modalities.series.overlap import shift
from polymodal.modalities.vector.codec import Vectors
from polymodal.modalities.vector.encoders import Projection
from polymodal.modalities.vector.measure import MEASURE
from polymodal.modalities.vector.noise import NOISES
from polymodal.modalities.vector.onnx import FEEDING
from polymodal.modalities.vector.preview import lines
from polymodal.modalities.vector.segments import SEGMENTS

VECTOR = Modality(
    kind="vector",
    cells="ready-made embeddings, or sequences of them; NPY files, lists, arrays",
    codecs={"vectors": Vectors},
    encoders={"projection": Projection},
    suffixes=[ARRAY_FILE],
    measure=MEASURE,
    shift=shift,  # a window of a series, written as one list
    noise=NOISES,
    onnx=FEEDING,
    segments=SEGMENTS,
    preview=lines,
)

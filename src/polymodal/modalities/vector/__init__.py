"""Ready-made embeddings, and what reads them."""

from polymodal.modalities.record import Modality
from polymodal.modalities.vector.codec import Vectors
from polymodal.modalities.vector.encoders import Projection

VECTOR = Modality(kind="vector", codecs={"vectors": Vectors}, encoders={"projection": Projection})

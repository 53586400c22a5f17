"""Images: any file, size and mode, and what reads them."""

from polymodal.modalities.image.codec import Pixels
from polymodal.modalities.image.encoders import ConvNet, ViT
from polymodal.modalities.image.features import HOG, LBP, ColorStatistics, Thumbnail
from polymodal.modalities.image.files import PICTURES
from polymodal.modalities.image.hub import HubImage
from polymodal.modalities.image.measure import MEASURE
from polymodal.modalities.image.noise import NOISES
from polymodal.modalities.image.onnx import FEEDING
from polymodal.modalities.image.preview import photo
from polymodal.modalities.image.segments import SEGMENTS
from polymodal.modalities.image.visual_words import KeypointWords, VisualWords
from polymodal.modalities.record import Modality

IMAGE = Modality(
    kind="image",
    cells="files that Pillow opens, of any size and mode, 16 bit, alpha, rotated by EXIF; PIL images, arrays",
    codecs={"pixels": Pixels},
    encoders={"convnet": ConvNet, "vit": ViT},
    hub=HubImage,
    extractors={
        "color": ColorStatistics,
        "hog": HOG,
        "lbp": LBP,
        "visual_words": VisualWords,
        "keypoint_words": KeypointWords,
        "pixels": Thumbnail,
    },
    default_extractors=["color", "hog", "visual_words"],
    suffixes=PICTURES,
    recurs=True,
    measure=MEASURE,
    noise=NOISES,
    onnx=FEEDING,
    segments=SEGMENTS,
    preview=photo,
    places=49,  # 7 x 7
)

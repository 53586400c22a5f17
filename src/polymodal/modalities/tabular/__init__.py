"""The plain columns of a row (numbers, categories, booleans, dates), and what reads them."""

from polymodal.modalities.record import Modality
from polymodal.modalities.tabular.codec import Cells
from polymodal.modalities.tabular.encoders import FTTransformer, TabularMLP

TABULAR = Modality(
    kind="tabular", codecs={"cells": Cells}, encoders={"mlp": TabularMLP, "ft-transformer": FTTransformer}
)

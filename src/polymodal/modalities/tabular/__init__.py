"""The plain columns of a row (numbers, categories, booleans, dates), and what reads them."""

from polymodal.modalities.record import Modality
from polymodal.modalities.tabular.codec import Cells, column_kind
from polymodal.modalities.tabular.columns import BOOLEAN, CATEGORY, DATE, NUMBER, READ, whole
from polymodal.modalities.tabular.encoders import FTTransformer, TabularMLP
from polymodal.modalities.tabular.noise import NOISES
from polymodal.modalities.tabular.preview import fields
from polymodal.modalities.tabular.segments import SEGMENTS
from polymodal.modalities.tabular.words import CellWords

TABULAR = Modality(
    kind="tabular",
    cells="numbers, categories, booleans and dates, all together one modality",
    codecs={"cells": Cells},
    extractors={"words": CellWords},
    default_extractors=["words"],
    encoders={"mlp": TabularMLP, "ft-transformer": FTTransformer},
    columns=tuple(READ),
    name="table",
    column_kind=column_kind,
    # a number with a fraction is a measurement
    identifies=lambda kind, cells: kind != DATE and (kind != NUMBER or all(map(whole, cells))),
    legible=True,
    tells={CATEGORY: "value", BOOLEAN: "value", NUMBER: "order"},
    noise=NOISES,
    segments=SEGMENTS,
    preview=fields,
)

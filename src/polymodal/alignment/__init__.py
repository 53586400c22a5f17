"""Which part of one stream belongs to which part of another: explicit alignment, on arrays.

>>> from polymodal.alignment import dtw
>>> dtw([0.0, 1.0, 2.0], [0.0, 1.0, 1.0, 2.0]).cost
0.0
"""

from polymodal.alignment.arrays import pad
from polymodal.alignment.bands import Band, Itakura, SakoeChiba
from polymodal.alignment.canonical import CanonicalWarping, canonical_warping
from polymodal.alignment.clocks import Clock, compare_clocks
from polymodal.alignment.dtw import Alignment, Barycentre, barycentre, distances, dtw, warp
from polymodal.alignment.forced import Monotone, Span, forced_alignment, monotone_path
from polymodal.alignment.look import link_plot, path_plot, save_plot
from polymodal.alignment.soft import soft_dtw
from polymodal.alignment.timeline import Arrivals, Samples, Windows, resample, sort_samples, windows
from polymodal.alignment.transport import Transport, sinkhorn, uniform

__all__ = [
    "Alignment",
    "Arrivals",
    "Band",
    "Barycentre",
    "CanonicalWarping",
    "Clock",
    "Itakura",
    "Monotone",
    "SakoeChiba",
    "Samples",
    "Span",
    "Transport",
    "Windows",
    "barycentre",
    "canonical_warping",
    "compare_clocks",
    "distances",
    "dtw",
    "forced_alignment",
    "link_plot",
    "monotone_path",
    "pad",
    "path_plot",
    "resample",
    "save_plot",
    "sinkhorn",
    "soft_dtw",
    "sort_samples",
    "uniform",
    "warp",
    "windows",
]

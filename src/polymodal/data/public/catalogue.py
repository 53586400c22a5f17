"""Which sets there are, where their publishers offer them, on which terms, and whom to cite.

An MD5 is given where the publisher's own is known. Of other files only this is checked: the size of a download, where
the server tells one, the sums inside an archive, and that there is something in it.
"""

from typing import NamedTuple

from polymodal.data.table import unknown
from polymodal.errors import InputError


class Remote(NamedTuple):
    """One file of a publisher. `gigabytes` is rounded, for a person; `md5` is "" where the publisher gives none."""

    url: str
    name: str
    gigabytes: float
    md5: str = ""


class Public(NamedTuple):
    """One set. `files` are what `get` downloads; where there are none, `how` says how a person comes by them."""

    title: str
    page: str
    licence: str
    citation: str
    needs: str
    files: tuple[Remote, ...] = ()
    how: str = ""


COCO = "http://images.cocodataset.org"
CLOTHO = "https://zenodo.org/records/4783391/files"
MULTI30K = "https://raw.githubusercontent.com/multi30k/dataset/master/data/task1"
LANGUAGES = ("en", "de", "fr", "cs")
PARTS = ("train", "val", "test_2016_flickr")

SETS: dict[str, Public] = {
    "flickr8k": Public(
        "Flickr8k: 8,000 photos with five captions each",
        "https://hockenmaier.cs.illinois.edu/8k-pictures.html",
        "research and education, not commercial; the photos under the terms of Flickr",
        "Hodosh, Young & Hockenmaier 2013, Framing image description as a ranking task, JAIR 47",
        "Flickr8k_Dataset and Flickr8k_text, as folders or zip files; or the photos and dataset_flickr8k.json",
        how="the University of Illinois asks for a form (https://forms.illinois.edu/sec/1713398), and then sends the "
        "links of two zip files",
    ),
    "flickr30k": Public(
        "Flickr30k: 31,783 photos with five captions each",
        "https://shannon.cs.illinois.edu/DenotationGraph/",
        "research and education, not commercial; the photos under the terms of Flickr",
        "Young, Lai, Hodosh & Hockenmaier 2014, From image descriptions to visual denotations, TACL 2",
        "flickr30k_images and results_20130124.token, and dataset_flickr30k.json for the usual split",
        how="the University of Illinois asks for a form, and then sends the links; the usual split is in "
        "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
    ),
    "coco": Public(
        "COCO captions: 123,287 photos with five captions each, split by Karpathy",
        "https://cocodataset.org",
        "captions CC BY 4.0; the photos under the terms of Flickr",
        "Lin et al. 2014, Microsoft COCO, ECCV; Chen et al. 2015, arXiv 1504.00325; Karpathy & Fei-Fei 2015, CVPR",
        "train2014, val2014 and dataset_coco.json, as folders or zip files; or captions_train2017.json and its kin",
        (
            Remote(f"{COCO}/zips/train2014.zip", "train2014.zip", 13.5, "0da8c0bd3d6becc4dcb32757491aca88"),
            Remote(f"{COCO}/zips/val2014.zip", "val2014.zip", 6.6, "a3d79f5ed8d289b7a7554ce06a5782b3"),
            Remote(
                "https://cs.stanford.edu/people/karpathy/deepimagesent/caption_datasets.zip",
                "caption_datasets.zip",
                0.04,
            ),
        ),
    ),
    "clotho": Public(
        "Clotho 2.1: about 5,930 recordings with five captions each",
        "https://zenodo.org/records/4783391",
        "captions: Tampere University's licence, not commercial; each recording under its own Creative Commons licence",
        "Drossos, Lipping & Virtanen 2020, Clotho: an audio captioning dataset, ICASSP",
        "clotho_captions_*.csv of development, validation and evaluation, and the three folders of audio, extracted",
        (
            Remote(
                f"{CLOTHO}/clotho_captions_development.csv?download=1",
                "clotho_captions_development.csv",
                0.001,
                "d4090b39ce9f2491908eebf4d5b09bae",
            ),
            Remote(
                f"{CLOTHO}/clotho_captions_validation.csv?download=1",
                "clotho_captions_validation.csv",
                0.001,
                "5879e023032b22a2c930aaa0528bead4",
            ),
            Remote(
                f"{CLOTHO}/clotho_captions_evaluation.csv?download=1",
                "clotho_captions_evaluation.csv",
                0.001,
                "1b16b9e57cf7bdb7f13a13802aeb57e2",
            ),
            Remote(
                f"{CLOTHO}/clotho_audio_development.7z?download=1",
                "clotho_audio_development.7z",
                5.0,
                "c8b05bc7acdb13895bb3c6a29608667e",
            ),
            Remote(
                f"{CLOTHO}/clotho_audio_validation.7z?download=1",
                "clotho_audio_validation.7z",
                1.3,
                "7dba730be08bada48bd15dc4e668df59",
            ),
            Remote(
                f"{CLOTHO}/clotho_audio_evaluation.7z?download=1",
                "clotho_audio_evaluation.7z",
                1.4,
                "4569624ccadf96223f19cb59fe4f849f",
            ),
        ),
        how="extract the .7z files in that folder (7z x FILE)",
    ),
    "multi30k": Public(
        "Multi30k: 31,014 captions of Flickr30k in English, German, French and Czech",
        "https://github.com/multi30k/dataset",
        "see the page; the photos (not needed for text alone) as those of Flickr30k",
        "Elliott, Frank, Sima'an & Specia 2016, Multi30K: multilingual English-German image descriptions",
        "train.en, train.de ..., val.* and test_2016_flickr.*, also .gz; if wanted, image lists and photos",
        (
            *(Remote(f"{MULTI30K}/raw/{p}.{x}.gz", f"{p}.{x}.gz", 0.001) for p in PARTS for x in LANGUAGES),
            *(Remote(f"{MULTI30K}/image_splits/{p}.txt", f"{p}.txt", 0.001) for p in PARTS),
        ),
    ),
}


def find(name: str) -> Public:
    """The set of this name; raises InputError, with the nearest name, where there is none."""
    if name not in SETS:
        raise InputError(f"the catalogue {unknown('set', name, SETS)}")
    return SETS[name]

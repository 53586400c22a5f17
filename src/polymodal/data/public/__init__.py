"""Public sets of captions, in the form in which their publishers ship them, as tables.

    Flickr8k_Dataset.zip, Flickr8k_text.zip --read--> train.csv, val.csv, test.csv: image, caption_0 ... caption_4

`catalogue` names the sets, `fetch` downloads what may be downloaded, `sources` looks into folders and zip files,
`forms` knows what each publisher writes, `tables` writes ours. A person needs `read` and `get`.
"""

from polymodal.data.public.catalogue import SETS
from polymodal.data.public.fetch import Got, get
from polymodal.data.public.tables import Reading, read

__all__ = ["SETS", "Got", "Reading", "get", "read"]

"""One page about a model and a table that can be handed to somebody else.

>>> from polymodal import report
>>> report.write(polymodal.load("model"), "test.csv", "report.html").sections       # doctest: +SKIP
['result', 'details', 'robustness', 'contributions', 'rows', 'data', 'training', 'repeat', 'card']
"""

from polymodal.report.writing import Report, write

__all__ = ["Report", "write"]

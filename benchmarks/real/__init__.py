"""The default of `fit` on real data, beside simple models and what is published: `python -m benchmarks.real`."""

"""Learners, many modalities to one target: the Predictor by gradients, Stacked on features, and their Ensemble."""

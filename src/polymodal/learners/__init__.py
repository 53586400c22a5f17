"""Learners: three directions of learning. Here is the Predictor, many modalities to one target."""

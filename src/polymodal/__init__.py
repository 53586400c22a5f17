"""Machine learning on several modalities at once."""

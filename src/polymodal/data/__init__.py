"""Tables, their schema, splits, the cache of decoded cells, and batches."""

"""Tasks: what the target means; see `base` for the contract. The table at the foot names them all."""

"""How learners are trained: settings, the loop, its checkpoints, and answers to many rows."""

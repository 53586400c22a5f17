"""Speed, as ratios against named baselines."""

"""From images to verdicts: inspect, score, decide."""

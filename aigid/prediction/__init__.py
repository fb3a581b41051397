"""From any image to a verdict: bundles, what they are shown, what is said of it."""

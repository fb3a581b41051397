"""FeatDistill (Tu et al., arXiv 2603.21939): experts fine-tuned under degradation, then held to a teacher's features."""

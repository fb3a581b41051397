"""FeatDistill (Tu et al., arXiv 2603.21939): experts trained under degradation, then held to a teacher's features."""

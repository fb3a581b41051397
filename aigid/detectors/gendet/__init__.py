"""GenDet (Zhu et al., arXiv 2312.08880): an adversarial teacher and student, told apart by their discrepancy."""

"""GenDet (Zhu et al., arXiv 2312.08880): an adversarial teacher and student, distinguished by their discrepancy."""

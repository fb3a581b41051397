"""NYCU's CLIP-SVM (arXiv 2503.10718): kernel machines on normalised embeddings, one against one."""

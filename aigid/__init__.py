"""Detection of AI-generated images on frozen embeddings, honestly judged."""

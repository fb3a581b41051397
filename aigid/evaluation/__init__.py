"""One honest judge for every detector."""

"""Training loops that resume where they were stopped, on one process or several."""

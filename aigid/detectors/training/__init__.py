"""How networks are trained: steps that resume where they were stopped, on one process or several."""

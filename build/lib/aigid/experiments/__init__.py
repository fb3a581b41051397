"""Studies of single claims of the papers; each has a stage of its own."""

"""What every part stands on: parameters, files and tables, randomness, the ways in which a command ends."""

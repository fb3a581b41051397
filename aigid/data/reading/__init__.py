"""From a file, or a member of an archive, to its format, its header and its pixels."""

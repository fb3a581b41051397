"""Image files: decoding, formats, headers, archives, hashes and properties."""

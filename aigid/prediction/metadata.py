"""What an image says of itself."""


def read(path: str) -> dict | None:
    return None

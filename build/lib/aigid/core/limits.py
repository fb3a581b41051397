"""What a file that a stranger hands over may cost, in one module: bytes, ratios, cells, pixels and passes.

A reader checks what a file declares before it allocates, and counts on while it reads, as a header may lie.
"""

from aigid.core.errors import InputError

MAX_FILE_BYTES = 2**29  # of an image file, or a member of an archive
MAX_PIXELS = 89_478_485  # of an image; Pillow's own: above it Pillow itself would warn and then refuse
MAX_SCANS = 100  # of a progressive JPEG; encoders write about ten, and each costs a pass over the whole image
MAX_SCANNED_PIXELS = 12 * MAX_PIXELS  # of all scans of a progressive JPEG
MAX_DOWNLOAD_BYTES = 2**28  # of an image that `aigid fetch` downloads
MAX_SHARD_BYTES = 2**30  # of a shard of the row cache that comes from a bucket
MIN_UNPACKED = 2**26  # bytes in memory that any compressed table, workbook or member of an archive may take
MAX_RATIO = 200  # bytes in memory for each byte of such a file; real tables reach about 20
MAX_UNPACKED = 2**34  # bytes in memory, however large the file
POINTER = 8  # bytes that each cell takes beside its text


class Budget:
    """The bytes that what is unpacked from a file of ``stored`` bytes may take in memory."""

    def __init__(self, name: object, stored: int) -> None:
        self.name, self.stored = name, stored
        self.limit = self.left = min(max(MIN_UNPACKED, MAX_RATIO * stored), MAX_UNPACKED)

    def spend(self, num_bytes: int, part: str = "") -> None:
        """Raise InputError, for a named part or all, where what was spent goes beyond the limit."""
        self.left -= num_bytes
        if self.left < 0:
            size = (
                f"{part} unpacks to {num_bytes} bytes" if part else f"unpacks to {self.limit - self.left} bytes or more"
            )
            raise InputError(f"{self.name}: {size}, limit {self.limit} for {self.stored} bytes stored")

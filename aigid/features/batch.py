"""How many images a tower encodes at once."""

import numpy as np
import torch

from aigid.features.encoder import Backbone

SMALLEST, LARGEST = 8, 256  # on CUDA; beyond, a GPU gains nothing
SHARE = 0.5  # of the free memory
ON_CPU, OF_LARGE, LARGE = 16, 4, 20_000_000  # images to a CPU, of a tower of so many parameters


def settle(backbone: Backbone, asked: int | None, num_images: int, largest: int = LARGEST) -> None:
    """Set a tower's batch: as ``asked``, or on CUDA what is found to fit, up to ``largest``; on a CPU by its size.

    A CPU's is the same for one image as for a million: on some, a product's last bits depend on the batch. Others are
    never much more than there are images. All found are powers of two, which threads that share a batch share evenly.
    """
    if asked is None and backbone.device.type != "cuda":
        num_parameters = sum(parameter.numel() for parameter in backbone.tower.parameters())
        backbone.batch = OF_LARGE if num_parameters >= LARGE else ON_CPU
    else:
        backbone.batch = min(asked or min(_found(backbone), largest), power_of_two(2 * num_images - 1))


def fitting(free: int, peaks: tuple[int, int], batches: tuple[int, int]) -> int:
    """The batch that fits into a share of ``free`` bytes, given the peak memory of two smaller ones."""
    each = max((peaks[1] - peaks[0]) / (batches[1] - batches[0]), 1)
    return min(max(power_of_two(int(SHARE * free / each)), 1), LARGEST)


def power_of_two(most: int) -> int:
    """The largest power of two up to ``most``; 0 where there is none."""
    return 1 << most.bit_length() >> 1


def _found(backbone: Backbone) -> int:
    batches, peaks = (SMALLEST, 2 * SMALLEST), []
    size = backbone.settings.preprocess.size
    for backbone.batch in batches:
        torch.cuda.reset_peak_memory_stats(backbone.device)
        backbone.encode(np.zeros((backbone.batch, size, size, 3), np.uint8))
        peaks.append(torch.cuda.max_memory_allocated(backbone.device))
    return fitting(torch.cuda.mem_get_info(backbone.device)[0], tuple(peaks), batches)

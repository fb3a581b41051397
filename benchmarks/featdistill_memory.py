"""Memory of FeatDistill's four full-size experts: computed from their tensors, and as a peak where there is CUDA.

    python -m benchmarks.featdistill_memory

The reference is what everyone loads: four models of two encoders each, in float32. Tensors are counted on the meta
device, where nothing is computed; attention as the fused kernels do it, which never hold all pairs of tokens.
"""

import weakref
from pathlib import Path
from unittest.mock import patch

import click
import numpy as np
import open_clip
import torch
import transformers
from rich.table import Table
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from aigid.detectors.featdistill import model as experts
from aigid.detectors.featdistill.detector import MAX_STREAM_BATCH
from aigid.detectors.featdistill.settings import ExpertSettings
from aigid.features.backbones import BackboneSettings
from aigid.features.encoder import TorchBackbone, load_encoder
from benchmarks import record

EXPERTS = ("featdistill_siglip", "featdistill_siglip", "featdistill_clip", "featdistill_clip")
SIGLIP = {"hidden_size": 1152, "intermediate_size": 4304, "num_hidden_layers": 27, "num_attention_heads": 16}
GB, MAX_GB, MAX_GB_STREAMED = 1e9, 4.5, 2.0
CONTEXT = 0.5  # GB, an estimate: what CUDA and its libraries take, which no tensor shows


class Peak(TorchDispatchMode):
    """The most bytes that live at once in tensors which operations made within the block."""

    def __init__(self) -> None:
        super().__init__()
        self.live: dict[int, tuple[int, int]] = {}  # of a storage: its bytes, and how many tensors look at it
        self.peak_bytes = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        out = function(*args, **(kwargs or {}))
        for tensor in (leaf for leaf in tree_leaves(out) if isinstance(leaf, torch.Tensor)):
            storage = tensor.untyped_storage()
            num_bytes, looking = self.live.get(storage._cdata, (storage.nbytes(), 0))
            self.live[storage._cdata] = num_bytes, looking + 1
            weakref.finalize(tensor, self._forget, storage._cdata)
        self.peak_bytes = max(self.peak_bytes, sum(num_bytes for num_bytes, _ in self.live.values()))
        return out

    def _forget(self, storage: int) -> None:
        num_bytes, looking = self.live[storage]
        if looking == 1:
            del self.live[storage]
        else:
            self.live[storage] = num_bytes, looking - 1


def fused(query: torch.Tensor, *_: object, **__: object) -> torch.Tensor:
    """As much memory as fused attention leaves behind: its output."""
    return torch.empty_like(query)


def bare(name: str) -> BackboneSettings:
    """The full-size encoder without anyone's weights."""
    return experts.without_head(ExpertSettings(backbone=name, seed=0).backbone)


def weights(network: nn.Module, width: int) -> float:
    """GB of its parameters, of ``width`` bytes each."""
    return width * sum(parameter.numel() for parameter in network.parameters()) / GB


def activations(settings: BackboneSettings, batch: int) -> float:
    """GB at the peak of encoding a batch in float16, from its 8-bit pixels on."""
    size = settings.preprocess.size
    with torch.device("meta"):
        encoder = load_encoder(settings).half().eval()
    attention = patch("torch.nn.functional.scaled_dot_product_attention", fused)
    with torch.inference_mode(), attention, Peak() as peak:
        pixels = torch.empty(batch, 3, size, size, dtype=torch.uint8, device="meta")
        pixels = (pixels.float() - 1) / 2
        pixels = pixels.half()
        encoder(pixels)
    return peak.peak_bytes / GB


def naive() -> float:
    """GB of four models of two encoders in float32."""
    with torch.device("meta"):
        clip = open_clip.CLIP(**open_clip.get_model_config("ViT-L-14"))
        siglip = transformers.SiglipModel(
            transformers.SiglipConfig(
                text_config=dict(SIGLIP), vision_config=SIGLIP | {"image_size": 384, "patch_size": 14}
            )
        )
    return 2 * weights(clip, 4) + 2 * weights(siglip, 4)


def measured(batch: int, streamed: bool) -> float:
    """GB that CUDA had allocated at most, encoding a batch with each expert; random weights."""
    torch.cuda.reset_peak_memory_stats()
    backbones = []
    for name in EXPERTS:
        backbone = TorchBackbone(bare(name), torch.device("cuda"), batch)
        size = backbone.settings.preprocess.size
        backbone.encode(np.zeros((batch, size, size, 3), np.uint8))
        backbones = [] if streamed else [*backbones, backbone]
        del backbone
    return torch.cuda.max_memory_allocated() / GB


def compare() -> Table:
    """One row a way to hold the experts."""
    settings_of = {name: bare(name) for name in dict.fromkeys(EXPERTS)}
    with torch.device("meta"):
        wide = {name: weights(load_encoder(settings), 2) for name, settings in settings_of.items()}
    reference = naive()
    columns = (
        "experts in memory",
        "batch",
        "weights, GB",
        "activations",
        "tensors",
        "limit",
        "of the reference",
        "with context",
    )
    table = Table(*columns, "measured on CUDA", title=f"four experts; context {CONTEXT} GB is an estimate")
    table.add_row(
        "four models of two encoders, float32", "", f"{reference:.2f}", "", f"{reference:.2f}", "", "1.00", "", ""
    )
    for streamed, batch, limit in (
        (False, 64, MAX_GB),
        (False, 16, MAX_GB),
        (True, MAX_STREAM_BATCH, MAX_GB_STREAMED),
    ):
        each = {name: activations(settings, batch) for name, settings in settings_of.items()}
        total = sum(wide[name] for name in EXPERTS)
        peak = max(wide[name] + each[name] for name in settings_of) if streamed else total + max(each.values())
        cuda = f"{measured(batch, streamed):.2f}" if torch.cuda.is_available() else "no CUDA"
        table.add_row(
            "one at a time, float16" if streamed else "all, vision encoders, float16",
            str(batch),
            f"{max(wide.values()) if streamed else total:.2f}",
            f"{max(each.values()):.2f}",
            f"{peak:.2f}",
            f"{limit:.1f}" + (" (over)" if peak > limit else ""),
            f"{peak / reference:.2f}",
            f"{peak + CONTEXT:.2f}",
            cuda,
        )
    return table


@click.command(help=__doc__)
@record.out_option
def main(out: Path) -> None:
    record.publish(compare(), "featdistill_memory", out, width=160)


if __name__ == "__main__":
    main()

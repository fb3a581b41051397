"""An expert: an encoder, and a head that tells real from generated; AdamW's groups of them, and its learning rates."""

import re
from collections.abc import Callable, Sequence
from importlib import import_module
from math import cos, pi
from pathlib import Path
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor, nn

from aigid.core import seeding
from aigid.detectors.featdistill.settings import ExpertSettings, OptimizerSettings
from aigid.features import checkpoints, vit
from aigid.features.backbones import BackboneSettings
from aigid.features.encoder import load_encoder, output_width

HIDDEN, DROPOUT, CLASSES = 256, 0.3, 2  # of the head; class 1 is generated
HEAD_FILE = "classifier."


class ExpertOutput(NamedTuple):
    """``logits`` (B, 2), ``embedding`` (B, D), and of each requested layer the patch ``tokens`` (B, T, D)."""

    logits: Tensor
    embedding: Tensor
    tokens: list[Tensor]


class Expert(nn.Module):
    """Normalised (B, 3, S, S) to logits (B, 2).

    Batch norms keep the statistics that they came with: those of a batch of degraded images are noise, and a student in
    training would be another network than its teacher.
    """

    def __init__(self, encoder: nn.Module, width: int) -> None:
        super().__init__()
        self.vision_encoder, self.width = encoder, width
        self.classifier = head(width)

    def forward(self, pixels: Tensor) -> Tensor:
        return self.answer(pixels).logits

    def train(self, mode: bool = True) -> Self:
        super().train(mode)
        vit.freeze_batch_norms(self.vision_encoder)
        return self

    def answer(self, pixels: Tensor, layers: Sequence[int] = (), dropout_mask: Tensor | None = None) -> ExpertOutput:
        """Return logits, and what they come from; ``dropout_mask`` (B, HIDDEN), where given, is dropout's draw."""
        with vit.capture_tokens(self.vision_encoder, layers) as tokens:
            embedding = self.vision_encoder(pixels)
        if dropout_mask is None:
            return ExpertOutput(self.classifier(embedding), embedding, tokens)
        hidden = self.classifier[:2](embedding) * dropout_mask / (1 - DROPOUT)
        return ExpertOutput(self.classifier[3](hidden), embedding, tokens)


def head(width: int) -> nn.Sequential:
    """(B, width) to (B, 2)."""
    return nn.Sequential(nn.Linear(width, HIDDEN), nn.ReLU(), nn.Dropout(DROPOUT), nn.Linear(HIDDEN, CLASSES))


def build(settings: ExpertSettings) -> Expert:
    """Return an untrained expert: the encoder as its settings say, the head sampled from the expert's seed."""
    encoder, backbone = load_encoder(settings.backbone), settings.backbone
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        width = output_width(encoder, backbone.preprocess.size, backbone.weights or backbone.model)
        torch.manual_seed(seeding.derive_seed("featdistill head", settings.seed))
        return Expert(encoder, width)


def p_generated(logits: Tensor) -> Tensor:
    """(B, 2) to (B,) float32, the softmax taken in float32."""
    return logits.float().softmax(dim=1)[:, 1]


def state_dict(expert: Expert) -> dict[str, Tensor]:
    """Return the tensors by the names of the published checkpoints: ``vision_encoder.*``, ``classifier.{0,3}.*``."""
    return {
        _rename_keys(expert, name, to=True): tensor
        for name, tensor in expert.state_dict().items()
        if not checkpoints.is_count(name)
    }


def load(settings: ExpertSettings, path: Path) -> Expert:
    """Return the expert of a checkpoint file (``.pth``, ``.safetensors``) by the published names, all of it.

    InputError where the tensors do not fit.
    """
    expert = _on_meta(settings)
    published = {key: tensor for key, tensor in checkpoints.read(path).items() if not key.endswith("position_ids")}
    internal = {_rename_keys(expert, key): tensor for key, tensor in published.items()}
    checkpoints.load_strict(path, internal, checkpoints.shapes(expert))
    expert.load_state_dict({name: tensor.to(torch.float32) for name, tensor in internal.items()}, assign=True)
    _fill_buffers(expert)
    return expert


def check(settings: ExpertSettings, path: Path) -> None:
    """Raise InputError unless a ``.safetensors`` file holds the tensors of an expert; only its header is read."""
    expert = _on_meta(settings)
    tensors = {_rename_keys(expert, name): tensor for name, tensor in checkpoints.header(path).items()}
    checkpoints.load_strict(path, tensors, checkpoints.shapes(expert))


def _on_meta(settings: ExpertSettings) -> Expert:
    """Return the expert without any numbers."""
    with torch.device("meta"):
        return build(settings.model_copy(update={"backbone": without_head(settings.backbone)}))


def _fill_buffers(expert: Expert) -> None:
    """Compute the buffers that no checkpoint has: transformers' numbers of positions, and what timm computes itself."""
    for module in expert.modules():
        fill: Callable[[], None] | None = getattr(module, "init_non_persistent_buffers", None)  # timm's
        for name, buffer in list(module.named_buffers(recurse=False)):
            if buffer.is_meta:
                assert fill or name == "position_ids", name
                filled = (
                    torch.zeros_like(buffer, device="cpu") if fill else torch.arange(buffer.numel()).view_as(buffer)
                )
                module.register_buffer(name, filled, persistent=False)
        if fill:
            fill()


def without_head(settings: BackboneSettings) -> BackboneSettings:
    """Return the same architecture without anyone's weights."""
    library = import_module(f"aigid.features.loaders.{settings.library}")
    config = settings.config or library.architecture(settings if settings.library == "timm" else settings.model)
    return settings.model_copy(update={"config": config, "weights": None, "high_pass": False})


def _rename_keys(expert: Expert, name: str, to: bool = False) -> str:
    internal, public = (f"{checkpoints.ENCODER_PREFIX}{part}" for part in vit.parameter_prefix(expert.vision_encoder))
    before, after = (internal, public) if to else (public, internal)
    return after + name.removeprefix(before) if name.startswith(before) and not name.startswith(HEAD_FILE) else name


TOKENS = re.compile("embed|token|position|rel_pos|probe|latent")  # in a parameter's own name: no weight of a layer


def parameter_groups(expert: Expert, net: nn.Module, descent: OptimizerSettings) -> list[dict[str, Any]]:
    """Return AdamW's groups: of the encoder, and of whatever else learns, first what decays, then what does not.

    Weights of linear layers and convolutions decay; biases, norms, scales, embeddings and tokens do not.
    """
    embeddings = {id(layer.weight) for layer in net.modules() if isinstance(layer, nn.Embedding)}
    in_encoder = {id(value) for value in expert.vision_encoder.parameters()}
    learning = [(name.rpartition(".")[2], value) for name, value in net.named_parameters() if value.requires_grad]
    groups: list[dict[str, Any]] = []
    for is_encoder, rate, decay in (
        (True, descent.encoder_learning_rate, descent.encoder_weight_decay),
        (False, descent.head_learning_rate, descent.head_weight_decay),
    ):
        part = [(name, value) for name, value in learning if (id(value) in in_encoder) == is_encoder]
        free = [value.ndim < 2 or id(value) in embeddings or bool(TOKENS.search(name)) for name, value in part]
        for is_free in (False, True):
            values = [value for (_, value), known in zip(part, free, strict=True) if known == is_free]
            groups.append({"params": values, "lr": rate, "weight_decay": 0.0 if is_free else decay})
    return [group for group in groups if group["params"]]


def lr_schedule(num_steps: int, warm_up: float) -> Callable[[int], float]:
    """Return a step's share of the learning rate as a function: a linear warm-up, then half a cosine."""
    rising = max(round(warm_up * num_steps), 1)

    def share(step: int) -> float:
        if step < rising:
            return (step + 1) / rising
        return (cos(pi * min((step - rising) / max(num_steps - rising, 1), 1)) + 1) / 2

    return share

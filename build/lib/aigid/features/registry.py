"""The known backbones by name, and any other by its address; nothing is loaded."""

from typing import Any

from aigid.core.errors import InputError
from aigid.features.preprocess import MEAN_STD_05

ADDRESSES = {"open_clip": "MODEL/TAG", "timm": "NAME", "hf": "REPO[@REVISION]", "onnx": "FILE"}


def _clip(model: str, size: int, **preprocess: Any) -> dict[str, Any]:
    return {"library": "open_clip", "model": model, "pretrained": "openai", "preprocess": {"size": size} | preprocess}


def _siglip(model: str, size: int) -> dict[str, Any]:
    preprocess = {"size": size, "resize": "squash", "mean": MEAN_STD_05, "std": MEAN_STD_05}
    return {"library": "transformers", "model": model, "preprocess": preprocess}


def _pe_core(model: str) -> dict[str, Any]:
    return {"library": "open_clip", "model": f"PE-Core-{model}", "pretrained": "meta"}


def _dinov3(size: str) -> dict[str, Any]:
    """DINOv3's embedding is the class token; timm's own would be the mean of the patch tokens."""
    return {"library": "timm", "model": f"vit_{size}_patch16_dinov3.lvd1689m", "pool": "cls"}


def _tiny_clip(width: int) -> dict[str, Any]:
    vision = {"image_size": 32, "patch_size": 4, "width": width, "layers": 2, "head_width": 64, "mlp_ratio": 2.0}
    text = {"context_length": 8, "vocab_size": 16, "width": 32, "heads": 1, "layers": 1}
    return {
        "library": "open_clip",
        "model": "tiny",
        "config": {"embed_dim": width, "vision_cfg": vision | {"pool_type": "avg"}, "text_cfg": text},
        "high_pass": True,
        "preprocess": {"size": 32},
    }


def _tiny_siglip(width: int) -> dict[str, Any]:
    shape = {"hidden_size": width, "num_hidden_layers": 2, "num_attention_heads": width // 64}
    config = {"image_size": 32, "patch_size": 4} | shape | {"intermediate_size": 2 * width}
    return _siglip("tiny", 32) | {
        "config": {"model_type": "siglip_vision_model"} | config,
        "high_pass": True,
        "pool": "mean",
    }


BACKBONES: dict[str, dict[str, Any]] = {
    # Pretrained encoders that packages of the Python index carry: no hub is needed.
    "clip_vit_b16_int8": {
        "library": "onnx",
        "model": "openai/clip-vit-base-patch16",
        "pretrained": "clip_vit_b16_int8",
        "output": "image_embeds",
        "preprocess": {"size": 224},
    },
    "clip_vit_b16_dequantized": {  # the same weights in torch: for training, tokens, and GPUs
        "library": "transformers",
        "model": "openai/clip-vit-base-patch16",
        "pretrained": "clip_vit_b16_int8",
        "preprocess": {"size": 224},
    },
    "efficientnet_lite0": {
        "library": "timm",
        "model": "tf_efficientnet_lite0",
        "pretrained": "efficientnet_lite0",
        "preprocess": {"size": 224, "crop_fraction": 0.875, "mean": MEAN_STD_05, "std": MEAN_STD_05},
    },
    "efficientnet_lite0_96": {  # for finetuning: inner stages of a crop that is not resized, where traces stay
        "library": "timm",
        "model": "tf_efficientnet_lite0",
        "pretrained": "efficientnet_lite0",
        "layers": [1, 2, 3, 4],
        "pool": "mean",
        "preprocess": {"size": 96, "resize": "none", "mean": MEAN_STD_05, "std": MEAN_STD_05},
    },
    "clip_vit_b16": _clip("ViT-B-16-quickgelu", 224),
    "clip_vit_l14": _clip("ViT-L-14-quickgelu", 224),
    "clip_vit_l14_center": _clip("ViT-L-14-quickgelu", 224, resize="none"),  # UniversalFakeDetect, validate.py
    "clip_vit_l14_336": _clip("ViT-L-14-336-quickgelu", 336),
    "clip_vit_l14_336_before_projection": _clip("ViT-L-14-336-quickgelu", 336) | {"pool": "before_projection"},
    "dinov2_vit_l14": {
        "library": "transformers",
        "model": "facebook/dinov2-large",
        "preprocess": {"size": 224, "mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)},
    },
    "dinov2_vit_l14_dda": {  # by CLIP's mean and std, and no resizing: the base of DDA's LoRA
        "library": "timm",
        "model": "vit_large_patch14_dinov2.lvd142m",
        "preprocess": {"size": 336, "resize": "none"},
        "dtype": "float32",
    },
    "siglip_b16": _siglip("google/siglip-base-patch16-224", 224),
    "siglip_so400m_14_384": _siglip("google/siglip-so400m-patch14-384", 384),
    # Newer encoders; their preprocessing, where it does not stand here, is the library's record of it.
    "pe_core_l14_336": _pe_core("L-14-336"),
    "pe_core_g14_448": _pe_core("bigG-14-448"),
    "pe_core_b16": _pe_core("B-16"),
    "pe_core_s16_384": _pe_core("S-16-384"),
    "pe_core_t16_384": _pe_core("T-16-384"),
    "dinov3_vit_s16": _dinov3("small"),
    "dinov3_vit_b16": _dinov3("base"),
    "dinov3_vit_l16": _dinov3("large"),
    "dinov3_vit_h_plus16": _dinov3("huge_plus"),
    "dinov3_vit_7b16": _dinov3("7b"),
    "siglip2_so400m_14_384": {  # transformers' record is on the hub: typed here, and not yet checked against it
        "library": "transformers",
        "model": "google/siglip2-so400m-patch14-384",
        "preprocess": {
            "size": 384,
            "resize": "squash",
            "interpolation": "bilinear",
            "mean": MEAN_STD_05,
            "std": MEAN_STD_05,
        },
    },
    "siglip2_gopt_16_384": {"library": "open_clip", "model": "ViT-gopt-16-SigLIP2-384", "pretrained": "webli"},
    "metaclip2_h14": {
        "library": "open_clip",
        "model": "ViT-H-14-worldwide-quickgelu",
        "pretrained": "metaclip2_worldwide",
    },
    "dinov2_vit_l14_reg": {"library": "timm", "model": "vit_large_patch14_reg4_dinov2.lvd142m"},
    # FeatDistill's encoders: CLIP in transformers' format, SigLIP on a center crop instead of a squashed image.
    "featdistill_clip": {
        "library": "transformers",
        "model": "openai/clip-vit-large-patch14",
        "preprocess": {"size": 224},
    },
    "featdistill_siglip": _siglip("google/siglip-so400m-patch14-384", 384)
    | {"preprocess": {"size": 384, "mean": MEAN_STD_05, "std": MEAN_STD_05}},
    # Random weights, for tests and the preset `tiny`.
    "tiny_clip": _tiny_clip(192),
    "tiny_siglip": _tiny_siglip(192),
    "tiny_clip_64": _tiny_clip(64),
    "tiny_siglip_64": _tiny_siglip(64),
    "tiny_vit": {
        "library": "timm",
        "model": "tiny",
        "config": {"img_size": 32, "patch_size": 8, "embed_dim": 96, "depth": 2, "num_heads": 3, "mlp_ratio": 2.0},
        "high_pass": True,
        "preprocess": {"size": 32, "resize": "none"},
    },
}


LICENCES = {  # of weights on the hub, as their publishers state them, by the beginning of the name
    "clip_": "MIT",
    "dinov2_": "Apache-2.0",
    "dinov3_": "DINOv3 License",
    "featdistill_clip": "MIT",
    "featdistill_siglip": "Apache-2.0",
    "metaclip2_": "CC-BY-NC-4.0",
    "pe_core_": "Apache-2.0",
    "siglip": "Apache-2.0",
}


def licence(name: str) -> str:
    """Return the licence of a hub's weights by the name of the backbone; empty for random ones."""
    return next((text for prefix, text in LICENCES.items() if name.startswith(prefix)), "")


def named(name: str) -> dict[str, Any]:
    """Return the section of a name of ``BACKBONES`` or of an address, such as ``timm:NAME``; InputError otherwise."""
    if name in BACKBONES:
        return BACKBONES[name]
    scheme, _, rest = name.partition(":")
    if scheme not in ADDRESSES or not rest:
        addresses = ", ".join(f"{scheme}:{form}" for scheme, form in ADDRESSES.items())
        raise InputError(f"unknown backbone {name!r}; known: {', '.join(BACKBONES)}; or an address: {addresses}")
    if scheme == "open_clip":
        model, _, tag = rest.rpartition("/")
        return {"library": "open_clip", "model": model or tag, "pretrained": tag if model else None}
    if scheme == "hf":
        repository, _, revision = rest.partition("@")
        return {"library": "transformers", "model": repository, "revision": revision or None}
    return (
        {"library": "timm", "model": rest} if scheme == "timm" else {"library": "onnx", "model": rest, "weights": rest}
    )

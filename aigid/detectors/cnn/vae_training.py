"""Train a tiny VAE on the training photographs of a dataset."""

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from diffusers import AutoencoderKL
from torch.nn import functional

from aigid.base import seeding
from aigid.base.errors import InputError
from aigid.data.reading.errors import ImageError
from aigid.data.reading.images import decode
from aigid.detectors.cnn.vae import VaeSettings
from aigid.features.preprocess import Preprocess, to_square

MOST = 4096  # photographs looked at


def fit(settings: VaeSettings, manifest: pd.DataFrame, root: Path, seed: int) -> Any:
    """L1 and a little KL, Adam one-cycle; the fakes and the other splits are never seen."""
    photographs = _photographs(settings, manifest, root, seed)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeding.seed_of("vae", seed))
        vae = AutoencoderKL(**settings.config).to(memory_format=torch.channels_last)
        adam = torch.optim.Adam(vae.parameters(), lr=settings.learning_rate)
        rate = torch.optim.lr_scheduler.OneCycleLR(adam, settings.learning_rate, total_steps=settings.steps + 1)
        for _ in range(settings.steps):
            real = photographs[torch.randint(len(photographs), (settings.batch_size,))].float() / 127.5 - 1
            real = real.contiguous(memory_format=torch.channels_last)
            posterior = vae.encode(real).latent_dist
            fake = vae.decode(posterior.sample()).sample
            loss = functional.l1_loss(fake, real) + settings.kl_weight * posterior.kl().mean() / real[0].numel()
            adam.zero_grad()
            loss.backward()
            adam.step()
            rate.step()
    return vae.eval()


def _photographs(settings: VaeSettings, manifest: pd.DataFrame, root: Path, seed: int) -> torch.Tensor:
    """(N, 3, S, S) uint8 of the training split's reals, a sample where there are many."""
    paths = manifest["path"][(manifest["split"] == "train") & (manifest["label"] == 0)].to_numpy()
    if len(paths) > MOST:
        paths = paths[np.sort(seeding.generator("vae photographs", seed).permutation(len(paths))[:MOST])]
    how, found = Preprocess(size=settings.size, resize="squash", interpolation="bilinear"), []
    for path in paths:
        try:
            found.append(to_square(decode(root / path), how))
        except ImageError:
            continue  # the stages that score name it
    if not found:
        raise InputError(f"vae.train={settings.train!r}: no readable photograph in its training split")
    return torch.from_numpy(np.stack(found)).permute(0, 3, 1, 2)

"""The text tower of a CLIP, entered by token embeddings, so that prompts can be learnt."""

from collections.abc import Sequence

import open_clip
import torch
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.features.backbones import BackboneSettings, ConcatSettings
from aigid.features.loaders import open_clip as library


class TextEncoder:
    """Frozen, in float32 on the CPU."""

    def __init__(self, clip: open_clip.CLIP) -> None:
        self.clip = clip.eval().requires_grad_(False).float()
        self.context_length, self.dim = clip.context_length, clip.text_projection.shape[1]
        self.scale = float(clip.logit_scale.exp())
        self._tokenizer = SimpleTokenizer()

    def embed(self, words: Sequence[str]) -> list[Tensor]:
        """The token embeddings (n, W) of start, then of every word, then of the full stop and the end.

        A tower of random weights may have fewer tokens than CLIP; their numbers then begin again at 0.
        """
        t = self._tokenizer
        numbers = [[t.sot_token_id], *map(t.encode, words), [*t.encode("."), t.eot_token_id]]
        return [self.clip.token_embedding(torch.tensor(part) % self.clip.vocab_size) for part in numbers]

    def encode(self, prompts: Tensor, ends: Sequence[int]) -> Tensor:
        """Prompts (P, L, W) whose end stands at ``ends`` (P,) to texts (P, D) of length 1."""
        x = self.clip.transformer(prompts + self.clip.positional_embedding, attn_mask=self.clip.attn_mask)
        x = self.clip.ln_final(x)[torch.arange(len(x)), torch.tensor(ends)]
        return functional.normalize(x @ self.clip.text_projection, dim=1)


def load(settings: BackboneSettings | ConcatSettings, name: str) -> TextEncoder:
    """The text tower of a backbone called ``name``; InputError where it has none."""
    if isinstance(settings, ConcatSettings) or settings.library != "open_clip":
        raise InputError(f"backbone {name!r}: has no text tower of open_clip's CLIP")
    clip = library.load_clip(settings)
    if not isinstance(clip, open_clip.CLIP):
        raise InputError(f"backbone {name!r}: its text tower is a {type(clip).__name__}, not CLIP's own")
    return TextEncoder(clip)

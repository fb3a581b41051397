"""OCC-CLIP: the losses by loops and autograd, the published rule, texts as open_clip encodes them, what is refused."""

from math import cos, pi

import numpy as np
import open_clip
import pytest
import torch
from torch.nn import functional

from aigid.core.errors import InputError
from aigid.detectors.occ import OccClip, OccSettings, PromptEmbeddings, Prompts, learning_rate_at, loss
from aigid.detectors.samples import LabeledEmbeddings
from aigid.features.backbones import backbone_settings
from aigid.features.loaders.open_clip import load_text_encoder
from tests.helpers.tiny_models import Texts

NAMES = np.array(["real", "a", "b"])


def rows(seed, n=300):
    rng = np.random.default_rng(seed)
    y = np.arange(n) % 3
    x = np.eye(6)[[0, 2, 4]][y] + 0.3 * rng.normal(size=(n, 6))
    return LabeledEmbeddings(x.astype(np.float32), (y > 0).astype(np.int64), generators=NAMES[y])


def settings(**changes):
    how = {"n_ctx": 2, "epochs": 15, "batch_size": 16, "learning_rate": 0.5, "shared_context": False, "weight_decay": 0}
    return OccSettings(backbone="b", dataset="d", **(how | changes))


@pytest.fixture(scope="module")
def fitted():
    return OccClip.fit(settings(), rows(0), rows(1), 0, Texts(6))


def test_learns_each_generator(fitted):
    test = rows(2)
    p = fitted.predict_proba(test.x)
    assert fitted.classes == ["real", "a", "b"]
    assert (NAMES[p.argmax(axis=1)] == test.generators).mean() > 0.9


def test_prompts_may_be_vectors_of_the_embedding_space():
    """What OCC-CLIP's loss makes of encoders without a text side: starts undecided, ends apart, asks for no texts."""
    start = PromptEmbeddings(3, 6, torch.Generator().manual_seed(0))()
    assert start.shape == (3, 2, 6)
    assert torch.equal(start[:, 0], start[:, 1])
    how = settings(prompts="embedding", learning_rate=0.05, epsilon=0.0)
    fitted, test = OccClip.fit(how, rows(0), rows(1), 0), rows(2)
    assert (NAMES[fitted.predict_proba(test.x).argmax(axis=1)] == test.generators).mean() > 0.9
    assert np.linalg.norm(fitted.arrays["texts"], axis=2) == pytest.approx(1, abs=1e-5)


def test_the_largest_probability_is_the_published_rule(fitted):
    """The generator whose own classifier says fake loudest, if any says so at all."""
    x = np.random.default_rng(3).normal(size=(200, 6)).astype(np.float32)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    expected = []
    for row in unit:
        own = [np.exp(10 * text @ row) / np.exp(10 * text @ row).sum() for text in fitted.arrays["texts"]]
        fake = [p[1] for p in own]
        expected.append(1 + int(np.argmax(fake)) if max(fake) > 0.5 else 0)
    assert len(set(expected)) == 3
    assert fitted.predict_proba(x).argmax(axis=1).tolist() == expected


def test_the_loss_equals_loops_and_autograd():
    draw = torch.Generator().manual_seed(0)
    texts = functional.normalize(torch.randn(2, 2, 6, generator=draw), dim=2)
    x = functional.normalize(torch.randn(2, 5, 6, generator=draw), dim=2)
    y = torch.tensor([[0.0, 1, 0, 0, 1], [1.0, 0, 0, 1, 0]])
    found = loss(texts, x, y, 7.0, 0.3, torch.Generator().manual_seed(5))
    chosen = torch.rand(y.shape, generator=torch.Generator().manual_seed(5)) < 0.5
    total = 0.0
    for k in range(2):
        for b in range(5):
            row = x[k, b].clone().requires_grad_(True)
            functional.cross_entropy(7 * texts[k] @ row, y[k, b].long()).backward()
            if chosen[k, b] and y[k, b] == 0:
                row = functional.normalize(row.detach() + 0.3 / 6**0.5 * row.grad.sign(), dim=0)
            total += float(functional.cross_entropy(7 * texts[k] @ row.detach(), y[k, b].long())) / 5
    assert (chosen & (y == 0)).any()
    assert float(found) == pytest.approx(total, rel=1e-5)


def test_the_rate_warms_up_for_an_epoch_and_falls_as_a_cosine():
    how = OccSettings(backbone="b", dataset="d")
    assert learning_rate_at(how, 0) == 1e-5
    assert learning_rate_at(how, 100) == pytest.approx(1e-4 / 2)
    assert learning_rate_at(how, 60) == pytest.approx(1e-4 * (1 + cos(pi * 0.3)) / 2)


def test_texts_are_those_of_open_clip():
    """Of a tower with CLIP's whole vocabulary, whose prompt is made of real tokens."""
    config = backbone_settings("tiny_clip").config
    wider = config | {"text_cfg": config["text_cfg"] | {"vocab_size": 49408}}
    tower = load_text_encoder(backbone_settings("tiny_clip", {"config": wider}), "tiny_clip")
    start, word, end = tower.embed(("fake",))
    prompt = functional.pad(torch.cat([start, word, end]), (0, 0, 0, 4))
    tokens = open_clip.tokenize(["fake."], context_length=8)
    assert (tokens[0] > 0).sum() == 4
    prompt[4:] = tower.clip.token_embedding(tokens[0, 4:])
    torch.testing.assert_close(tower.encode(prompt[None], [3]), tower.clip.encode_text(tokens, normalize=True))
    torch.testing.assert_close(
        tower.encode(prompt[None, :4], [3]), tower.encode(prompt[None], [3])
    )  # its tail is unread
    small = load_text_encoder(backbone_settings("tiny_clip"), "tiny_clip").embed(("real", "fake"))
    assert not torch.equal(small[1], small[2])


def test_prompts_are_as_long_as_the_longer_one(monkeypatch):
    """Not as long as the text encoder reads: of 77 positions, 36 do the work."""
    shapes, encode = [], Texts.encode
    monkeypatch.setattr(Texts, "encode", lambda self, p, ends: shapes.append(tuple(p.shape)) or encode(self, p, ends))
    Prompts(settings(), Texts(6), 3, torch.Generator().manual_seed(0))()
    assert shapes == [(6, 1 + 2 + 1 + 2, 6)]


@pytest.mark.parametrize("texts", [None, Texts(6)])
def test_prompts_are_learned_on_the_device_of_the_environment(texts, monkeypatch):
    """``meta`` stands for a GPU: what reaches it unmoved would raise another error than its lack of numbers."""
    if texts is not None:
        monkeypatch.setattr(texts, "device", torch.device("meta"))
        monkeypatch.setattr(texts, "embed", lambda words: [part.to("meta") for part in Texts(6).embed(words)])
    monkeypatch.setattr("aigid.detectors.occ.choose_device", lambda name: torch.device("meta"))
    how = settings(prompts="embedding" if texts is None else "text_encoder")
    with pytest.raises(RuntimeError, match=r"meta tensors"):
        OccClip.fit(how, rows(0), rows(1), 0, texts)


def test_a_shared_context_is_one_for_both_names():
    draw = torch.Generator().manual_seed(0)
    assert Prompts(settings(shared_context=True), Texts(6), 3, draw).context.shape == (3, 1, 2, 6)
    assert Prompts(settings(), Texts(6), 3, draw).context.shape == (3, 2, 2, 6)


def test_what_it_refuses():
    with pytest.raises(InputError, match=r"occ\.n_ctx=9: prompts of 13 tokens, and the text encoder reads 8"):
        OccClip.fit(settings(n_ctx=9), rows(0), rows(1), 0, Texts(6))
    wide = LabeledEmbeddings(np.zeros((3, 7), np.float32), np.array([0, 1, 1]), generators=NAMES)
    with pytest.raises(InputError, match=r"occ\.backbone: its texts have 6 numbers, its images 7"):
        OccClip.fit(settings(), wide, wide, 0, Texts(6))
    with pytest.raises(InputError, match="backbone 'tiny_siglip': has no text encoder"):
        load_text_encoder(backbone_settings("tiny_siglip"), "tiny_siglip")

"""The states of signed provenance, of images that the test signs itself."""

import io
import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from PIL import Image

from aigid.core.errors import InputError
from aigid.prediction.inspection import inspect_content

c2pa = pytest.importorskip("c2pa", reason="the extra c2pa is not installed")
x509 = pytest.importorskip("cryptography.x509")
from cryptography.hazmat.primitives import hashes, serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402

SOURCE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
ACTIONS = {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE}]}


def certificate(name, key, issuer, issuer_key, is_authority):
    names = [x509.Name([x509.NameAttribute(x509.NameOID.ORGANIZATION_NAME, text)]) for text in (name, issuer)]
    usage = dict.fromkeys(
        (
            "content_commitment",
            "key_encipherment",
            "data_encipherment",
            "key_agreement",
            "encipher_only",
            "decipher_only",
        ),
        False,
    )
    usage |= {"digital_signature": not is_authority, "key_cert_sign": is_authority, "crl_sign": is_authority}
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(names[1], names[0], key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(days=1)).not_valid_after(now + timedelta(days=1))
    for extension, critical in (
        (x509.BasicConstraints(ca=is_authority, path_length=None), True),
        (x509.KeyUsage(**usage), True),
        (x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), False),
        (x509.SubjectKeyIdentifier.from_public_key(key.public_key()), False),
        *([] if is_authority else [(x509.ExtendedKeyUsage([x509.ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)]),
    ):
        builder = builder.add_extension(extension, critical)
    return builder.sign(issuer_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)


def jpeg():
    file = io.BytesIO()
    Image.effect_noise((64, 64), 80).convert("RGB").save(file, "JPEG")
    return file


@pytest.fixture(scope="module")
def signed():
    """A JPEG with a manifest store, and the certificate that its signer's leads to."""
    keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
    root = certificate("Some Authority", keys[0], "Some Authority", keys[0], True)
    chain = certificate("Some Maker", keys[1], "Some Authority", keys[0], False) + root
    secret = keys[1].private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    manifest = {
        "claim_generator_info": [{"name": "a camera"}],
        "assertions": [{"label": "c2pa.actions", "data": ACTIONS}],
    }
    info, out = c2pa.C2paSignerInfo(alg=b"es256", sign_cert=chain, private_key=secret, ta_url=None), io.BytesIO()
    with c2pa.Builder(manifest) as builder:
        builder.sign(c2pa.Signer.from_info(info), "image/jpeg", jpeg(), out)
    return out.getvalue(), root


def state(content):
    return inspect_content(content, "a.jpg").metadata["c2pa"]


def test_a_valid_signature_of_somebody(signed):
    found = state(signed[0])
    assert (found["state"], found["signer"], found["claimed_by"]) == ("valid, signer unknown", "Some Maker", "a camera")
    assert inspect_content(signed[0], "a.jpg").metadata["digital_source_type"] == ["trainedAlgorithmicMedia"]


def test_a_signer_on_the_trust_list(signed, tmp_path, monkeypatch):
    path = tmp_path / "anchors.pem"
    path.write_bytes(signed[1])
    os.utime(path, (0, 86400))
    monkeypatch.setenv("AIGID_TRUST_LIST", str(path))
    assert state(signed[0])["state"] == "valid, signer on the trust list anchors.pem of 1970-01-02"
    key = ec.generate_private_key(ec.SECP256R1())
    path.write_bytes(certificate("Another", key, "Another", key, True))
    assert state(signed[0])["state"] == "valid, signer unknown"


def test_changed_pixels_and_no_store(signed):
    content = bytearray(signed[0])
    content[-200] ^= 1
    assert state(bytes(content))["state"] == "invalid"
    assert state(jpeg().getvalue() + b"jumbc2pa")["state"] == "absent"


def test_the_trust_list_is_read_once(signed, tmp_path, monkeypatch):
    path = tmp_path / "anchors.pem"
    path.write_bytes(signed[1])
    monkeypatch.setenv("AIGID_TRUST_LIST", str(path))
    state(signed[0])
    monkeypatch.setattr(Path, "read_text", lambda *_, **__: pytest.fail("is read again"))
    assert state(signed[0])["state"].startswith("valid, signer on the trust list anchors.pem")
    monkeypatch.undo()
    monkeypatch.setenv("AIGID_TRUST_LIST", str(path))
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match=r"AIGID_TRUST_LIST=.*anchors\.pem: no PEM file: "):
        state(signed[0])

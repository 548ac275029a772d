"""Signed manifests, with a chain of certificates made here; without the extra they are refused in one line."""

import datetime
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from autoreel.errors import UsageError
from autoreel.media import manifest
from autoreel.media.encode import VideoWriter
from autoreel.media.manifest import INSTALL, Signing, check_signing, read_manifest, sealing, seems_to_hold_one, sign

needs_extra = pytest.mark.skipif(not manifest.is_installed(), reason="the extra c2pa is not installed")


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Signing:
    """A signer and the authority that vouches for it."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    now = datetime.datetime.now(datetime.UTC)
    root_key, key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())

    def certificate(name: str, public: ec.EllipticCurvePublicKey, is_root: bool) -> x509.Certificate:
        names = [x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "Studio"),
                            x509.NameAttribute(NameOID.COMMON_NAME, common)]) for common in (name, "root")]  # fmt: skip
        built = x509.CertificateBuilder(names[1], names[0], public, x509.random_serial_number(),
                                        now - datetime.timedelta(days=1), now + datetime.timedelta(days=9))  # fmt: skip
        usage = x509.KeyUsage(True, False, False, False, False, is_root, is_root, False, False)
        built = built.add_extension(x509.BasicConstraints(is_root, None), True).add_extension(usage, True)
        built = built.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), False)
        issuer = x509.AuthorityKeyIdentifier.from_issuer_public_key(root_key.public_key())
        built = built.add_extension(issuer, False)
        if not is_root:
            built = built.add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.EMAIL_PROTECTION]), False)
        return built.sign(root_key, hashes.SHA256())

    folder = tmp_path_factory.mktemp("certificates")
    pem = serialization.Encoding.PEM
    chain = [certificate("signer", key.public_key(), False), certificate("root", root_key.public_key(), True)]
    (folder / "chain.pem").write_bytes(b"".join(one.public_bytes(pem) for one in chain))
    for name, one in (("key.pem", key), ("other.pem", root_key)):
        plain = serialization.NoEncryption()
        (folder / name).write_bytes(one.private_bytes(pem, serialization.PrivateFormat.PKCS8, plain))
    return Signing(folder / "chain.pem", folder / "key.pem")


def _clip(path: Path) -> Path:
    frames = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    with VideoWriter(path, (32, 32), Fraction(5)) as writer:
        writer.write(frames)
    return path


@needs_extra
@pytest.mark.parametrize("ending", [".mp4", ".gif"])
def test_a_manifest_is_written_and_read(tmp_path: Path, signing: Signing, ending: str) -> None:
    unsigned, path = _clip(tmp_path / f"clip{ending}"), tmp_path / f"signed{ending}"
    assert read_manifest(unsigned) is None and not seems_to_hold_one(unsigned)
    sign(unsigned, path, signing=signing, title="film", kind="generated", details={"run_hash": None, "seeds": [1, 2]})
    read = read_manifest(path)
    assert read is not None and read.state == "Valid" and read.source_types == ("trainedAlgorithmicMedia",)
    assert read.issuer == "Studio" and read.generator.startswith("autoreel") and seems_to_hold_one(path)
    content = bytearray(path.read_bytes())
    content[-40] ^= 0xFF
    path.write_bytes(content)
    changed = read_manifest(path)
    assert changed is not None and changed.state == "Invalid"


@needs_extra
def test_a_file_has_its_manifest_before_it_has_its_name(tmp_path: Path, signing: Signing) -> None:
    path = tmp_path / "film.mp4"
    seal = sealing(signing, path, kind="mixed", details={})
    with VideoWriter(path, (32, 32), Fraction(5), seal=seal) as writer:
        writer.write(np.zeros((4, 32, 32, 3), np.uint8))
        part = writer.complete()
        assert not path.exists() and seems_to_hold_one(part)
    read = read_manifest(path)
    assert read is not None and read.state == "Valid"
    assert [entry.name for entry in tmp_path.iterdir()] == ["film.mp4"]
    key = tmp_path / "broken.pem"
    key.write_text("-----BEGIN PRIVATE KEY-----\n")
    broken = sealing(Signing(signing.cert, key), path, kind="mixed", details={})
    with pytest.raises(UsageError, match="holds no private key"), VideoWriter(path, (32, 32), 5, seal=broken) as writer:
        writer.write(np.ones((4, 32, 32, 3), np.uint8))
    assert read_manifest(path) == read and sealing(None, path, kind="mixed", details={}) is None
    with pytest.raises(UsageError, match="pictures are not signed"):
        VideoWriter(tmp_path / "%05d.png", (32, 32), 5, seal=seal)


@needs_extra
def test_what_cannot_sign_is_said(tmp_path: Path, signing: Signing) -> None:
    other = signing.key.with_name("other.pem")
    (tmp_path / "text.pem").write_text("hello")
    for cert, key, out, words in (
        (signing.cert, None, "a.mp4", "belong together"),
        (signing.cert, signing.key, "a.mkv", "can hold a signed manifest"),
        (signing.cert, other, "a.mp4", "is not the key of"),
        (tmp_path / "absent.pem", signing.key, "a.mp4", "cannot read"),
        (tmp_path / "text.pem", signing.key, "a.mp4", "is no PEM file"),
        (signing.key, signing.key, "a.mp4", "holds no certificate"),
        (signing.cert, signing.cert, "a.mp4", "holds no private key"),
    ):
        problems = check_signing(cert, key, Path(out))
        assert len(problems) == 1 and words in str(problems[0]) and "\n" not in str(problems[0])
    assert check_signing(signing.cert, signing.key, Path("a.mp4")) == check_signing(None, None, Path("a.mkv")) == []


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "is_installed", lambda: False)
    assert str(check_signing(tmp_path / "a", tmp_path / "b", Path("a.mp4"))[0]) == INSTALL
    with pytest.raises(UsageError, match="set-up c2pa"):
        read_manifest(_clip(tmp_path / "clip.mp4"))

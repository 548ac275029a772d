"""Signed manifests, with a chain of certificates made here; without the extra they are refused in one line."""

import datetime
import socket
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from autoreel.errors import JailError, MediaError, UsageError
from autoreel.media import jail, manifest, sandbox
from autoreel.media.encode import VideoWriter
from autoreel.media.manifest import INSTALL, Signing, check_signing, read_manifest, sealing, seems_to_hold_one, sign

needs_extra = pytest.mark.skipif(not manifest.is_installed(), reason="the extra c2pa is not installed")
needs_jail = pytest.mark.skipif(not sandbox.supported(), reason="this machine has no jail")


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


def _clip_of_bytes(path: Path) -> Path:
    """What begins as a film does."""
    path.write_bytes(b"\0\0\0\x18ftypisom" + bytes(48))
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


ATTACKS = {
    "open a file": "open('/etc/hostname', 'rb')",
    "a socket with a path": "socket.socket(socket.AF_UNIX).connect({name!r})",
    "fork": "os.fork() or os._exit(0)",
    "kill": "os.kill(os.getppid(), 0)",
    "memory file": "os.memfd_create('x')",
}
ATTEMPT = """
import os, socket
from autoreel.media import manifest_reader
if {locked}:
    manifest_reader._lock(must_close=True)
try:
    {attack}
except OSError:
    os.write(1, b"refused")
else:
    os.write(1, b"succeeded")
os._exit(0)
"""


def _python(code: str) -> str:
    environment = {"PYTHONPATH": str(Path(manifest.__file__).resolve().parents[2])}
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
    return done.stdout or done.stderr


@needs_extra
@needs_jail
@pytest.mark.parametrize("attack", ATTACKS.values(), ids=ATTACKS.keys())
def test_a_reader_that_was_taken_over_can_reach_nothing(tmp_path: Path, attack: str) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        name = str(tmp_path / "socket")
        server.bind(name)
        server.listen()
        for locked, expected in ((False, "succeeded"), (True, "refused")):
            assert _python(ATTEMPT.format(locked=locked, attack=attack.format(name=name))) == expected


@needs_extra
def test_nothing_is_read_where_the_jail_does_not_close(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "from autoreel.media import manifest_reader as m; m.sandbox.seccomp = lambda: False; m._lock({0}); print(1)"
    assert "JailError" in _python(code.format(True)) and _python(code.format(False)) == "1\n"
    monkeypatch.setattr(jail._zygote(), "layers", {"landlock": "version 7", "network_namespace": True})
    monkeypatch.delenv(jail.UNSAFE_VARIABLE, raising=False)
    path = _clip_of_bytes(tmp_path / "clip.mp4")
    with pytest.raises(JailError, match="no seccomp"):
        read_manifest(path)
    monkeypatch.setenv(jail.UNSAFE_VARIABLE, "1")
    assert read_manifest(path) is None  # looked at; there is none in it


@pytest.mark.parametrize("says", ["'x' * (5 << 20)", "'[' * 100_000", "'{\"a\":' * 9000", "'7'", "''"])
def test_what_a_reader_says_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, says: str) -> None:
    monkeypatch.setattr(manifest, "is_installed", lambda: True)
    said = manifest._said
    command = [sys.executable, "-c", f"import os, sys\nsys.stdout.write({says})\nsys.stdout.flush()"]
    monkeypatch.setattr(manifest, "_said", lambda _, descriptor: said(command, descriptor))
    with pytest.raises(MediaError, match="the reader of its manifest broke down"):
        read_manifest(_clip_of_bytes(tmp_path / "clip.mp4"))


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(manifest, "is_installed", lambda: False)
    assert str(check_signing(tmp_path / "a", tmp_path / "b", Path("a.mp4"))[0]) == INSTALL
    with pytest.raises(UsageError, match="set-up c2pa"):
        read_manifest(_clip(tmp_path / "clip.mp4"))

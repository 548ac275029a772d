"""C2PA manifests: a signed statement in the file of what made it (C2PA 2.2; the extra `c2pa`).

Written with the person's own certificate; read back in a process that has the open file and nothing else.
"""

from __future__ import annotations

import importlib.util
import json
import os
import select
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from autoreel.errors import AutoreelError, MediaError, OutputError, UsageError
from autoreel.media.jail import insist_on_jail, open_untrusted, show

if TYPE_CHECKING:
    from autoreel.media.encode import Seal

INSTALL = "the extra `c2pa` is not installed; run `./autoreel set-up c2pa`, or pip install 'autoreel[c2pa]'"
# The formats of ours that can hold a manifest, by the words that c2pa has for them.
FORMATS = {".mp4": "video/mp4", ".m4v": "video/mp4", ".mov": "video/quicktime", ".gif": "image/gif"}
_TERMS = "http://cv.iptc.org/newscodes/digitalsourcetype/"
# What made the pictures, by IPTC's terms, for each kind of film.
SOURCE_TYPES = {
    "generated": f"{_TERMS}trainedAlgorithmicMedia",
    "rebuilt": f"{_TERMS}compositeWithTrainedAlgorithmicMedia",
    "mixed": f"{_TERMS}compositeWithTrainedAlgorithmicMedia",
    "original": f"{_TERMS}humanEdits",
}
UNTRUSTED = "signingCredential.untrusted"  # valid, by somebody who is on no list
MAX_CERT_BYTES = 1 << 20
READ_S = 120
_MAX_ANSWER_BYTES = 4 << 20


@dataclass(frozen=True)
class Signing:
    """Whose signature a film gets.

    Args:
        cert: PEM file with the certificate and those that signed it, in this order.
        key: PEM file with its private key, without a password.
    """

    cert: Path
    key: Path


@dataclass(frozen=True)
class Manifest:
    """What a manifest says.

    Args:
        state: `Trusted`, `Valid` (all hashes and the signature fit; the signer is not on a list of trusted ones), or
            `Invalid`.
        issuer: who signed, as the certificate has it.
        generator: the program that made the claim.
        source_types: the last words of IPTC's terms in it, such as `trainedAlgorithmicMedia`.
        problems: codes of what does not hold.
    """

    state: str
    issuer: str
    generator: str
    source_types: tuple[str, ...]
    problems: tuple[str, ...]


def is_installed() -> bool:
    """Whether the extra is there."""
    return importlib.util.find_spec("c2pa") is not None


def check_signing(cert: Path | None, key: Path | None, out: Path) -> list[AutoreelError]:
    """Why a file cannot be signed, one line each."""
    if cert is None and key is None:
        return []
    if cert is None or key is None:
        return [UsageError("--sign-cert and --sign-key belong together; give both, or neither")]
    if not is_installed():
        return [UsageError(INSTALL)]
    problems: list[AutoreelError] = []
    if out.suffix.lower() not in FORMATS:
        problems.append(UsageError(f"{out}: only {', '.join(FORMATS)} can hold a signed manifest; choose one of them"))
    try:
        _algorithm(Signing(cert, key))
    except UsageError as error:
        problems.append(error)
    return problems


def sealing(signing: Signing | None, final: Path, *, kind: str, details: Mapping[str, Any]) -> Seal | None:
    """What signs a file before it gets its name, for `VideoWriter`; None where nobody signs.

    Args:
        signing: the signature.
        final: the name that the file will get.
        kind, details: as `sign` takes them.
    """
    if signing is None:
        return None
    return partial(sign, signing=signing, title=final.name, kind=kind, details=details)


def sign(source: Path, target: Path, *, signing: Signing, title: str, kind: str, details: Mapping[str, Any]) -> None:
    """Write a file with a signed manifest in it.

    Args:
        source: the finished file.
        target: the same with the manifest; what it held is lost. Its ending says what it is.
        signing: the signature.
        title: what the manifest calls the file.
        kind: key of SOURCE_TYPES.
        details: said besides, in an assertion of our own; plain values.

    Raises:
        UsageError: the extra is missing, or certificate or key cannot be used.
        OutputError: signing failed; what stands in `target` then is of no use.
    """
    if not is_installed():
        raise UsageError(INSTALL)
    import c2pa

    from autoreel import __version__

    statement = {
        "claim_generator_info": [{"name": "autoreel", "version": __version__}],
        "title": title,
        "assertions": [
            {
                "label": "c2pa.actions",
                "data": {"actions": [{"action": "c2pa.created", "digitalSourceType": SOURCE_TYPES[kind]}]},
            },
            {"label": "org.autoreel.provenance", "data": dict(details)},
        ],
    }
    info = c2pa.C2paSignerInfo(
        alg=_algorithm(signing).encode(), sign_cert=_pem(signing.cert), private_key=_pem(signing.key), ta_url=None
    )
    try:
        with (
            source.open("rb") as unsigned, target.open("w+b") as signed,
            c2pa.Signer.from_info(info) as signer, c2pa.Builder(statement) as builder,
        ):  # fmt: skip
            builder.sign(signer, FORMATS[target.suffix.lower()], unsigned, signed)
    except c2pa.C2paError as error:
        reason = " ".join(str(error).split())
        raise OutputError(f"cannot write {title}: signing it failed: {reason}") from error


def _pem(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(MAX_CERT_BYTES + 1)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from error
    if len(content) > MAX_CERT_BYTES or b"-----BEGIN" not in content:
        raise UsageError(f"{path} is no PEM file; it begins with -----BEGIN")
    return content


def _algorithm(signing: Signing) -> str:
    """C2PA's name of the signature that this key makes; certificate and key are looked at together."""
    from cryptography import x509
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

    try:
        certificate = x509.load_pem_x509_certificates(_pem(signing.cert))[0]
    except ValueError as error:
        raise UsageError(f"{signing.cert} holds no certificate that can be read: {error}") from error
    try:
        key = serialization.load_pem_private_key(_pem(signing.key), password=None)
    except TypeError as error:
        raise UsageError(f"{signing.key} has a password; give a key without one") from error
    except ValueError as error:
        raise UsageError(f"{signing.key} holds no private key that can be read: {error}") from error
    if key.public_key() != certificate.public_key():
        raise UsageError(f"{signing.key} is not the key of {signing.cert}; its first certificate has another")
    curves = {"secp256r1": "es256", "secp384r1": "es384", "secp521r1": "es512"}
    if isinstance(key, ec.EllipticCurvePrivateKey) and key.curve.name in curves:
        return curves[key.curve.name]
    if isinstance(key, rsa.RSAPrivateKey) and key.key_size >= 2048:
        return "ps256"
    if isinstance(key, ed25519.Ed25519PrivateKey):
        return "ed25519"
    raise UsageError(f"{signing.key}: C2PA takes keys of P-256, P-384, P-521, Ed25519, or RSA of 2048 bits and more")


def seems_to_hold_one(path: Path) -> bool:
    """Whether a file looks as if there were a manifest in it, by a few bytes; it is not read."""
    descriptor = open_untrusted(path)
    try:
        size_bytes = os.fstat(descriptor).st_size
        ends = os.pread(descriptor, 1 << 16, 0) + os.pread(descriptor, 1 << 16, max(0, size_bytes - (1 << 16)))
    finally:
        os.close(descriptor)
    return b"jumb" in ends and b"c2pa" in ends


def read_manifest(path: Path) -> Manifest | None:
    """The manifest of a file, read in a process of its own.

    Args:
        path: any file, trusted or not.

    Returns:
        None where there is none, or its format holds none.

    Raises:
        UsageError: the extra is missing.
        MediaError: it cannot be opened, or its reader broke down.
        JailError: the machine offers no jail, and the unsafe switch is not set.
    """
    if not is_installed():
        raise UsageError(INSTALL)
    walls = "closed" if insist_on_jail() else "trusted"
    descriptor = open_untrusted(path)
    try:
        kind = _format(os.pread(descriptor, 16, 0))
        if kind is None:
            return None
        command = [sys.executable, "-P", "-m", "autoreel.media.manifest_reader", kind, walls]
        answer = json.loads(_said(command, descriptor))
        if not isinstance(answer, dict) or "failed" in answer:
            raise ValueError("it could not read it")
        return _as_manifest(answer) if answer.get("store") is not None else None
    except (ValueError, RecursionError) as error:
        raise MediaError(f"{show(path)}: the reader of its manifest broke down") from error
    finally:
        os.close(descriptor)


def _said(command: Sequence[str], descriptor: int) -> bytes:
    """What the reader says of the open file. It is not trusted: neither to come to an end, nor to be short.

    Raises:
        ValueError: it takes too long, or says too much.
    """
    kept = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT", "PYTHONPATH")
    environment = {key: value for key, value in os.environ.items() if key in kept}
    root = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join([root, *filter(None, [environment.get("PYTHONPATH")])])
    end = time.monotonic() + READ_S
    said = bytearray()
    with subprocess.Popen(
        command, stdin=descriptor, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, cwd="/", env=environment
    ) as reader:
        try:
            assert reader.stdout is not None
            poll = select.poll()
            poll.register(reader.stdout, select.POLLIN)
            while poll.poll(max(0.0, end - time.monotonic()) * 1000):
                part = os.read(reader.stdout.fileno(), 1 << 16)
                if not part:
                    return bytes(said)
                said += part
                if len(said) > _MAX_ANSWER_BYTES:
                    raise ValueError("it says too much")
            raise ValueError(f"it takes longer than {READ_S} s")
        finally:
            reader.kill()


def _format(head: bytes) -> str | None:
    if head[4:8] == b"ftyp":
        return "video/quicktime" if head[8:12] == b"qt  " else "video/mp4"
    if head.startswith(b"GIF8"):
        return "image/gif"
    return "image/png" if head.startswith(b"\x89PNG\r\n\x1a\n") else None


def _as_manifest(answer: Mapping[str, Any]) -> Manifest:
    """Every field may be anything: the statement was written by whoever wrote the file."""
    store = answer["store"] if isinstance(answer["store"], dict) else {}
    manifests = store.get("manifests")
    active = manifests.get(store.get("active_manifest")) if isinstance(manifests, dict) else None
    active = active if isinstance(active, dict) else {}
    signature = active.get("signature_info")
    issuer = signature.get("issuer") if isinstance(signature, dict) else None
    generators = [item for item in _list(active.get("claim_generator_info")) if isinstance(item, dict)]
    generator = " ".join(str(generators[0].get(key, "")) for key in ("name", "version")) if generators else ""
    types: list[str] = []
    for assertion in _list(active.get("assertions")):
        data = assertion.get("data") if isinstance(assertion, dict) else None
        for action in _list(data.get("actions") if isinstance(data, dict) else None):
            if isinstance(action, dict) and isinstance(action.get("digitalSourceType"), str):
                types.append(_line(action["digitalSourceType"].rpartition("/")[2]))
    problems = [_line(item["code"]) for item in _list(store.get("validation_status"))
                if isinstance(item, dict) and isinstance(item.get("code"), str)]  # fmt: skip
    state = _line(answer.get("state"))
    return Manifest(state, _line(issuer), _line(generator), tuple(types[:20]), tuple(problems[:20]))


def _list(value: Any) -> Sequence[Any]:
    return value if isinstance(value, list) else []


def _line(value: Any) -> str:
    text = " ".join(str(value if value is not None else "unknown").split())[:200]
    return text if text.isprintable() else ascii(text)

"""Protects large messages in a process of its own: ``python -m voxrec.mail.protection_process``.

The library holds the GIL while it encrypts or signs, 0.2 s for 20 MB of audio, in which no call would be handled.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

from voxrec.mail.protection import Encryption, ProtectionError, TransientProtectionError, protect
from voxrec.mail.smime_signature import Signer
from voxrec.sanitize import sanitize_line

SMALL: Final = 1_000_000  # bytes; protecting them takes less time than the start of a process, and disturbs no call
_TIME_LIMIT: Final = 120.0  # seconds, less than TimeoutStopSec of the unit: a stop waits for the process
_REFUSED: Final = 3  # exit status: the message cannot be encrypted, for the reason on the standard error
_OOM_SCORE: Final = "500"  # the kernel should rather end this process than voxrec or PostgreSQL
_PASSED_ON: Final = ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH")  # other environment variables may be secrets


def protect_message(message: bytes, encryption: Encryption | None, signer: Signer | None, hide_subject: bool) -> bytes:
    """Return a message as `protect` does, a large one from a process. Blocks: run it in a thread.

    Raises ProtectionError, TransientProtectionError.
    """
    if len(message) < SMALL:
        return protect(message, encryption, signer, hide_subject=hide_subject)
    parameters = {
        "certificates": None if encryption is None else encryption.certificates,
        "signer": None if signer is None else _to_pem(signer),
        "hide_subject": hide_subject,
    }
    try:
        process = subprocess.run(
            [sys.executable, "-P", "-m", "voxrec.mail.protection_process"],
            input=b"".join([json.dumps(parameters).encode(), b"\n", message]),
            capture_output=True,
            check=False,
            timeout=_TIME_LIMIT,
            env={name: os.environ[name] for name in _PASSED_ON if name in os.environ},
            cwd="/",
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        reason = error.strerror if isinstance(error, OSError) else f"it took more than {_TIME_LIMIT:g} s"
        raise TransientProtectionError(f"the process that protects the message failed: {reason}") from None
    if process.returncode == 0:
        return process.stdout
    reason = sanitize_line(process.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2])
    if process.returncode == _REFUSED:
        raise ProtectionError(reason)
    ended = f"signal {-process.returncode}" if process.returncode < 0 else f"status {process.returncode}"
    raise TransientProtectionError(f"the process that protects the message ended with {ended}: {reason}")


def _to_pem(signer: Signer) -> list[str]:
    """Return the private key, the certificate and its chain; the process receives them through a pipe."""
    key = signer.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    certificates = (one.public_bytes(Encoding.PEM) for one in (signer.certificate, *signer.chain))
    return [pem.decode("ascii") for pem in (key, *certificates)]


def _from_pem(texts: list[str]) -> Signer:
    key = load_pem_private_key(texts[0].encode(), None)
    assert isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey), "as `load_signer` has read it"
    certificate, *chain = (x509.load_pem_x509_certificate(text.encode()) for text in texts[1:])
    return Signer(certificate, tuple(chain), key)


def main() -> int:
    """Read the parameters and the message from the standard input, and write the protected message."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(_OOM_SCORE)
    parameters = json.loads(sys.stdin.buffer.readline())
    certificates, signer = parameters["certificates"], parameters["signer"]
    encryption = None if certificates is None else Encryption(tuple(certificates))
    try:
        protected = protect(
            sys.stdin.buffer.read(),
            encryption,
            None if signer is None else _from_pem(signer),
            hide_subject=parameters["hide_subject"],
        )
    except ProtectionError as error:
        sys.stderr.write(f"{error}\n")
        return _REFUSED
    except TransientProtectionError as error:
        sys.exit(str(error))
    sys.stdout.buffer.write(protected)
    sys.stdout.buffer.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())

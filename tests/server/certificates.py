"""A certificate authority of the tests, made by openssl, and what it signs."""

import subprocess
from pathlib import Path

_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]


def authority(folder: Path) -> Path:
    """A certificate that signs others; its key lies beside it."""
    out = folder / "ca.pem"
    openssl("req", "-x509", *_KEY, "-keyout", folder / "ca.key", "-out", out, "-subj", "/CN=authority of a test")
    return out


def signed(folder: Path, name: str = "server", of: str = "IP:127.0.0.1,DNS:localhost") -> tuple[Path, Path]:
    """A certificate, of this machine unless told otherwise, that the folder's authority signed, and its key."""
    certificate, key = folder / f"{name}.crt", folder / f"{name}.key"
    names = ["-subj", "/CN=localhost", "-addext", f"subjectAltName={of}"]
    by = ["-CA", folder / "ca.pem", "-CAkey", folder / "ca.key"]
    openssl("req", "-x509", *_KEY, "-keyout", key, "-out", certificate, *names, *by)
    return certificate, key


def openssl(*words: object) -> None:
    """Run openssl, which must succeed."""
    done = subprocess.run(["openssl", *map(str, words)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr

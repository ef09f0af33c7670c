"""Certificates for tests, made by openssl: an authority, and a server that it vouches for."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from typing import NamedTuple

import pytest


class Certificates(NamedTuple):
    """Files in PEM: the authority's certificate, the server's certificate and key, and both in one."""

    authority: Path
    certificate: Path
    key: Path
    both: Path


def require_openssl() -> str:
    """The path of openssl; without it a test is skipped on a laptop and fails in CI."""
    path = shutil.which("openssl")
    if path is None:
        message = "openssl is not installed (apt-get install openssl)"
        if os.environ.get("CI"):
            pytest.fail(message)
        pytest.skip(message)
    return path


def make_certificates(folder: Path) -> Certificates:
    """Make a new authority and a certificate for ``localhost`` and 127.0.0.1 in a folder."""
    openssl = require_openssl()
    folder.mkdir(parents=True, exist_ok=True)
    made = Certificates(*(folder / name for name in ("authority.pem", "server.pem", "server.key", "both.pem")))
    names = folder / "names"
    names.write_text("subjectAltName=DNS:localhost,IP:127.0.0.1\n")
    new = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    for words in (
        ["req", "-x509", *new, "-keyout", "authority.key", "-out", made.authority, "-days", "2", "-subj",
         "/CN=tests of thresher"],
        ["req", *new, "-keyout", made.key, "-out", "server.csr", "-subj", "/CN=localhost"],
        ["x509", "-req", "-in", "server.csr", "-CA", made.authority, "-CAkey", "authority.key", "-CAcreateserial",
         "-out", made.certificate, "-days", "2", "-extfile", names],
    ):
        done = subprocess.run([openssl, *map(str, words)], cwd=folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    made.both.write_text(made.key.read_text() + made.certificate.read_text())
    return made

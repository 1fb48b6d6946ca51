"""A server of its own process answers by TLS to who bears the token, and to nobody else."""

import ssl
from pathlib import Path

import httpx
import pytest

from marm.config.load import load_run
from marm.errors import SettingError
from marm.server.run import check_certificate
from tests.server.certificates import authority, openssl, signed
from tests.server.processes import begin, ended

RANK = {"user": "u1", "candidates": [1, 2, 3]}


def test_by_tls_the_right_token_answers_a_wrong_one_and_plain_http_do_not(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ca, errors = authority(tmp_path), tmp_path / "errors.log"
    certificate, key = signed(tmp_path)
    monkeypatch.setenv("MARM_TOKEN", "right")
    sets = [f"serve.tls_certificate={certificate}", f"serve.tls_key={key}"]
    words = [word for one in sets for word in ("--set", one)]
    server = begin("serve", folder, "--port", 0, "--quiet", *words, errors=errors)
    try:
        address = server.stdout.readline().strip()
        assert address.startswith("https://"), errors.read_text()
        trusting = ssl.create_default_context(cafile=str(ca))
        with httpx.Client(base_url=address, verify=trusting, timeout=30) as client:
            assert client.get("/readyz").status_code == 200
            for token, status in ((None, 401), ("Bearer wrong", 401), ("right", 401), ("Bearer right", 200)):
                headers = {"authorization": token} if token else {}
                assert client.post("/v1/rank", json=RANK, headers=headers).status_code == status, token
            assert client.get("/metrics").status_code == 401
        with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
            httpx.get(f"{address}/healthz", timeout=30)
        with pytest.raises(httpx.RemoteProtocolError):
            httpx.get(f"{address.replace('https', 'http')}/healthz", timeout=30)
    finally:
        code = ended(server)
    assert (code, errors.read_text()) == (0, "")


def test_a_server_that_others_reach_says_that_it_asks_nobody_for_a_token(folder: Path, tmp_path: Path) -> None:
    for host, said in (("0.0.0.0", "set MARM_TOKEN"), ("127.0.0.1", "")):
        errors = tmp_path / f"{host}.log"
        server = begin("serve", folder, "--host", host, "--port", 0, "--quiet", errors=errors)
        assert server.stdout.readline().startswith("http://")
        assert ended(server) == 0
        assert said in errors.read_text() and bool(said) == bool(errors.read_text())


def test_a_certificate_that_cannot_be_used_is_one_line_that_names_it(folder: Path, tmp_path: Path) -> None:
    authority(tmp_path)
    (certificate, key), (_, other) = signed(tmp_path), signed(tmp_path, "other")
    locked = tmp_path / "locked.key"
    openssl("ec", "-in", key, "-aes128", "-passout", "pass:secret", "-out", locked)
    for one, two, says in (
        (tmp_path / "gone.crt", key, "No such file"),
        (certificate, other, "KEY_VALUES_MISMATCH"),
        (certificate, locked, "PEM lib"),
        (folder / "run.toml", key, "PEM lib"),
    ):
        run = load_run(folder / "run.toml", [f"serve.tls_certificate={one}", f"serve.tls_key={two}"])
        with pytest.raises(SettingError, match=says) as told:
            check_certificate(run.serve)
        assert str(one) in str(told.value) and str(two) in str(told.value) and "\n" not in str(told.value)
    with pytest.raises(SettingError, match="set both, or none"):
        load_run(folder / "run.toml", [f"serve.tls_key={key}"])

"""The balancer as it is shipped, before two servers of their own processes: TLS, the token, and one of them killed."""

import re
import signal
from pathlib import Path

import httpx
import pytest

from tests.deploy.nginx import balancer
from tests.server.processes import begin, ended

RANK = {"user": "u1", "candidates": [1, 2, 3]}
RIGHT = {"authorization": "Bearer right"}


def asked(address: str) -> float:
    """Requests for ranks that a server has counted."""
    text = httpx.get(f"{address}/metrics", headers=RIGHT, timeout=30).text
    found = re.search(r'marm_requests_total{path="/v1/rank",status="200"} (\S+)', text)
    return float(found[1]) if found else 0.0


def test_by_tls_and_with_the_token_both_servers_answer_and_one_alone_does_as_well(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    errors = tmp_path / "errors.log"
    monkeypatch.setenv("MARM_TOKEN", "right")
    servers = [begin("serve", folder, "--port", 0, "--quiet", errors=errors) for _ in range(2)]
    try:
        addresses = [server.stdout.readline().strip() for server in servers]
        assert all(addresses), errors.read_text()
        with balancer(tmp_path, addresses) as client:
            told = {"events": [{"event_id": "e1", "user": "u1", "item": 3, "outcomes": {"click": 1}}]}
            assert client.post("/v1/rank", json=RANK).status_code == 401
            assert client.post("/v1/rank", json=RANK, headers={"authorization": "Bearer wrong"}).status_code == 401
            for _ in range(6):
                assert client.post("/v1/rank", json=RANK, headers=RIGHT).status_code == 200
            assert [asked(address) for address in addresses] == [3, 3]
            assert client.get("/metrics", headers=RIGHT).status_code == 404
            plain = str(client.base_url).replace("https", "http")
            assert httpx.get(f"{plain}/healthz", timeout=30).status_code == 400
            assert ended(servers[0], signal.SIGKILL) == -signal.SIGKILL
            for _ in range(4):
                assert client.post("/v1/rank", json=RANK, headers=RIGHT).status_code == 200
            assert client.post("/v1/events", json=told, headers=RIGHT).json()["accepted"] == 1
    finally:
        codes = [ended(server) for server in servers]
    assert codes == [-signal.SIGKILL, 0], errors.read_text()

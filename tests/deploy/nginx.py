"""The balancer as it is shipped, before servers of this machine."""

import re
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from marm.cli.cluster.nodes import free_port
from tests.debian import program
from tests.docs.pages import text_of
from tests.server.certificates import authority, signed
from tests.store.servers import wait_until


@contextmanager
def balancer(folder: Path, addresses: list[str]) -> Iterator[httpx.Client]:
    """Nginx by the file that is shipped, in which only places are other: of servers, certificates, and its own."""
    ca, (certificate, key), port = authority(folder), signed(folder), free_port()
    text = (
        text_of("deploy/nginx.conf").replace("/tmp/", f"{folder}/").replace("listen 8443", f"listen 127.0.0.1:{port}")
    )
    text = text.replace("/run/secrets/tls.crt", str(certificate)).replace("/run/secrets/tls.key", str(key))
    for number, address in enumerate(addresses, 1):
        text, changed = re.subn(rf"server-{number}:8000", address.removeprefix("http://"), text)
        assert changed == 1
    (folder / "nginx.conf").write_text(text)
    words = [program("nginx-light", "nginx", "/usr/sbin/nginx"), "-c", str(folder / "nginx.conf"), "-e", "stderr"]
    with (folder / "nginx.log").open("wb") as log:
        process = subprocess.Popen([*words, "-g", "daemon off;"], stderr=log)
    trusting = ssl.create_default_context(cafile=str(ca))
    try:
        with httpx.Client(base_url=f"https://127.0.0.1:{port}", verify=trusting, timeout=30) as client:
            wait_until(lambda: answers(client))
            yield client
    finally:
        process.terminate()
        process.wait(30)


def answers(client: httpx.Client) -> bool:
    """Whether a server answers through it."""
    try:
        return client.get("/healthz").status_code == 200
    except httpx.ConnectError:
        return False

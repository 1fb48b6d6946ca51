"""The compose file is one, and only the balancer is reached, on this machine."""

import subprocess
import sys

from tests.deploy.manifests import DEPLOY, compose


def test_it_is_as_the_schema_says() -> None:
    words = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*words, str(DEPLOY / "compose.yaml")], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout


def test_only_the_balancer_is_reached_and_from_this_machine() -> None:
    for name, service in compose()["services"].items():
        outside = name == "balancer"
        assert ("outside" in service["networks"]) == outside
        assert [port.split(":")[0] for port in service.get("ports", [])] == ["127.0.0.1"] * outside, name
    assert compose()["networks"]["inside"] == {"internal": True}


def test_volumes_networks_secrets_and_services_that_are_named_are_there() -> None:
    whole = compose()
    for name, service in whole["services"].items():
        for volume in service["volumes"]:
            source = volume.split(":")[0]
            assert (DEPLOY / source).is_file() if source.startswith("./") else source in whole["volumes"], (
                name,
                source,
            )
        assert set(service["networks"]) <= whole["networks"].keys()
        assert set(service.get("secrets", [])) <= whole["secrets"].keys()
        assert set(service.get("depends_on", [])) <= whole["services"].keys()
        assert service["cap_drop"] == ["ALL"] and service["security_opt"] == ["no-new-privileges:true"], name
    text = (DEPLOY / "nginx.conf").read_text(encoding="utf-8")
    for name, service in whole["services"].items():
        if "serve" in service.get("command", []):
            port = service["command"][service["command"].index("--port") + 1]
            assert f"server {name}:{port} " in text
    assert all(f"/run/secrets/{name};" in text for name in whole["secrets"])
    (ports,) = [service["ports"] for service in whole["services"].values() if "ports" in service]
    assert f"listen {ports[0].split(':')[-1]} ssl;" in text

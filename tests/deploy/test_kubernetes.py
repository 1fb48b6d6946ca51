"""Objects of Kubernetes are what its schemas say, fit together, and let nobody in who is not named."""

from pathlib import Path
from typing import Any

import httpx
import kubernetes_validate
import pytest
import yaml

from tests.deploy.manifests import (
    KUBERNETES,
    created,
    kubectl,
    named,
    objects,
    of_kind,
    pod_of,
    raw_containers,
    workloads,
)
from tests.docs.pages import ROOT
from tests.server.running import Running


@pytest.mark.parametrize("path", KUBERNETES, ids=lambda path: path.name)
def test_objects_are_as_the_schemas_say(path: Path) -> None:
    for one in yaml.safe_load_all(path.read_text(encoding="utf-8")):
        kubernetes_validate.validate(one, "1.33", strict=True)
        assert one["kind"] == "Namespace" or one["metadata"]["namespace"] == "marm"


def test_a_wrong_field_is_seen_by_that_check() -> None:
    wrong = yaml.safe_load(yaml.safe_dump(named("Deployment", "server")))
    wrong["spec"]["template"]["spec"]["containers"][0]["livenessprobe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(wrong, "1.33", strict=True)


def matching(labels: dict[str, str]) -> list[dict[str, Any]]:
    """Workloads whose pods bear these labels."""
    return [one for one in workloads() if labels.items() <= one["spec"]["template"]["metadata"]["labels"].items()]


def test_selectors_find_pods_and_ports_have_their_names() -> None:
    for one in workloads():
        assert matching(one["spec"]["selector"]["matchLabels"]) == [one]
    for service in of_kind("Service"):
        (behind,) = matching(service["spec"]["selector"])
        ports = {port["name"] for box in raw_containers(behind) for port in box.get("ports", [])}
        assert {port["targetPort"] for port in service["spec"].get("ports", [])} <= ports, service["metadata"]
    for one in of_kind("StatefulSet"):
        assert matching(named("Service", one["spec"]["serviceName"])["spec"]["selector"]) == [one]
    for budget in of_kind("PodDisruptionBudget"):
        (behind,) = matching(budget["spec"]["selector"]["matchLabels"])
        assert behind["spec"]["replicas"] > budget["spec"]["minAvailable"]


def test_what_is_mounted_is_there() -> None:
    claims = {one["metadata"]["name"] for one in of_kind("PersistentVolumeClaim")}
    files = {name: set(keys) for name, keys in created("configmap").items()}
    for one in workloads():
        pod, templates = pod_of(one), one["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"]: volume for volume in pod.get("volumes", [])}
        there = volumes.keys() | {template["metadata"]["name"] for template in templates}
        mounted = {mount["name"] for box in raw_containers(one) for mount in box["volumeMounts"]}
        assert mounted == there, one["metadata"]
        for volume in volumes.values():
            if "persistentVolumeClaim" in volume:
                assert volume["persistentVolumeClaim"]["claimName"] in claims
            if "configMap" in volume:
                assert volume["configMap"]["name"] in files
        for box in raw_containers(one):
            for word in [*box.get("command", []), *box.get("args", [])]:
                for path in (part for part in word.split() if part.startswith("/etc/marm/")):
                    (mount,) = [mount for mount in box["volumeMounts"] if mount["mountPath"] == "/etc/marm"]
                    assert Path(path).name in files[volumes[mount["name"]]["configMap"]["name"]], path


def test_files_and_manifests_of_the_pages_commands_are_there() -> None:
    applied = [words[words.index("-f") + 1] for words in kubectl() if "apply" in words]
    assert {path.parent for path in KUBERNETES} <= {ROOT / name for name in applied}
    for files in created("configmap").values():
        assert files and all((ROOT / file).is_file() for file in files.values())


def test_trainer_and_servers_share_one_claim_that_many_nodes_may_mount() -> None:
    def claims(name: str, kind: str) -> dict[str, str]:
        pod = pod_of(named(kind, name))
        at = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
        held = [volume for volume in pod["volumes"] if "persistentVolumeClaim" in volume]
        return {volume["persistentVolumeClaim"]["claimName"]: at[volume["name"]] for volume in held}

    assert claims("trainer", "StatefulSet") == claims("server", "Deployment") == {"runs": "/runs"}
    assert named("PersistentVolumeClaim", "runs")["spec"]["accessModes"] == ["ReadWriteMany"]
    assert named("StatefulSet", "trainer")["spec"]["replicas"] == 1


def test_probes_ask_for_routes_that_answer(folder: Path, start: Any) -> None:
    server: Running = start(folder, token="secret")
    asked = []
    for one in workloads():
        for box in raw_containers(one):
            ports = {port["name"]: port["containerPort"] for port in box.get("ports", [])}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                if get := box.get(kind, {}).get("httpGet"):
                    assert ports[get["port"]] == int(box["args"][box["args"].index("--port") + 1])
                    # Who probes bears no token.
                    assert httpx.get(server.address + get["path"], timeout=30).status_code == 200
                    asked.append((kind, get["path"]))
    assert ("readinessProbe", "/readyz") in asked and ("livenessProbe", "/healthz") in asked


def test_every_container_is_closed_as_far_as_it_can_be() -> None:
    for one in workloads():
        pod = pod_of(one)
        said = pod["securityContext"]
        assert said["runAsNonRoot"] and said["runAsUser"] > 0 and said["seccompProfile"] == {"type": "RuntimeDefault"}
        assert pod["automountServiceAccountToken"] is False
        assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
        for box in raw_containers(one):
            closed = box["securityContext"]
            assert closed["readOnlyRootFilesystem"] and closed["allowPrivilegeEscalation"] is False
            assert closed["capabilities"] == {"drop": ["ALL"]}
            assert {"cpu", "memory"} == box["resources"]["requests"].keys() and "memory" in box["resources"]["limits"]
            assert "/tmp" in {mount["mountPath"] for mount in box["volumeMounts"]}


def test_the_store_is_reached_by_trainer_and_servers_alone() -> None:
    policies = {one["metadata"]["name"]: one["spec"] for one in of_kind("NetworkPolicy")}
    assert policies["nobody"] == {"podSelector": {}, "policyTypes": ["Ingress"]}
    (rule,) = policies["store"]["ingress"]
    assert matching(policies["store"]["podSelector"]["matchLabels"]) == [named("StatefulSet", "valkey")]
    assert [one.keys() for one in rule["from"]] == [{"podSelector"}]
    let_in = matching(rule["from"][0]["podSelector"]["matchLabels"])
    assert {one["metadata"]["name"] for one in let_in} == {"trainer", "server"}
    assert matching(policies["server"]["podSelector"]["matchLabels"]) == [named("Deployment", "server")]
    for policy in ("store", "server"):
        (behind,) = matching(policies[policy]["podSelector"]["matchLabels"])
        ports = {port["name"] for box in raw_containers(behind) for port in box["ports"]}
        assert {port["port"] for rule in policies[policy]["ingress"] for port in rule["ports"]} == ports


def test_only_the_ingress_is_reached_from_outside_and_it_ends_tls() -> None:
    (ingress,) = of_kind("Ingress")
    assert all(service["spec"].get("type", "ClusterIP") == "ClusterIP" for service in of_kind("Service"))
    hosts = {host for tls in ingress["spec"]["tls"] for host in tls["hosts"]}
    assert {rule["host"] for rule in ingress["spec"]["rules"]} == hosts
    assert {tls["secretName"] for tls in ingress["spec"]["tls"]} <= created("secret", "tls").keys()
    for rule in ingress["spec"]["rules"]:
        for path in rule["http"]["paths"]:
            service = path["backend"]["service"]
            ports = {port["name"] for port in named("Service", service["name"])["spec"]["ports"]}
            assert service["port"]["name"] in ports


def test_no_secret_is_among_the_objects() -> None:
    assert {one["kind"] for one in objects()} == {
        "Namespace", "PersistentVolumeClaim", "Service", "StatefulSet", "Deployment", "PodDisruptionBudget", "Ingress",
        "NetworkPolicy",
    }  # fmt: skip

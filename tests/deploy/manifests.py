"""What is shipped to deploy with, parsed: objects of Kubernetes, services of compose, commands and their environment."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.docs.pages import ROOT, blocks, text_of

DEPLOY = ROOT / "deploy"
KUBERNETES = sorted((DEPLOY / "kubernetes").glob("*.yaml"))
PAGE = "docs/operations.md"


@dataclass(frozen=True)
class Container:
    """A container of either kind: what it runs, with which environment, and what is mounted in it."""

    where: str
    image: str
    words: list[str]
    environment: dict[str, Any]
    mounts: list[str]

    def commands(self) -> list[list[str]]:
        """Its commands of marm, without the first word; those that a shell runs too."""
        if self.words[:2] != ["sh", "-c"]:
            return [self.words] if self.image.startswith("marm") else []
        parts = re.split(r"\|\||&&|;", self.words[2])
        said = [shlex.split(part.replace("exec ", "")) for part in parts]
        return [words[1:] for words in said if words[0] == "marm"]


@cache
def objects() -> list[dict[str, Any]]:
    """All objects of Kubernetes."""
    return [one for path in KUBERNETES for one in yaml.safe_load_all(path.read_text(encoding="utf-8"))]


def of_kind(*kinds: str) -> list[dict[str, Any]]:
    """Objects of these kinds."""
    return [one for one in objects() if one["kind"] in kinds]


def named(kind: str, name: str) -> dict[str, Any]:
    """The one object of a kind and name."""
    (found,) = [one for one in of_kind(kind) if one["metadata"]["name"] == name]
    return found


def workloads() -> list[dict[str, Any]]:
    """Objects that make pods."""
    return of_kind("Deployment", "StatefulSet", "Job")


def pod_of(workload: dict[str, Any]) -> dict[str, Any]:
    """The template's pod."""
    return dict(workload["spec"]["template"]["spec"])


def raw_containers(workload: dict[str, Any]) -> list[dict[str, Any]]:
    """Containers of a workload's pods as they are written, those that run first too."""
    pod = pod_of(workload)
    return [*pod.get("initContainers", []), *pod["containers"]]


@cache
def compose() -> dict[str, Any]:
    """The compose file."""
    return dict(yaml.safe_load((DEPLOY / "compose.yaml").read_text(encoding="utf-8")))


def containers() -> Iterator[Container]:
    """Of both."""
    secrets = secret_keys()
    for workload in workloads():
        for one in raw_containers(workload):
            environment = {said["name"]: said["value"] for said in one.get("env", [])}
            for source in one.get("envFrom", []):
                environment |= dict.fromkeys(secrets[source["secretRef"]["name"]])
            words = [*one.get("command", []), *one.get("args", [])]
            mounts = [mount["mountPath"] for mount in one["volumeMounts"]]
            name = f"{workload['kind']} {workload['metadata']['name']}: {one['name']}"
            yield Container(name, one["image"], words, environment, mounts)
    for name, one in compose()["services"].items():
        mounts = [volume.split(":")[1] for volume in one["volumes"]]
        words = [*one.get("entrypoint", []), *one.get("command", [])]
        yield Container(f"compose: {name}", one["image"], words, one.get("environment", {}), mounts)


def kubectl() -> list[list[str]]:
    """Words of every command of kubectl that the page gives."""
    lines = "\n".join(block.text for block in blocks(PAGE) if block.language == "text").replace("\\\n", " ")
    return [shlex.split(line) for line in lines.splitlines() if line.startswith("kubectl ")]


def created(*kind: str) -> dict[str, dict[str, str]]:
    """Objects that the page says to create by ``kubectl create``, and what is given for each of their keys."""
    out = {}
    for words in kubectl():
        if words[3 : 4 + len(kind)] == ["create", *kind]:
            given = [word.split("=", 2)[1:] for word in words if word.startswith("--from-literal=")]
            files = [word.split("=")[-1] for word in words if word.startswith("--from-file=")]
            tls = {"tls.crt": "", "tls.key": ""} if "tls" in kind else {}
            out[words[4 + len(kind)]] = dict(given) | {Path(f).name: f for f in files} | tls
    return out


def secret_keys() -> dict[str, list[str]]:
    """Secrets that the page says to create, and their keys."""
    return {name: list(keys) for name, keys in created("secret", "generic").items()}


def variables_of_source() -> set[str]:
    """Environment variables that marm reads."""
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "marm").rglob("*.py"))
    return set(re.findall(r"\bMARM_[A-Z_]+[A-Z]\b", source))


def dockerfile() -> list[tuple[str, str]]:
    """Instructions of the image: what they are, and what follows on their lines."""
    text = text_of("deploy/Dockerfile").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(word, rest) for word, _, rest in (line.partition(" ") for line in lines)]

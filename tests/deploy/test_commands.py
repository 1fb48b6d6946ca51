"""Every command, option, setting and variable of what is shipped is there; every secret comes from the environment."""

import re
import subprocess
import tomllib
from typing import Any

import pytest
import typer.main

from marm.cli.app import app
from marm.config.load import check_run
from tests.deploy.manifests import (
    DEPLOY,
    Container,
    compose,
    containers,
    created,
    dockerfile,
    objects,
    of_kind,
    variables_of_source,
    workloads,
)
from tests.docs.pages import ROOT, text_of

ALL = list(containers())
OURS = [one for one in ALL if one.image.startswith("marm")]
OTHERS = {"HOME", "NUMBA_CACHE_DIR", "MPLCONFIGDIR"}
"""Variables of libraries."""


def test_there_are_trainers_and_servers_in_both() -> None:
    run = [(one.where.split()[0], words[0]) for one in OURS for words in one.commands()]
    for place in ("StatefulSet", "compose:"):
        assert (place, "train") in run and (place, "follow") in run
    assert run.count(("compose:", "serve")) == 2 and run.count(("Deployment", "serve")) == 1


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.where)
def test_commands_are_there_and_take_their_options(one: Container) -> None:
    assert one.commands()
    for name, *words in one.commands():
        command: Any = typer.main.get_command(app)
        with command.commands[name].make_context(name, list(words)) as context:
            said = [context.params[key] for key in ("folder", "run", "out") if context.params.get(key)]
        assert all(any(str(path).startswith(mount) for mount in one.mounts) for path in said), (said, one.mounts)


@pytest.mark.parametrize("one", OURS, ids=lambda one: one.where)
def test_variables_are_read_by_the_source_and_each_has_what_it_needs(one: Container) -> None:
    assert one.environment.keys() <= variables_of_source() | OTHERS
    needed = {"MARM_REDIS_USERNAME", "MARM_REDIS_PASSWORD", "MARM_KAFKA_USERNAME", "MARM_KAFKA_PASSWORD"}
    serves = any(words[0] == "serve" for words in one.commands())
    assert one.environment.keys() == needed | ({"MARM_TOKEN"} if serves else set())


def test_scripts_get_the_variables_that_they_ask_for() -> None:
    for name in ("valkey.sh", "kafka.sh"):
        needed = set(re.findall(r"\$\{(\w+):\?\}", text_of(f"deploy/{name}")))
        users = [one for one in ALL if f"/etc/marm/{name}" in one.words]
        assert needed and users
        assert all(needed <= one.environment.keys() for one in users)


def test_the_run_file_is_one_and_names_the_store_and_the_broker_that_are_shipped() -> None:
    run = check_run(tomllib.loads(text_of("deploy/run.toml")), "run.toml")
    scheme, place, name = re.fullmatch(r"(\w+)://([^/]+)/(\w+)", run.memory.url).groups()
    host, port = place.split(":")
    assert scheme == "redis" and host in compose()["services"]
    (service,) = [one for one in of_kind("Service") if one["metadata"]["name"] == host]
    assert [one["port"] for one in service["spec"]["ports"]] == [int(port)]
    stores = [one.environment["STORE_NAME"] for one in ALL if "STORE_NAME" in one.environment]
    assert stores == [name, name]
    listens = re.search(r"advertised.listeners=CLIENT://(\S+)", text_of("deploy/kafka.sh"))[1]
    assert str(run.data.log).startswith(f"kafka://{listens}/") and listens.split(":")[0] in compose()["services"]
    assert run.served_topic == run.data.log  # what is told reaches whoever follows


def test_no_store_and_no_broker_is_started_but_by_a_script_that_asks_who_comes() -> None:
    kept = [one for one in ALL if re.search("valkey|redis|kafka|redpanda", one.image)]
    assert len(kept) == 3
    for one in kept:
        script = "kafka.sh" if "kafka" in one.image else "valkey.sh"
        assert one.words == ["sh", f"/etc/marm/{script}"], one.where


def secretive(name: str) -> bool:
    return any(word in name for word in ("PASSWORD", "TOKEN", "SECRET", "KEY"))


def test_no_secret_has_a_value_in_the_tree() -> None:
    for one in compose()["services"].values():
        for name, value in one.get("environment", {}).items():
            if secretive(name):
                assert re.fullmatch(rf"\$\{{{name}:\?[^}}]*}}", value), f"{name}={value}"
    for workload in workloads():
        boxes = [*workload["spec"]["template"]["spec"].get("initContainers", [])]
        for box in boxes + workload["spec"]["template"]["spec"]["containers"]:
            assert not [said["name"] for said in box.get("env", []) if secretive(said["name"])]
    assert not [one for one in objects() if one["kind"] == "Secret"]
    given = dict(
        line.split("=") for line in text_of("deploy/env.example").splitlines() if "=" in line and "#" not in line
    )
    asked = set(re.findall(r"\$\{(\w+):\?", text_of("deploy/compose.yaml")))
    assert given.keys() == asked and not [name for name, value in given.items() if secretive(name) and value]
    for keys in created("secret", "generic").values():
        for name, value in keys.items():
            assert not secretive(name) or value.startswith("$"), f"{name}={value}"
    for path in DEPLOY.rglob("*"):
        assert path.is_dir() or path.parent.name == "tls" or "PRIVATE KEY" not in path.read_text(encoding="utf-8"), path


def test_what_holds_secrets_is_not_taken_into_the_repository() -> None:
    for name in ("deploy/.env", "deploy/tls/tls.key"):
        assert subprocess.run(["git", "check-ignore", "--quiet", name], cwd=ROOT).returncode == 0, name


def test_the_image_sets_no_variable_that_nobody_reads() -> None:
    told = {word.split("=")[0] for kind, rest in dockerfile() if kind == "ENV" for word in rest.split()}
    assert told <= OTHERS

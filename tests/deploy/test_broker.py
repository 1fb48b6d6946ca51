"""The broker's script writes settings by which nobody is let in without a password, on any listener; it is not started here."""

import os
import subprocess
from pathlib import Path

from tests.docs.pages import ROOT

SECRET = "a1b2c3"
_NOTES = '#!/bin/sh\necho "$(basename "$0")" "$@" >> "$TMPDIR/called"\n'


def written(folder: Path) -> tuple[dict[str, str], list[str]]:
    """Settings of the server, and the broker's programs as they were called."""
    for name in ("kafka-storage.sh", "kafka-server-start.sh"):
        (folder / name).write_text(_NOTES)
        (folder / name).chmod(0o755)
    given = {"MARM_KAFKA_USERNAME": "marm", "MARM_KAFKA_PASSWORD": SECRET, "CLUSTER_ID": "id"}
    environment = os.environ | given | {"TMPDIR": str(folder), "KAFKA_BIN": str(folder)}
    subprocess.run(["sh", ROOT / "deploy/kafka.sh"], env=environment, check=True)
    lines = (folder / "server.properties").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines), (folder / "called").read_text().splitlines()


def test_every_listener_asks_for_a_user_and_a_password(tmp_path: Path) -> None:
    said, called = written(tmp_path)
    listeners = [one.split("://")[0] for one in said["listeners"].split(",")]
    kinds = dict(one.split(":") for one in said["listener.security.protocol.map"].split(","))
    assert {kinds[name] for name in listeners} == {"SASL_PLAINTEXT"}
    # In the clear, passwords go to this very machine only.
    assert {one for one in said["listeners"].split(",") if "CONTROLLER" in one} == {"CONTROLLER://127.0.0.1:9093"}
    assert said["sasl.enabled.mechanisms"] == "SCRAM-SHA-512" == said["sasl.mechanism.inter.broker.protocol"]
    assert (
        said["listener.name.controller.sasl.enabled.mechanisms"]
        == said["sasl.mechanism.controller.protocol"]
        == "PLAIN"
    )
    login = f'required username="marm" password="{SECRET}"'
    assert said["listener.name.client.scram-sha-512.sasl.jaas.config"].endswith(f"ScramLoginModule {login};")
    assert said["listener.name.controller.plain.sasl.jaas.config"].endswith(f'{login} user_marm="{SECRET}";')
    assert [line.split()[0] for line in called] == ["kafka-storage.sh", "kafka-server-start.sh"]
    assert f"--add-scram SCRAM-SHA-512=[name=marm,password={SECRET}]" in called[0]
    assert (tmp_path / "server.properties").stat().st_mode & 0o77 == 0


def test_the_client_of_its_probe_shows_the_same_user(tmp_path: Path) -> None:
    written(tmp_path)
    said = dict(line.split("=", 1) for line in (tmp_path / "client.properties").read_text().splitlines())
    assert (said["security.protocol"], said["sasl.mechanism"]) == ("SASL_PLAINTEXT", "SCRAM-SHA-512")
    assert f'username="marm" password="{SECRET}"' in said["sasl.jaas.config"]

"""The image's steps, as far as they go without building it: what is copied is enough to install, and nothing runs as root."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from fnmatch import fnmatch
from pathlib import Path

from tests.deploy.manifests import dockerfile
from tests.docs.pages import ROOT, text_of

PROJECT = tomllib.loads(text_of("pyproject.toml"))["project"]


def rest_of(kind: str) -> list[str]:
    return [rest for name, rest in dockerfile() if name == kind]


def test_torch_comes_first_and_is_the_one_that_the_package_pins() -> None:
    first, second = [rest for rest in rest_of("RUN") if rest.startswith("pip install")]
    pinned = re.search(r"torch==[\d.]+", first)
    assert pinned and pinned[0] in PROJECT["dependencies"] and first.endswith("/whl/cpu")
    extras = re.search(r'"/src\[([\w,]+)]"', second)
    assert extras and set(extras[1].split(",")) == {"redis", "kafka"} <= PROJECT["optional-dependencies"].keys()
    asked, (base,) = PROJECT["requires-python"].removeprefix(">="), rest_of("FROM")
    assert base == f"python:{asked}-slim"


def test_nothing_runs_as_root_and_it_starts_the_package_s_own_command() -> None:
    (user,), (entry,) = rest_of("USER"), rest_of("ENTRYPOINT")
    assert int(user.split(":")[0]) > 0
    assert entry == f'["{next(iter(PROJECT["scripts"]))}"]'
    last = [name for name, _ in dockerfile()]
    assert "RUN" not in last[last.index("USER") :]


def test_what_is_copied_is_not_ignored_and_makes_the_whole_package(tmp_path: Path) -> None:
    kept = [line[1:] for line in text_of("deploy/Dockerfile.dockerignore").splitlines() if line.startswith("!")]
    for copied in rest_of("COPY"):
        *names, target = copied.split()
        for name in names:
            assert any(fnmatch(name, one) for one in kept), name
            to = tmp_path / target.strip("/")
            ignore = shutil.ignore_patterns("__pycache__")
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, to, ignore=ignore)
            else:
                to.mkdir(parents=True, exist_ok=True)
                shutil.copy(ROOT / name, to / name)
    code = "from setuptools.build_meta import build_wheel; import sys; print(build_wheel(sys.argv[1]))"
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)], cwd=tmp_path / "src", capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-2000:]
    (wheel,) = tmp_path.glob("*.whl")
    held = set(zipfile.ZipFile(wheel).namelist())
    source = {str(path.relative_to(ROOT)) for path in (ROOT / "marm").rglob("*.py")}
    page = {str(path.relative_to(ROOT)) for path in (ROOT / "marm/server/page").iterdir() if path.is_file()}
    assert source | page <= held

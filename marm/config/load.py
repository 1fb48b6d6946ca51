"""Run files: read with ``--set`` values laid over, written back resolved."""

import difflib
import json
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from marm.config.settings import RunConfig
from marm.errors import SettingError


def load_run(path: Path, sets: Sequence[str] = ()) -> RunConfig:
    """Read a run file; ``data.path`` comes back absolute. Errors: ``SettingError`` naming file, setting and remedy."""
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise SettingError(f"{path}: no such run file; `marm init LOG` writes one") from None
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{path}: cannot be read ({error}); name a TOML file") from None
    except tomllib.TOMLDecodeError as error:
        raise SettingError(f"{path}: not TOML: {error}") from None
    # A file's data.path is relative to the file; one given by --set is relative to where the command was typed.
    data = raw.get("data")
    if isinstance(data, dict):
        data["path"] = str((path.parent / str(data.get("path", "."))).resolve())
    set_values(raw, sets)
    if isinstance(data, dict):
        data["path"] = str(Path(str(data["path"])).resolve())
    return check_run(raw, str(path))


def check_run(raw: dict[str, Any], name: str) -> RunConfig:
    """Turn nested values into settings; errors name the first wrong one."""
    try:
        return RunConfig.model_validate(raw)
    except ValidationError as error:
        raise SettingError(f"{name}: {first_mistake(error)}") from None


def set_values(raw: dict[str, Any], sets: Sequence[str]) -> None:
    """Lay ``section.key=value`` over nested values, in place; values are TOML, or plain text."""
    for item in sets:
        key, equals, text = item.partition("=")
        if not equals or not key.strip():
            raise SettingError(f"--set {item}: give section.key=value")
        *sections, last = key.strip().split(".")
        place: dict[str, Any] = raw
        for section in sections:
            below = place.setdefault(section, {})
            if not isinstance(below, dict):
                raise SettingError(f"--set {item}: {section} is a value, not a section")
            place = below
        place[last] = _toml_value(text.strip())


def _toml_value(text: str) -> Any:
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def first_mistake(error: ValidationError, model: type[BaseModel] = RunConfig) -> str:
    """The first wrong setting of a ``model`` in one line, and what was perhaps meant."""
    mistakes = error.errors(include_url=False)
    first = next((m for m in mistakes if m["type"] == "extra_forbidden"), mistakes[0])
    name = ".".join(str(part) for part in first["loc"])
    if first["type"] == "extra_forbidden":
        near = _near(first["loc"], model)
        return f"no setting {name}" + (f"; did you mean {near}?" if near else "")
    if first["type"] == "missing":
        return f"{name} is missing: set it"
    message = first["msg"].removeprefix("Value error, ")
    if first["type"] == "value_error":
        return f"{name}: {message}" if name else message
    return f"{name} = {json.dumps(first['input'], default=str)}: {message[0].lower()}{message[1:]}"


def _near(location: tuple[int | str, ...], model: type[BaseModel]) -> str | None:
    """The setting whose name is nearest to an unknown one: in its own section first, then anywhere."""
    names = _all_names(model, "")
    wanted = ".".join(str(part) for part in location)
    section = wanted.rpartition(".")[0]
    same = [name for name in names if name.rpartition(".")[2] == str(location[-1])]
    own = [name for name in names if name.rpartition(".")[0] == section]
    found = same or difflib.get_close_matches(wanted, own, 1, 0.6) or difflib.get_close_matches(wanted, names, 1, 0.6)
    return found[0] if found else None


def _all_names(model: type[BaseModel], prefix: str) -> list[str]:
    names = []
    for name, field in model.model_fields.items():
        names.append(prefix + name)
        kinds = [field.annotation, *getattr(field.annotation, "__args__", ())]
        for kind in kinds:
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                names += _all_names(kind, f"{prefix}{name}.")
    return names


def to_toml(run: RunConfig) -> str:
    """The resolved run as TOML text that ``load_run`` reads back to the same settings."""
    lines: list[str] = []
    _write_table(run.model_dump(exclude_none=True), "", lines)
    return "\n".join(lines).strip() + "\n"


def _write_table(table: dict[str, Any], name: str, lines: list[str]) -> None:
    plain = {key: value for key, value in table.items() if not isinstance(value, dict)}
    if name and (plain or not table):
        lines += ["", f"[{name}]"]
    lines += [f"{_key(key)} = {_value(value)}" for key, value in plain.items()]
    for key, value in table.items():
        if isinstance(value, dict):
            _write_table(value, f"{name}.{_key(key)}" if name else _key(key), lines)


def _key(key: str) -> str:
    bare = key.isascii() and key.replace("_", "").replace("-", "").isalnum()
    return key if bare else json.dumps(key)


def _value(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_value(entry) for entry in value) + "]"
    # JSON's strings are TOML's basic strings, but for the one control character that JSON leaves bare.
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f") if isinstance(value, str) else repr(value)

"""Loads a pack from its folder: the name of a shipped one, or any path. All mistakes at once, with file and line."""

import hashlib
import importlib
import importlib.util
import inspect
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

from agents.domain.errors import NotFound, PackInvalid
from agents.domain.pack import Pack
from agents.packs.catalogue import read_exemplars, read_ladders, read_scenarios, read_slots
from agents.packs.checks import CrossCheck
from agents.packs.clauses import read_clauses
from agents.packs.reading import Mistakes, TomlFile, strings, texts
from agents.tools.registry import BoundTool, collect

HOME = Path(__file__).parent
PLACES = ("market", "tenant")
KEYS = frozenset({"name", "locales", "currency", "timezone", "parameters", "handoff", "texts", *PLACES})
SHAPING = ("*.toml", "*.py", "policy/*.md", "exemplars/*.toml")


def load_pack(
    name_or_path: str | Path,
    *,
    parameters: Mapping[str, Any] | None = None,
    overrides: Path | None = None,
    thorough: bool = False,
) -> Pack:
    """The pack, with `parameters` overriding its own, and with the tables `[market.NAME]` and `[tenant.NAME]` of the TOML file
    `overrides` beside those of its pack.toml; `thorough` looks for contradictions among its clauses, too. Raises NotFound,
    PackInvalid."""
    root = find_pack(name_or_path)
    mistakes = Mistakes(root)
    pack = _read(root, dict(parameters or {}), mistakes, overrides, thorough=thorough)
    if mistakes.found:
        raise PackInvalid(tuple(mistakes.found))
    return pack


def find_pack(name_or_path: str | Path) -> Path:
    """The pack's folder. Raises NotFound, naming the packs that ship."""
    named = Path(name_or_path)
    shipped_first: tuple[Path, ...] = (
        (HOME / named.name,) if named.name == str(name_or_path) else ()
    )  # `shop` is ours, `./shop` the folder here
    for root in (*shipped_first, named):
        if (root / "pack.toml").is_file():
            return root.resolve()
    shipped = ", ".join(sorted(path.parent.name for path in HOME.glob("*/pack.toml")))
    raise NotFound(f"no pack at {str(name_or_path)!r}", hint=f"A folder with a pack.toml, or one of: {shipped}.")


def tools_module(pack_path: Path) -> ModuleType:
    """The pack's tools.py as a module; a shipped pack under its own name, a foreign one under a name made from its path."""
    if pack_path.parent == HOME:
        return importlib.import_module(f"agents.packs.{pack_path.name}.tools")
    name = f"keepword_pack_{_code_digest(pack_path)[:16]}"
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, pack_path / "tools.py", submodule_search_locations=[str(pack_path)])
    if spec is None or spec.loader is None:
        raise NotFound(f"{pack_path.name}: tools.py cannot be read")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module


def _code_digest(root: Path) -> str:
    """sha256 over a folder's place and its Python files: edited tools are another module."""
    total = hashlib.sha256(str(root).encode())
    for path in sorted(root.glob("*.py")):
        total.update(b"\0" + path.name.encode() + b"\0" + path.read_bytes())
    return total.hexdigest()


def digest_of(root: Path, parameters: Mapping[str, Any], overrides: Path | None = None) -> str:
    """sha256 over every file that shapes behaviour, and what overrides its parameters."""
    total = hashlib.sha256(repr(sorted(parameters.items())).encode())
    if overrides is not None and overrides.is_file():
        total.update(overrides.read_bytes())
    for path in sorted({path for pattern in SHAPING for path in root.glob(pattern)}):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def _read(root: Path, parameters: dict[str, Any], mistakes: Mistakes, overrides: Path | None, *, thorough: bool) -> Pack:
    files = {key: TomlFile(root / f"{key}.toml", mistakes) for key in ("pack", "scenarios", "ladders")}
    main = files["pack"]
    main.known(main.data, KEYS, "pack.toml")
    locales = strings(main, main.data.get("locales", []), "locales", "locales") or ("en",)
    for key in ("name", "locales", "currency", "timezone"):
        if not main.data.get(key):
            main.mistake(f"{key!r} is missing", key)
    if not re.fullmatch(r"[A-Z]{3}", str(main.data.get("currency", "EUR"))):
        main.mistake("currency must be an ISO 4217 code such as EUR", "currency")
    own = main.table(main.data.get("parameters", {}), "parameters", "parameters")
    _check_overrides(main, own, parameters, "[parameters]")
    beside = [] if overrides is None else [TomlFile(overrides, mistakes)]
    for file in beside:
        file.known(file.data, frozenset(PLACES), file.path.name)
    places = {place: _places(place, own, [main, *beside]) for place in PLACES}
    handoff = main.table(main.data.get("handoff", {}), "handoff", "handoff")
    main.known(handoff, frozenset({"owner", "due_minutes"}), "handoff", "[handoff]")
    due_minutes = handoff.get("due_minutes", 60)
    if not isinstance(due_minutes, int) or isinstance(due_minutes, bool) or due_minutes < 1:
        main.mistake("due_minutes must be a whole number of at least 1", "[handoff]", "due_minutes")
        due_minutes = 60
    for key, allowed in (("scenarios", {"slot", "scenario"}), ("ladders", {"ladder"})):
        files[key].known(files[key].data, frozenset(allowed), f"{key}.toml")
    slots = read_slots(files["scenarios"], locales)
    scenarios = read_scenarios(files["scenarios"], locales, slots)
    pack = Pack(
        name=str(main.data.get("name", root.name)),
        path=root,
        digest=digest_of(root, parameters, overrides),
        locales=locales,
        currency=str(main.data.get("currency", "EUR")),
        timezone=_timezone(main),
        parameters=own | parameters,
        handoff_owner=str(handoff.get("owner", "customer-care")),
        handoff_due_minutes=due_minutes,
        texts={
            key: texts(main, value, locales, f"texts.{key}", f"[texts.{key}", key)
            for key, value in main.table(main.data.get("texts", {}), "texts", "texts").items()
        },
        slots=slots,
        scenarios=scenarios,
        ladders=read_ladders(files["ladders"], locales),
        clauses=read_clauses(root, locales, mistakes),
        exemplars=read_exemplars(root, scenarios, locales, mistakes),
        markets=places["market"],
        tenants=places["tenant"],
    )
    tools = _tools(root, mistakes)
    if tools is not None and not any(file.broken for file in files.values()):  # else every name would look unknown
        CrossCheck(pack, tools, mistakes, files).run(thorough=thorough)
    return pack


def _places(kind: str, own: Mapping[str, Any], files: Sequence[TomlFile]) -> dict[str, Mapping[str, Any]]:
    """Market or tenant -> its parameters, a later file's over an earlier one's."""
    found: dict[str, Mapping[str, Any]] = {}
    for file in files:
        for name, raw in file.table(file.data.get(kind, {}), kind, kind).items():
            changed = file.table(raw, f"{kind}.{name}", f"{kind}.{name}")
            _check_overrides(file, own, changed, f"[{kind}.{name}")
            found[name] = {**found.get(name, {}), **changed}
    return found


def _check_overrides(file: TomlFile, own: Mapping[str, Any], changed: Mapping[str, Any], place: str) -> None:
    for name, value in changed.items():
        if name not in own:
            file.mistake(f"no parameter named {name!r} to override", place, name)
        elif type(value) is not type(own[name]):
            file.mistake(f"parameter {name!r} is overridden by another type: {value!r}", place, name)


def _timezone(main: TomlFile) -> str:
    name = str(main.data.get("timezone", "UTC"))
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        main.mistake(f"no time zone named {name!r}", "timezone")
        return "UTC"
    return name


def _tools(root: Path, mistakes: Mistakes) -> tuple[BoundTool, ...] | None:
    """The pack's tools; None where tools.py cannot be imported."""
    path = root / "tools.py"
    if not path.is_file():
        mistakes.add(path, 1, "this file is missing")
        return None
    try:
        module = tools_module(root)
    except Exception as error:  # a foreign file may raise anything
        mistakes.add(path, _line_in(path, error), f"tools.py cannot be imported: {type(error).__name__}: {error}")
        return None
    for name in ("open_back_office", "lookup_receipt", "close"):
        if not inspect.iscoroutinefunction(getattr(module, name, None)):
            mistakes.add(path, 1, f"tools.py has no async function {name}")
    return collect(module)


def _line_in(path: Path, error: Exception) -> int:
    """The line of `path` an import failed at; 1 when it cannot be told."""
    if isinstance(error, SyntaxError) and error.filename == str(path):
        return error.lineno or 1
    frames = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
    return (frames[-1] or 1) if frames else 1

"""Loads a pack from its folder: the name of a shipped one, or any path. All mistakes at once, with file and line."""

import hashlib
import importlib
import importlib.util
import sys
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType
from typing import Any
from zoneinfo import ZoneInfo

from agents.domain.errors import NotFound, PackInvalid
from agents.domain.pack import Pack
from agents.packs.catalogue import read_exemplars, read_ladders, read_scenarios, read_slots
from agents.packs.checks import CrossCheck
from agents.packs.clauses import read_clauses
from agents.packs.reading import Mistakes, TomlFile, texts
from agents.tools.registry import BoundTool, collect

HOME = Path(__file__).parent
SHAPING = ("*.toml", "*.py", "policy/*.md", "exemplars/*.toml")


def load_pack(name_or_path: str | Path, *, parameters: Mapping[str, Any] | None = None) -> Pack:
    """The pack, with `parameters` overriding its own. Raises NotFound, PackInvalid."""
    root = find_pack(name_or_path)
    mistakes = Mistakes(root)
    pack = _read(root, dict(parameters or {}), mistakes)
    if mistakes.found:
        raise PackInvalid(tuple(mistakes.found))
    return pack


def find_pack(name_or_path: str | Path) -> Path:
    """The pack's folder. Raises NotFound, naming the packs that ship."""
    for root in (Path(name_or_path), HOME / str(name_or_path)):
        if (root / "pack.toml").is_file():
            return root.resolve()
    shipped = ", ".join(sorted(path.parent.name for path in HOME.glob("*/pack.toml")))
    raise NotFound(f"no pack at {str(name_or_path)!r}", hint=f"A folder with a pack.toml, or one of: {shipped}.")


def tools_module(pack_path: Path) -> ModuleType:
    """The pack's tools.py as a module; a shipped pack under its own name, a foreign one under a name made from its path."""
    if pack_path.parent == HOME:
        return importlib.import_module(f"agents.packs.{pack_path.name}.tools")
    name = f"keepword_pack_{hashlib.sha256(str(pack_path).encode()).hexdigest()[:12]}"
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


def digest_of(root: Path, parameters: Mapping[str, Any]) -> str:
    """sha256 over every file that shapes behaviour, and the overriding parameters."""
    total = hashlib.sha256(repr(sorted(parameters.items())).encode())
    for path in sorted({path for pattern in SHAPING for path in root.glob(pattern)}):
        total.update(path.relative_to(root).as_posix().encode() + b"\0" + path.read_bytes() + b"\0")
    return total.hexdigest()


def _read(root: Path, parameters: dict[str, Any], mistakes: Mistakes) -> Pack:
    files = {key: TomlFile(root / f"{key}.toml", mistakes) for key in ("pack", "scenarios", "ladders")}
    main = files["pack"]
    locales = tuple(str(locale) for locale in main.data.get("locales", ())) or ("en",)
    for key in ("name", "locales", "currency", "timezone"):
        if not main.data.get(key):
            main.mistake(f"{key!r} is missing", key)
    own = dict(main.data.get("parameters", {}))
    for name in parameters:
        if name not in own:
            main.mistake(f"no parameter named {name!r} to override", "[parameters]")
    handoff = main.data.get("handoff", {})
    slots = read_slots(files["scenarios"], locales)
    scenarios = read_scenarios(files["scenarios"], locales, slots)
    pack = Pack(
        name=str(main.data.get("name", root.name)),
        path=root,
        digest=digest_of(root, parameters),
        locales=locales,
        currency=str(main.data.get("currency", "EUR")),
        timezone=_timezone(main),
        parameters=own | parameters,
        handoff_owner=str(handoff.get("owner", "customer-care")),
        handoff_due_minutes=int(handoff.get("due_minutes", 60)),
        texts={
            key: texts(main, value, locales, f"texts.{key}", f"[texts.{key}", key)
            for key, value in main.data.get("texts", {}).items()
        },
        slots=slots,
        scenarios=scenarios,
        ladders=read_ladders(files["ladders"], locales),
        clauses=read_clauses(root, locales, mistakes),
        exemplars=read_exemplars(root, scenarios, locales, mistakes),
    )
    CrossCheck(pack, _tools(root, mistakes), mistakes, files).run()
    return pack


def _timezone(main: TomlFile) -> str:
    name = str(main.data.get("timezone", "UTC"))
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        main.mistake(f"no time zone named {name!r}", "timezone")
        return "UTC"
    return name


def _tools(root: Path, mistakes: Mistakes) -> tuple[BoundTool, ...]:
    path = root / "tools.py"
    if not path.is_file():
        mistakes.add(path, 1, "this file is missing")
        return ()
    try:
        module = tools_module(root)
    except Exception as error:
        mistakes.add(path, getattr(error, "lineno", None) or 1, f"tools.py cannot be imported: {error}")
        return ()
    for name in ("open_back_office", "lookup_receipt", "close"):
        if not callable(getattr(module, name, None)):
            mistakes.add(path, 1, f"tools.py has no async function {name}")
    return collect(module)

"""Tests of the rules of the architecture: imports point downwards, SQL is in two packages, modules are small.

A package of ``voxrec`` and a module directly below it are both called a component here; so are those of the packages
that have levels of their own.
"""

import ast
import re
from collections.abc import Iterator
from configparser import ConfigParser
from functools import cache
from graphlib import CycleError, TopologicalSorter
from itertools import product
from pathlib import Path
from typing import Final

from twisted.trial.unittest import SynchronousTestCase

ROOT: Final = Path(__file__).parents[1] / "voxrec"
Levels = tuple[tuple[str, ...], ...]
# Highest level first. A component may import only from lower levels; what it needs from its own level or from a higher
# one is passed to its constructor.
LEVELS: Final[Levels] = (
    ("tap",),
    ("service",),
    ("composition",),
    ("cli",),
    ("doctor",),
    ("api", "calls", "console", "jobs", "nodes", "profile_check", "sandbox"),
    ("recordings", "mail", "oidc", "webhooks", "exports", "backup"),
    ("web", "store", "ami", "ari", "audio", "archive", "journal"),
    ("postgres",),
    ("config", "metrics", "service_tree"),
    ("config_oidc",),
    ("certificate", "config_sections", "config_values", "languages"),
    (
        "batching",
        "bounce_address",
        "link_token",
        "model",
        "pending_requests",
        "reconnection",
        "conversion",
        "environment",
        "idempotency",
        "strict_yaml",
    ),
    ("mailaddress", "sipuri", "type_violation"),
    (
        "errors",
        "cursor",
        "clock",
        "deadline",
        "machine_builder",
        "retry_after",
        "loopback",
        "files",
        "log_file",
        "log_output",
        "deferreds",
        "sanitize",
        "systemd",
        "threads",
        "interpreter_tuning",
        "limited_connection",
        "totp",
    ),
    ("error_codes",),
)
# The same within voxrec.calls.
CALLS_LEVELS: Final[Levels] = (
    ("stasis",),
    ("call_control", "call_service", "listening"),
    ("admission",),
    ("live_calls",),
    ("live_call",),
    ("call_machine", "transfer_announcements"),
    ("invitation_steps",),
    ("ending_steps", "setup_steps", "transfer_steps"),
    ("replacement_steps",),
    ("call_states",),
    ("call_core",),
    ("call_recording",),
    ("announcements", "recording", "transfers"),
    ("channels",),
    ("call_data",),
    ("signalling",),
)
# The same within voxrec.api.
API_LEVELS: Final[Levels] = (
    ("app",),
    ("route_table",),
    ("dependencies",),
    ("auth", "bulk", "deliveries", "events", "links", "operations", "profiles"),
    ("audio",),
    ("recordings",),
    ("calls",),
    ("audit_middleware", "field_validation", "parameters", "resources", "transaction_hooks"),
    ("audit_entries",),
)
LEVELS_OF_PACKAGES: Final = {"voxrec": LEVELS, "voxrec.api": API_LEVELS, "voxrec.calls": CALLS_LEVELS}
# Imports within one level or upwards, with the reason why they exist.
IMPORT_EXCEPTIONS: Final[dict[tuple[str, str], str]] = {}
SQL_COMPONENTS: Final = ("store", "postgres")
_SQL: Final = re.compile(
    r"\s*(SELECT\s|INSERT INTO\s|UPDATE \w+\s+SET\s|DELETE FROM\s|WITH \w+ AS|CREATE (TABLE|INDEX|DATABASE)\s|"
    r"(LISTEN|NOTIFY) \w)"
)
MAX_LINES: Final = 400
# Modules that are longer, with the reason.
LENGTH_EXCEPTIONS: Final[dict[str, str]] = {}


@cache
def modules() -> dict[str, ast.Module]:
    """Return the syntax tree of every module of ``voxrec`` by its dotted name."""
    return {_module_name(path): ast.parse(path.read_text(), str(path)) for path in sorted(ROOT.rglob("*.py"))}


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def component(module: str, package: str = "voxrec") -> str | None:
    """Return ``api`` for ``voxrec.api.app``; None for a module outside of ``package``, and for the package itself."""
    prefix = f"{package}."
    return module.removeprefix(prefix).partition(".")[0] if module.startswith(prefix) else None


def imports(module: str) -> Iterator[str]:
    """Return the modules of ``voxrec`` that a module imports, wherever in it the import is."""
    for node in ast.walk(modules()[module]):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in modules() else node.module for name in submodules]
        yield from {name for name in names if name in modules() and name not in ("voxrec", module)}


def level(name: str, levels: Levels) -> int:
    """Return the index of a component in ``levels``."""
    return next(number for number, components in enumerate(levels) if name in components)


class ImportTests(SynchronousTestCase):
    def test_every_component_has_a_level(self) -> None:
        for package, levels in LEVELS_OF_PACKAGES.items():
            components = {component(module, package) for module in modules()} - {None}
            listed = {name for components_ in levels for name in components_}
            self.assertEqual(components - listed, set(), f"add these components of {package} to a level")
            self.assertEqual(listed - components, set(), f"remove these components, which {package} does not have")

    def test_imports_point_downwards(self) -> None:
        violations, used = [], set()
        for (package, levels), module in product(LEVELS_OF_PACKAGES.items(), modules()):
            importing = component(module, package)
            for imported in imports(module):
                target = component(imported, package)
                if importing is None or target is None or importing == target:
                    continue
                if level(importing, levels) < level(target, levels):
                    continue
                if (importing, target) in IMPORT_EXCEPTIONS:
                    used.add((importing, target))
                else:
                    violations.append(f"{module} imports {imported}: {importing} is not above {target}")
        self.assertEqual(violations, [], "\n" + "\n".join(violations))
        self.assertEqual(set(IMPORT_EXCEPTIONS) - used, set(), "remove these exceptions, which are no longer needed")

    def test_modules_do_not_import_each_other_in_a_cycle(self) -> None:
        graph = {module: set(imports(module)) for module in modules()}
        try:
            TopologicalSorter(graph).prepare()
        except CycleError as error:
            self.fail(f"import cycle: {' -> '.join(error.args[1])}")


class SqlTests(SynchronousTestCase):
    def test_sql_is_only_in_store_and_postgres(self) -> None:
        statements = [
            f"{module}:{node.lineno}: {node.value.strip()[:60]!r}"
            for module, tree in modules().items()
            if component(module) not in SQL_COMPONENTS
            for node in ast.walk(tree)
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and _SQL.match(node.value)
        ]
        self.assertEqual(statements, [], "SQL statements belong to repositories:\n" + "\n".join(statements))


class PackageTests(SynchronousTestCase):
    def test_every_package_is_installed(self) -> None:
        """Without its line in setup.cfg, a package works in a checkout and is missing everywhere else."""
        settings = ConfigParser(interpolation=None)
        settings.read(ROOT.parent / "setup.cfg")
        packages = {".".join(path.parent.relative_to(ROOT.parent).parts) for path in ROOT.rglob("__init__.py")}
        self.assertEqual(packages - set(settings["options"]["packages"].split()), set())


class LengthTests(SynchronousTestCase):
    def test_modules_are_short(self) -> None:
        lengths = {
            str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in sorted(ROOT.rglob("*.py"))
        }
        long = {name: lines for name, lines in lengths.items() if lines > MAX_LINES}
        unexpected = {name: lines for name, lines in long.items() if name not in LENGTH_EXCEPTIONS}
        self.assertEqual(unexpected, {}, f"these modules have more than {MAX_LINES} lines; divide them")
        self.assertEqual(set(LENGTH_EXCEPTIONS) - set(long), set(), "remove these exceptions, which are not needed")

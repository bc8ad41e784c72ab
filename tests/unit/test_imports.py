"""Imports go one way, one module changes the disk, and a name has one meaning: read from the syntax trees."""

from __future__ import annotations

import ast
import functools
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted([*ROOT.glob("common/*.py"), *ROOT.glob("services/**/*.py")])

LOCAL = "services.engines.local"
DISK = f"{LOCAL}.disk"
# Inside the local engine, lowest first: each layer imports only from those before it, and from itself.
LAYERS = ["disk", "index", "journal", "recovery", ("serving", "upkeep"), "engine"]
# Inside its lowest layer, too.
DISK_ORDER = ["record", "blob", "layout", "reserve", "blob_folder", "quarantine", "directory"]

# What these import they may not: (importing module or package, forbidden module or package).
FORBIDDEN = [
    ("common", "services"),
    ("common", "tornado"),
    ("services.http1", "common"),  # the connection knows nothing of blobs
    ("services.store", "services"),
    ("services.rules", "services.store"),
    ("services.rules", "services.frontends"),
    ("services.rules", "services.engines"),
    ("services.frontends", "services.engines"),  # front ends know a store by its interface
    ("services.frontends.native", "services.frontends.s3"),
    ("services.frontends.native", "services.frontends.restic"),
    ("services.frontends.s3", "services.frontends.native"),
    ("services.frontends.s3", "services.frontends.restic"),
    ("services.frontends.restic", "services.frontends.s3"),  # it reads blobs as the native one does
    ("services.engines", "services.frontends"),
    ("services.engines", "services.access"),
    ("services.engines", "services.http1"),
    *((f"{LOCAL}.{layer}", "tornado") for layer in ("disk", "journal", "recovery", "upkeep")),
    ("services.access", "services.engines"),
    ("services.engines", "services.watch"),  # an engine tells of events; who listens is not its business
    ("services.watch", "services.engines"),
    ("services.watch", "services.frontends"),
    *(
        (f"services.{process}", LOCAL)
        for process in ("server", "gc", "recovery", "reader", "recovering", "engine")
    ),
    *((f"services.{worker}", "services.store") for worker in ("gc", "recovery")),
]

# These look at a directory before an engine owns it, or beside one that does: the only ones outside.
DOORS = {"services.tools.storage", "services.start_checks", "services.supervisord_conf"}
DOORS |= {"services.launch"}  # which starts an object store for development

# Calls that change the disk; `open` counts where its mode writes.
WRITING = {
    *("mkdir", "makedirs", "rename", "renames", "replace", "remove", "unlink", "rmdir", "removedirs"),
    *("fsync", "fdatasync", "sync", "truncate", "ftruncate", "pwrite", "write", "writev", "link", "symlink"),
    *("posix_fallocate", "mknod", "mkfifo", "chmod", "fchmod", "chown", "fchown", "copy_file_range"),
}

# These write a stream of their own process, such as stderr, or memory: no file of the data directory.
STREAMS = {"services.supervisord_output", "common.line_writer", "common.sealed"}

# Classes that several modules define in one role: each engine has its own, or one has what a protocol asks.
TWINS = {
    *("Blob", "Change", "Collector", "Expiry", "Transition", "UploadOwner", "Verifier"),
    "ReadyAnswers",
}


def name_of(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def nodes_of(path: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(path.read_text())))


@functools.cache
def imports_of(path: Path) -> frozenset[str]:
    """Every module that `path` imports at any depth, `from package import module` included."""
    found: set[str] = set()
    for node in nodes_of(path):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def is_in(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


def test_imports_go_one_way() -> None:
    wrong = [
        f"{name_of(path)} must not import {found}"
        for path in MODULES
        for importer, forbidden in FORBIDDEN
        if is_in(name_of(path), importer)
        for found in imports_of(path)
        if is_in(found, forbidden)
    ]
    assert not wrong


def test_one_module_of_the_tools_knows_an_engine() -> None:
    for path in MODULES:
        name = name_of(path)
        if is_in(name, "services.tools") and name != "services.tools.storage":
            assert not [found for found in imports_of(path) if is_in(found, "services.engines")], name


def layer_of(name: str) -> int | None:
    """The place in LAYERS of a module of the local engine."""
    inner = name.removeprefix(LOCAL + ".").split(".")[0]
    return next((n for n, layer in enumerate(LAYERS) if inner == layer or inner in layer), None)


def test_imports_go_one_way_inside_the_local_engine() -> None:
    for path in MODULES:
        name = name_of(path)
        if not is_in(name, LOCAL) or name == LOCAL or (own := layer_of(name)) is None:
            continue
        for found in imports_of(path):
            other = layer_of(found) if is_in(found, LOCAL) and found != LOCAL else None
            assert other is None or other <= own, f"{name} imports upwards: {found}"
    for number, base in enumerate(DISK_ORDER):
        imported = imports_of(ROOT / DISK.replace(".", "/") / f"{base}.py")
        above = {f"{DISK}.{one}" for one in DISK_ORDER[number + 1 :]}
        assert not imported & above, f"{DISK}.{base} imports upwards"


def loaded_by(name: str) -> set[str]:
    """Our modules that are loaded with `name`. Imports inside functions are loaded later, so they do not
    count.
    """
    paths = {name_of(path): path for path in MODULES}
    found, new = set[str](), {name}
    while new:
        found |= new
        statements = [stm for one in new for stm in ast.parse(paths[one].read_text()).body]
        wanted: set[str] = set()
        for statement in statements:
            if isinstance(statement, ast.Import):
                wanted |= {alias.name for alias in statement.names}
            elif isinstance(statement, ast.ImportFrom) and statement.module:
                names = {f"{statement.module}.{alias.name}" for alias in statement.names}
                wanted |= {statement.module, *names}
        new = wanted & paths.keys() - found
    return found


@pytest.mark.parametrize("module", ["services.server", "services.engines.local.engine"])
def test_a_start_loads_only_what_every_server_needs(module: str) -> None:
    loaded = loaded_by(module)
    assert len(loaded) > 60
    optional = (
        "frontends.s3",
        "frontends.restic",
        "readers",
        "engines.objects",
        "tools",
        "engines.local.upkeep",
    )
    for package in optional:
        assert not [name for name in loaded if name.startswith(f"services.{package}.")], package


def package_of(name: str) -> str:
    """What counts as one thing: a package, or a module beside the processes."""
    if (ROOT / name.replace(".", "/")).is_dir():
        return name
    above = name.rpartition(".")[0]
    return name if above == "services" else above


def test_no_packages_import_each_other_in_a_circle() -> None:
    uses: dict[str, set[str]] = {}
    names = {name_of(path) for path in MODULES}
    for path in MODULES:
        here = package_of(name_of(path))
        found = {package_of(name) for name in imports_of(path) if name in names}
        uses.setdefault(here, set()).update(one for one in found if not is_in(here, one))
    while ends := {package for package, used in uses.items() if not used & uses.keys()}:
        for package in ends:
            del uses[package]
    assert not uses, "each of these imports another of them, or is imported by a circle"


@pytest.mark.parametrize("engine", ["local", "objects"])
def test_nothing_outside_an_engine_imports_its_inside(engine: str) -> None:
    package = f"services.engines.{engine}"
    for path in MODULES:
        name = name_of(path)
        if is_in(name, package) or name in DOORS:
            continue
        found = {one for one in imports_of(path) if is_in(one, package) and one != package}
        inside = {one for one in found if not is_in(one, f"{package}.engine")}
        assert not inside, f"{name} imports the inside of the engine {engine}"


def test_only_durable_changes_the_disk() -> None:
    writers = ("common.durable", *STREAMS)
    calls = [
        (path, node)
        for path in MODULES
        if name_of(path) not in writers
        for node in nodes_of(path)
        if isinstance(node, ast.Call)
    ]
    assert calls
    for path, node in calls:
        function = node.func
        if isinstance(function, ast.Attribute) and isinstance(function.value, ast.Name):
            called = f"{function.value.id}.{function.attr}"
            assert not (function.value.id == "os" and function.attr in WRITING), f"{path}: {called}"
            assert function.value.id not in ("shutil", "tempfile"), f"{path}: {called}"
            assert function.attr not in ("write_text", "write_bytes"), f"{path}: {called}"
            if called == "os.open":
                flags = ast.unparse(node.args[1])
                assert "O_WRONLY" not in flags, f"{path}: {called}"
                assert "O_RDWR" not in flags, f"{path}: {called}"
        if isinstance(function, ast.Name) and function.id == "open":
            mode = node.args[1] if len(node.args) > 1 else None
            assert mode is None or ast.literal_eval(mode) in ("r", "rb"), path


def test_the_name_of_a_class_has_one_meaning() -> None:
    defined: dict[str, list[str]] = {}
    for path in MODULES:
        for statement in ast.parse(path.read_text()).body:
            if isinstance(statement, ast.ClassDef) and not statement.name.startswith("_"):
                defined.setdefault(statement.name, []).append(name_of(path))
    assert {name: where for name, where in defined.items() if len(where) > 1}.keys() == TWINS


def test_no_file_is_too_long_to_read() -> None:
    too_long = {name_of(p): n for p in MODULES if (n := len(p.read_text().splitlines())) > 400}
    assert not too_long


def test_no_file_of_tests_is_too_long_to_find_something_in() -> None:
    """Some are one long table of cases."""
    files = sorted(ROOT.glob("tests/**/*.py"))
    too_long = {str(p.relative_to(ROOT)): n for p in files if (n := len(p.read_text().splitlines())) > 550}
    assert not too_long

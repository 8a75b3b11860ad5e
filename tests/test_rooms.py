"""The rooms of the package: which may import which, and that no name hides a module."""

import ast
import pathlib

PACKAGE = pathlib.Path(__file__).parents[1] / "tf_lcnn"
# A room may import the rooms before it, inside functions too.
ROOMS = (
    *(
        "quiet",
        "places",
        "files",
        "markup",
        "checks",
        "programs",
        "graph",
        "layers",
        "costs",
        "data",
        "tasks",
        "models",
        "training",
    ),
    *("compression", "lite", "pipeline", "commands"),
)
# A leaf: it imports nothing of the package but these, and only these import it: what makes files,
# and the two rooms below it, that join everything.
LEAF = "runtime"
LEAF_IMPORTERS = ("lite", "pipeline", "commands")
LEAF_IMPORTS = ("quiet", "files", "checks")


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def room(path):
    first = path.relative_to(PACKAGE).parts[0]
    return first.removesuffix(".py")


def imports(path):
    """The dotted names that a file imports, at any depth of its code."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def allowed(importing, imported):
    if importing == imported:
        return True
    if LEAF in (importing, imported):
        return (importing in LEAF_IMPORTERS and imported == LEAF) or (
            importing == LEAF and imported in LEAF_IMPORTS
        )
    return imported in ROOMS and ROOMS.index(imported) < ROOMS.index(importing)


def test_every_room_imports_only_rooms_before_it():
    wrong = []
    for path in modules():
        if path == PACKAGE / "__init__.py":
            continue
        assert room(path) in (*ROOMS, LEAF), f"{path} stands in no room"
        for name in imports(path):
            top, _, rest = name.partition(".")
            # The package itself has the version.
            if top == "tf_lcnn" and rest and not allowed(room(path), rest.split(".")[0]):
                wrong.append(f"{path.relative_to(PACKAGE)} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_litert_is_imported_where_files_are_made_and_run_alone():
    wrong = []
    for path in modules():
        tops = {name.partition(".")[0] for name in imports(path)}
        if "ai_edge_litert" in tops and room(path) not in ("lite", LEAF):
            wrong.append(f"{path.relative_to(PACKAGE)} imports LiteRT")
        if {"keras", "tensorflow"} & tops and room(path) == LEAF:
            wrong.append(f"{path.relative_to(PACKAGE)} imports Keras or TensorFlow")
    assert not wrong, "\n".join(wrong)


def test_no_public_name_hides_a_module():
    hidden = []
    for path in modules():
        if path.name != "__init__.py":
            continue
        package = ".".join(("tf_lcnn", *path.parent.relative_to(PACKAGE).parts))
        inside = {each.stem for each in path.parent.iterdir() if each.suffix == ".py"}
        inside |= {each.name for each in path.parent.iterdir() if (each / "__init__.py").exists()}
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.module != package:
                bound = [alias.asname or alias.name for alias in node.names]
            elif isinstance(node, (ast.FunctionDef, ast.ClassDef)):
                bound = [node.name]
            elif isinstance(node, ast.Assign):
                bound = [target.id for target in node.targets if isinstance(target, ast.Name)]
            else:
                continue
            hidden += [f"{package}.{name}" for name in bound if name in inside]
    assert not hidden

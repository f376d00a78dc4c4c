"""The house rules of docs/explanation/design.md that a program can check."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[1] / "src" / "thoar"
FILES = sorted(SOURCE.rglob("*.py"))
PAGES = [*SOURCE.parents[1].glob("*.md"), *SOURCE.parents[1].glob("docs/**/*.md")]
ROOMS = sorted(p for p in SOURCE.iterdir() if (p / "__init__.py").is_file())

WITHOUT_ORDER_OR_UNIT = re.compile(r"(^|_)(spacing|origin|shape|box|threshold)$")
NUMBERS = {"float", "int", "tuple", "Sequence", "Vector3", "Index3", "ndarray", "Tensor", "Size"}
"""What an annotation mentions if the parameter is bare numbers and no record that knows its own order."""

UNSAFE_CALLS = {
    "torch.load",
    "pickle.load",
    "pickle.loads",
    "os.system",
    "os.popen",
    "eval",
    "exec",
    "tempfile.mktemp",
}
UNSAFE_METHODS = {"extractall"}
UNSAFE_MODULES = {"pickle", "cPickle", "dill", "shelve", "marshal"}
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
ONE_MACHINE = re.compile(r"(/work/|/tmp/|/home/\w|/Users/\w|/root/|/opt/|\.\./shared)")


def nodes(path: Path) -> Iterator[ast.AST]:
    yield from ast.walk(ast.parse(path.read_text(encoding="utf-8")))


def where(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(SOURCE)}:{getattr(node, 'lineno', '?')}"


def unclear_parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    arguments = function.args
    return [
        argument.arg
        for argument in [*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs]
        if WITHOUT_ORDER_OR_UNIT.search(argument.arg) and of_bare_numbers(argument)
    ]


def of_bare_numbers(argument: ast.arg) -> bool:
    if argument.annotation is None:
        return True
    return bool(NUMBERS & set(re.findall(r"\w+", ast.unparse(argument.annotation))))


def unsafe(node: ast.AST) -> str | None:
    """Return what is unsafe about a node, or None."""
    match node:
        case ast.Import(names=names):
            return next((n.name for n in names if n.name.split(".")[0] in UNSAFE_MODULES), None)
        case ast.ImportFrom(module=str(module)) if module.split(".")[0] in UNSAFE_MODULES:
            return module
        case ast.Call(func=function, keywords=keywords):
            name = ast.unparse(function)
            if name in UNSAFE_CALLS or name.rpartition(".")[2] in UNSAFE_METHODS:
                return name
            shell = any(k.arg == "shell" and ast.unparse(k.value) != "False" for k in keywords)
            return f"{name}(shell=…)" if shell else None
    return None


def test_parameters_name_their_axis_order_or_unit() -> None:
    unclear = [
        f"{where(path, node)}: {node.name}({name})"
        for path in FILES
        for node in nodes(path)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and not node.name.startswith("_")
        for name in unclear_parameters(node)
    ]
    assert unclear == []


def test_nothing_unsafe_is_called() -> None:
    found = [f"{where(p, n)}: {what}" for p in FILES for n in nodes(p) if (what := unsafe(n))]
    assert found == []


def test_nobody_prints_or_exits_outside_the_command_line() -> None:
    loud = {"print", "sys.exit", "exit", "quit", "os._exit", "typer.echo", "input"}
    found = [
        f"{where(p, n)}: {ast.unparse(n.func)}"
        for p in FILES
        if SOURCE / "cli" not in p.parents
        for n in nodes(p)
        if isinstance(n, ast.Call) and ast.unparse(n.func) in loud
    ]
    assert found == []


def test_environment_variables_are_read_only_by_the_command_line() -> None:
    found = [
        where(p, n)
        for p in FILES
        if SOURCE / "cli" not in p.parents
        for n in nodes(p)
        if isinstance(n, ast.Attribute) and ast.unparse(n) in {"os.environ", "os.getenv"}
    ]
    assert found == []


def test_files_are_named_for_their_subject() -> None:
    assert [str(p) for p in SOURCE.rglob("*") if p.stem in VAGUE_NAMES] == []


def test_no_path_of_one_machine_is_written_down() -> None:
    found = [
        f"{p.relative_to(SOURCE)}:{i}: {line.strip()}"
        for p in sorted(SOURCE.rglob("*"))
        if p.suffix in {".py", ".toml", ".json"}
        for i, line in enumerate(p.read_text(encoding="utf-8").splitlines(), 1)
        if ONE_MACHINE.search(line)
    ]
    assert found == []


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_a_rooms_init_is_one_docstring(room: Path) -> None:
    module = ast.parse((room / "__init__.py").read_text(encoding="utf-8"))
    assert ast.get_docstring(module)
    assert len(module.body) == 1


@pytest.mark.parametrize("room", ROOMS, ids=lambda room: room.name)
def test_every_room_has_tests(room: Path) -> None:
    assert list((Path(__file__).parent / room.name).glob("test_*.py"))


@pytest.mark.parametrize(
    ("line", "clear"),
    [
        ("def f(spacing: tuple[float, float, float]): ...", False),
        ("def f(*, target_shape: Sequence[int]): ...", False),
        ("def f(threshold): ...", False),
        ("def f(spacing_zyx_mm: Vector3, threshold_hu: float): ...", True),
        ("def f(box: Box): ...", True),
    ],
)
def test_the_rule_about_names_can_fail(line: str, clear: bool) -> None:
    (function,) = ast.parse(line).body
    assert isinstance(function, ast.FunctionDef)
    assert (unclear_parameters(function) == []) == clear


@pytest.mark.parametrize(
    "line",
    [
        "torch.load(path)",
        "import pickle",
        "from pickle import loads",
        "subprocess.run('ls', shell=True)",
        "archive.extractall(folder)",
        "eval(text)",
    ],
)
def test_the_rule_about_safety_can_fail(line: str) -> None:
    assert any(unsafe(node) for node in ast.walk(ast.parse(line)))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []

"""The names that a Python file defines, read without importing it."""

import ast
from collections.abc import Iterator
from functools import cache
from pathlib import Path


@cache
def names_defined_in(file: Path) -> frozenset[str]:
    """Return the qualified names that a Python file defines."""
    return frozenset(_defined(ast.parse(file.read_bytes()).body, ""))


def _defined(body: list[ast.stmt], prefix: str) -> Iterator[str]:
    for node in body:
        match node:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield prefix + name
                yield from _defined(node.body, f"{prefix}{name}.")
            case ast.Assign(targets=targets):
                yield from (prefix + target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(id=name)):
                yield prefix + name
            case ast.If() | ast.For() | ast.With():
                yield from _defined(node.body, prefix)

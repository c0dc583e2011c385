"""Runs a single program of a Debian package on the host, without installing the package."""

from typing import Final

from voxrec.sandbox.rootfs import Recipe, ensure_rootfs

PGBOUNCER: Final = Recipe("pgbouncer", "bookworm", ("pgbouncer",))


def program_command(recipe: Recipe, path: str) -> list[str]:
    """Return the command that runs the program ``path`` of a recipe's root file system, with the libraries from there.

    Builds the root file system if the cache does not have it. Raises SandboxError if it cannot be built.
    """
    root = ensure_rootfs(recipe, lambda _line: None)
    loader = next(root.glob("lib*/ld-linux-*.so.*"), None) or next(root.glob("usr/lib*/ld-linux-*.so.*"))
    libraries = [*root.glob("usr/lib/*-linux-gnu*"), *root.glob("lib/*-linux-gnu*")]
    return [str(loader), "--library-path", ":".join(map(str, libraries)), str(root / path)]

"""The exception that the sandbox raises."""

from voxrec.errors import VoxrecError


class SandboxError(VoxrecError):
    """A part of the sandbox cannot be built, started or read; ``detail`` says how to correct it where that is known."""

    code = "sandbox"

"""The one family of errors that the sandbox raises."""

from voxrec.errors import VoxrecError


class SandboxError(VoxrecError):
    """Something of the sandbox cannot be built, started or understood; the detail says what to do about it."""

    code = "sandbox"

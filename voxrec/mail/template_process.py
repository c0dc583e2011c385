"""Renders mail templates in a process of its own: ``python -m voxrec.mail.template_process``.

A thread could not be stopped, and some expressions, such as ``9 ** 9 ** 9``, would block all threads. Jinja2's sandbox
keeps templates from the attributes of Python's objects; the limits of the process bound its time and its memory.
"""

import json
import resource
import signal
import sys
from collections.abc import Mapping
from pathlib import Path
from traceback import walk_tb
from types import FrameType
from typing import Any, Final

from jinja2 import FileSystemLoader, StrictUndefined, TemplateNotFound, TemplateSyntaxError
from jinja2.sandbox import ImmutableSandboxedEnvironment

# seconds of CPU time, so that a busy machine makes no template fail
_TIME_LIMIT: Final = 2.0  # of rendering, which is interrupted where the line of the template is known
_CPU_LIMIT: Final = 4  # of the process, which the kernel ends
_MEMORY_LIMIT: Final = 512 << 20  # bytes of address space
MAX_TEXT: Final = 512 << 10  # characters of a text


class _TooSlow(Exception):
    """The time limit has passed."""


def render(request: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``texts``, by the names of ``request["templates"]``; or ``error``: the file, the line and the reason.

    The request has ``directories``, where templates are searched in this order; ``templates``, for each text the names
    of its template, of which the first that exists is used, or none; and ``values``, the variables.
    """
    directories = request["directories"]
    environment = ImmutableSandboxedEnvironment(
        loader=FileSystemLoader(directories),
        autoescape=lambda name: name is not None and name.endswith(".html"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    texts: dict[str, str] = {}
    for text, names in request["templates"].items():
        paths = [(name, Path(directory, name)) for name in names for directory in directories]
        name, path = next(((name, path) for name, path in paths if path.is_file()), ("", None))
        if path is None:
            continue
        sys.stderr.write(f"{path}\n")  # which template it was, should a limit end the process
        sys.stderr.flush()
        try:
            texts[text] = environment.get_template(name).render(request["values"])
            if len(texts[text]) > MAX_TEXT:
                raise ValueError(f"the result has {len(texts[text])} characters; at most {MAX_TEXT} are allowed")
        except Exception as error:
            return {"error": _describe(error, directories, path)}
    return {"texts": texts}


def _describe(error: Exception, directories: list[str], path: Path) -> dict[str, Any]:
    """Return the innermost line of a template that was executed; Jinja2 writes it into the traceback."""
    file, line = str(path), None
    if isinstance(error, TemplateSyntaxError):
        file, line = error.filename or file, error.lineno
    else:
        for frame, number in walk_tb(error.__traceback__):
            if any(Path(frame.f_code.co_filename).is_relative_to(directory) for directory in directories):
                file, line = frame.f_code.co_filename, number
    reason = f"there is no template {error.name}" if isinstance(error, TemplateNotFound) else str(error)
    return {"file": file, "line": line, "reason": reason or type(error).__name__}


def _interrupt(_signal: int, _frame: FrameType | None) -> None:
    raise _TooSlow(f"it takes more than {_TIME_LIMIT:g} s of CPU time")


def main() -> None:
    """Read a request from the standard input, and write the response to the standard output, both as JSON."""
    request = json.load(sys.stdin)
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_LIMIT, _CPU_LIMIT))
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    signal.signal(signal.SIGPROF, _interrupt)
    signal.setitimer(signal.ITIMER_PROF, _TIME_LIMIT)
    response = render(request)
    signal.setitimer(signal.ITIMER_PROF, 0)
    json.dump(response, sys.stdout)


if __name__ == "__main__":
    main()

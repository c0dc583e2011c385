"""Output of the sandbox commands (``make demo``, ``make run``, ``make chaos`` and others) to a terminal."""

import time
from collections.abc import Callable
from typing import TypeAlias

from rich.console import Console

ReportProgress: TypeAlias = Callable[[str], None]
"""Receives one line of text for each step of a long operation."""

console = Console(highlight=False)


def print_step(text: str) -> None:
    """Print one line of progress with the time of day."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/dim]  {text}", soft_wrap=True)


def print_error(text: str) -> None:
    """Print the reason for which a command failed."""
    console.print(f"failed: {text}", style="red", soft_wrap=True, markup=False)

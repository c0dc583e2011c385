"""Notifies systemd of the state of the daemon, as described in sd_notify(3)."""

import os
import socket
import time
from collections.abc import Mapping


def sd_notify(state: str) -> None:
    """Send ``state``, such as ``READY=1`` or ``STOPPING=1``, to systemd.

    Does nothing if systemd did not start the process (no ``NOTIFY_SOCKET``), or if its socket cannot be reached.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK) as sender:
        try:
            # a leading @ denotes the abstract namespace
            sender.connect(address.replace("@", "\0", 1) if address.startswith("@") else address)
            sender.send(state.encode())
        except OSError:
            return


def sd_notify_reloading() -> None:
    """Notify systemd that the settings are reloaded, until ``READY=1`` is sent.

    ``MONOTONIC_USEC``, with which systemd tells this reload from an earlier one, is required by ``Type=notify-reload``.
    """
    sd_notify(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")


def watchdog_interval(environ: Mapping[str, str] = os.environ) -> float | None:
    """Return the interval, in seconds, at which systemd expects ``WATCHDOG=1``; None if it does not.

    It is half of the unit's ``WatchdogSec``, as sd_watchdog_enabled(3) recommends.
    """
    try:
        microseconds, process = int(environ["WATCHDOG_USEC"]), int(environ.get("WATCHDOG_PID") or os.getpid())
    except (KeyError, ValueError):
        return None
    return microseconds / 2_000_000 if microseconds > 0 and process == os.getpid() else None

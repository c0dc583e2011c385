"""Notifies systemd of the state of the daemon, as described in sd_notify(3)."""

import os
import socket
import time


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

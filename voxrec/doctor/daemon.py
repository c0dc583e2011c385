"""Checks of the daemon itself: its REST API, and its systemd unit."""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Final

from voxrec.config import Config
from voxrec.doctor.accounts import voxrec_account
from voxrec.doctor.finding import Finding, failed, ok, skipped, warning
from voxrec.doctor.http import get
from voxrec.doctor.rest_address import RestAddress, parse_listen

_UNIT: Final = "voxrec.service"
_PROPERTIES: Final = (
    "LoadState,ActiveState,SubState,UnitFileState,StatusText,NeedDaemonReload,ProtectSystem,ProtectHome,ReadWritePaths,"
    "StateDirectory"
)
_HOMES: Final = (Path("/home"), Path("/root"), Path("/run/user"))
_REMEDIES: Final = {
    "postgresql": "see the findings about the database",
    "asterisk": "see the findings about Asterisk; only one daemon may use an application",
    "announcement": "give Asterisk access to asterisk.sounds (mode 0755), and check asterisk.sounds_in_asterisk",
    "archive": "see the findings about the archive",
    "spool": "see the findings about the recording directory",
}


def check_daemon(config: Config) -> Iterator[Finding]:
    """Check that the daemon runs and is ready. If it does not run, check that it could listen."""
    address = parse_listen(config.rest.listen)
    url = _url(address) if address.port else config.rest.public_url.rstrip("/")
    try:
        reply = get(f"{url}/health/ready", verify=False)
    except OSError as error:
        yield failed("daemon", f"REST does not respond at {url}: {error}", "systemctl start voxrec, and read its log")
        if address.port:
            yield _check_port(address.host, address.port)
        return
    if not isinstance(reply.content, dict) or "dependencies" not in reply.content:
        yield failed("daemon", f"another program responds at {url}", "stop it, or change rest.listen")
        return
    yield ok("daemon", f"REST responds at {url}")
    for name, state in reply.content["dependencies"].items():
        if state["ready"]:
            yield ok(f"daemon {name}", "ready")
        else:
            yield failed(f"daemon {name}", str(state.get("detail")), _REMEDIES.get(name, "see the log of voxrec"))


def check_unit(config: Config) -> Iterator[Finding]:
    """Check the systemd unit, and that the daemon's account has the group of Asterisk's recordings."""
    yield _check_group(config)
    if not Path("/run/systemd/system").is_dir() or shutil.which("systemctl") is None:
        yield skipped("unit", "systemd does not run on this machine")
        return
    done = subprocess.run(  # noqa: S603
        ["systemctl", "show", _UNIT, f"--property={_PROPERTIES}"],  # noqa: S607
        capture_output=True,
        text=True,
        check=False,
    )
    unit = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    if unit.get("LoadState") != "loaded":
        yield failed("unit", f"{_UNIT} is not installed", "install systemd/voxrec.service, and systemctl daemon-reload")
    elif unit.get("ActiveState") != "active":
        detail = f"{unit.get('ActiveState')} ({unit.get('SubState')}) {unit.get('StatusText', '')}".strip()
        yield failed("unit", f"{_UNIT} is {detail}", "systemctl start voxrec; journalctl -u voxrec says why it ends")
    elif unit.get("UnitFileState") not in ("enabled", "enabled-runtime"):
        yield warning("unit", f"{_UNIT} is active, but does not start with the machine", "systemctl enable voxrec")
    else:
        yield ok("unit", f"{_UNIT} is active and enabled")
    yield from check_unit_settings(unit, config)


def check_unit_settings(unit: Mapping[str, str], config: Config) -> Iterator[Finding]:
    """Check that the unit lets voxrec write to its directories. ``unit`` has properties as systemctl(1) shows them."""
    if unit.get("NeedDaemonReload") == "yes":
        remedy = "systemctl daemon-reload && systemctl restart voxrec"
        yield warning("unit file", f"{_UNIT} has changed since systemd has read it", remedy)
    asterisk = config.asterisk
    settings = {
        "data_directory": Path(config.data_directory),
        "archive.directory": config.archive_directory,
        "asterisk.recordings": Path(asterisk.recordings),
        "asterisk.sounds": Path(asterisk.sounds),
    }
    writable = [
        *(Path(each.lstrip("-+")) for each in unit.get("ReadWritePaths", "").split()),
        *(Path("/var/lib", each) for each in unit.get("StateDirectory", "").split()),
    ]
    for setting, path in settings.items():
        name = f"unit {setting}"
        if unit.get("ProtectHome") not in ("no", None) and any(path.is_relative_to(home) for home in _HOMES):
            yield failed(name, f"{_UNIT} has ProtectHome=, which hides {path} from voxrec", "choose another directory")
        elif unit.get("ProtectSystem") == "strict" and not any(path.is_relative_to(each) for each in writable):
            yield failed(
                name,
                f"{_UNIT} has ProtectSystem=strict, and {path} is not in its ReadWritePaths=",
                f"systemctl edit voxrec: [Service] ReadWritePaths={path}, and systemctl restart voxrec",
            )


def _check_group(config: Config) -> Finding:
    name, spool = "group", Path(config.asterisk.recordings)
    account = voxrec_account(Path(config.data_directory))
    try:
        group = spool.stat().st_gid
    except OSError:
        return skipped(name, f"{spool} does not exist")
    groups = {account.gid, *account.groups, *(os.getgroups() if account.uid == os.geteuid() else ())}
    if account.uid == 0 or group in groups or spool.stat().st_uid == account.uid:
        return ok(name, f"{account.name} has access to the group {group} of {spool}")
    return failed(
        name,
        f"{account.name} is not in the group {group} of {spool}",
        f"chgrp asterisk {spool}; the unit adds voxrec to the group asterisk",
    )


def _url(address: RestAddress) -> str:
    target = f"[{address.target}]" if ":" in address.target else address.target
    return f"{'https' if address.kind == 'ssl' else 'http'}://{target}:{address.port}"


def _check_port(host: str, port: int) -> Finding:
    name = "REST port"
    try:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except PermissionError:
        return failed(
            name,
            f"this user may not listen on port {port}",
            "use a port above 1023, or CAP_NET_BIND_SERVICE (the unit)",
        )
    except OSError as error:
        return failed(name, f"{host}:{port}: {error.strerror}", "stop the other program, or change rest.listen")
    return ok(name, f"{host}:{port} is free")

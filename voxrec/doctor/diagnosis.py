"""All checks in their order."""

from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Final

from voxrec import config
from voxrec.config import Config
from voxrec.doctor.ami import check_ami
from voxrec.doctor.asterisk import check_asterisk
from voxrec.doctor.bounces import check_bounces
from voxrec.doctor.certificate import check_certificate
from voxrec.doctor.clock import check_clock
from voxrec.doctor.daemon import check_daemon, check_unit
from voxrec.doctor.database import check_database
from voxrec.doctor.directories import check_directories
from voxrec.doctor.finding import Finding, failed, guarded, ok, warning
from voxrec.doctor.identity_provider import check_identity_provider
from voxrec.doctor.mail import check_mail
from voxrec.doctor.mail_signature import check_mail_signature
from voxrec.doctor.mail_templates import check_mail_templates
from voxrec.doctor.names import check_names
from voxrec.doctor.nodes import check_nodes
from voxrec.doctor.s3 import check_s3
from voxrec.doctor.scheduling import check_scheduling
from voxrec.doctor.settings_files import check_settings_files
from voxrec.doctor.webhooks import check_webhooks
from voxrec.errors import ConfigError

_CHECKS: Final[tuple[tuple[str, Callable[[Config], Iterator[Finding]]], ...]] = (
    ("directories", check_directories),
    ("database", check_database),
    ("node", check_nodes),
    ("names", check_names),
    ("asterisk", check_asterisk),
    ("asterisk priority", check_scheduling),
    ("ami", check_ami),
    ("daemon", check_daemon),
    ("REST certificate", check_certificate),
    ("S3", check_s3),
    ("mail", check_mail),
    ("mail templates", check_mail_templates),
    ("mail signature", check_mail_signature),
    ("bounces", check_bounces),
    ("webhooks", check_webhooks),
    ("identity provider", check_identity_provider),
    ("unit", check_unit),
    ("clock", check_clock),
)
_UNEXPECTED_REMEDY: Final = "run voxrec doctor as root; report this if it persists"


def diagnose(file: Path) -> Iterator[Finding]:
    """Check the installation that a settings file describes. Without valid settings, nothing else is checked."""
    unchecked: list[str] = []
    try:
        settings = config.load(file, unchecked=unchecked)
    except ConfigError as error:
        for problem in error.field_errors or (error.detail,):
            yield failed("settings", str(problem), _settings_remedy(file, error.__cause__))
        return
    yield ok("settings", f"{file} is valid")
    for setting in unchecked:
        yield warning("secrets", f"not checked: {setting}", "run voxrec doctor as root while the unit runs")
    if not unchecked:
        yield ok("secrets", "all are readable")
    yield from guarded("settings files", partial(check_settings_files, settings, file), _UNEXPECTED_REMEDY)
    for name, check in _CHECKS:
        yield from guarded(name, partial(check, settings), _UNEXPECTED_REMEDY)


def _settings_remedy(file: Path, cause: BaseException | None) -> str:
    if isinstance(cause, PermissionError):
        return "run voxrec doctor as root"
    if isinstance(cause, FileNotFoundError):
        return "install etc/voxrec.yaml there as the README says, or name the settings file with --config"
    return f"correct {file}; see docs/settings.md"

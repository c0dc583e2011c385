"""Checks of the files that the settings consist of: the daemon can read them, and other users cannot read secrets."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from msgspec import Struct

from voxrec.config import Config, Secret
from voxrec.doctor.accounts import Account, describe, voxrec_account
from voxrec.doctor.finding import Finding, failed, ok, warning
from voxrec.doctor.rest_address import parse_listen

_CHECK: Final = "settings files"
_OTHERS_READ: Final = 0o004
_OTHERS_ENTER: Final = 0o001


def check_settings_files(config: Config, file: Path) -> Iterator[Finding]:
    """Check that the account of the daemon can read all files, and that only it can read those with secrets."""
    account = voxrec_account(Path(config.data_directory))
    secrets = {*_secret_files(config), *([file] if _contains_secrets(config) else [])}
    files = {file.absolute(), *secrets, *_other_files(config)}
    problems = [
        *(finding for each in sorted(files) if (finding := _check_readable(each, account))),
        *(_warn_of_access(each, account) for each in sorted(secrets) if _everyone_can_read(each)),
    ]
    yield from problems
    if not problems:
        yield ok(_CHECK, f"{account.name} can read {', '.join(map(str, sorted(files)))}")


def _check_readable(file: Path, account: Account) -> Finding | None:
    """Return what keeps the account from reading an absolute path, if anything does."""
    for directory in (*reversed(file.parents), *reversed(file.resolve().parents)):
        if not account.may("x", directory):
            return failed(
                _CHECK,
                f"{account.name} may not enter {describe(directory)}, and so not read {file}",
                f"move the file to /etc/voxrec, or chgrp {account.name} {directory} && chmod g+x {directory}",
            )
    if not file.exists():
        return failed(_CHECK, f"{file} does not exist", "create it, or correct the setting that names it")
    if not account.may("r", file):
        return failed(
            _CHECK,
            f"{account.name} may not read {describe(file)}",
            f"chgrp {account.name} {file} && chmod 0640 {file}",
        )
    return None


def _warn_of_access(file: Path, account: Account) -> Finding:
    remedy = f"chgrp {account.name} {file} && chmod 0640 {file}"
    return warning(_CHECK, f"every user of this machine can read {describe(file)}, which contains secrets", remedy)


def _everyone_can_read(file: Path) -> bool:
    return bool(file.stat().st_mode & _OTHERS_READ) and all(
        directory.stat().st_mode & _OTHERS_ENTER for directory in file.absolute().parents
    )


def _contains_secrets(config: Config) -> bool:
    return any(value and not file for value, file in _secrets(config))


def _secret_files(config: Config) -> Iterator[Path]:
    """Yield the files that contain only a secret, except the credentials of the unit, which systemd reads."""
    yield from (Path(file) for _, file in _secrets(config) if file.startswith("/"))
    key = parse_listen(config.rest.listen).options.get("privateKey", "")
    yield from (Path(file) for file in (key, config.mail.signing_key) if file.startswith("/"))


def _secrets(config: Config) -> Iterator[tuple[str, str]]:
    """Yield the value of each secret, and the file that the settings name for it."""
    for section in (getattr(config, name) for name in config.__struct_fields__):
        if isinstance(section, Struct):
            for name in section.__struct_fields__:
                if isinstance(value := getattr(section, name), Secret):
                    yield value, getattr(section, f"{name}_file")


def _other_files(config: Config) -> Iterator[Path]:
    """Yield the files without secrets that the daemon reads."""
    certificate = parse_listen(config.rest.listen).options.get("certKey", "")
    mail = config.mail
    files = (certificate, mail.signing_certificate, mail.ca_file, config.webhooks.ca_file, config.oidc.ca_file)
    yield from (Path(file) for file in files if file.startswith("/"))

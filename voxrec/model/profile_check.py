"""The test of a Profile, and the settings that apply to its calls."""

import enum
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

from msgspec import Struct

from voxrec.model.fields import doc


class CheckName(enum.StrEnum):
    """What a check of a Profile concerns.

    - ``target``: the far end, by a SIP OPTIONS request
    - ``prompt``: the announcement
    - ``recording``: what recording a call needs: AMI, disk space, the format
    - ``mailbox``: one recipient of the mail, by RCPT TO at the relay
    - ``encryption``: the certificate of one recipient of the mail
    - ``webhook``: one webhook of the Profile, by a test message
    - ``archive``: writing, reading and deleting a file
    """

    TARGET = "target"
    PROMPT = "prompt"
    RECORDING = "recording"
    MAILBOX = "mailbox"
    ENCRYPTION = "encryption"
    WEBHOOK = "webhook"
    ARCHIVE = "archive"


class CheckState(enum.StrEnum):
    """The result of a check.

    - ``ok``: it works
    - ``warning``: it works, but something should be changed, or it may not work always
    - ``failed``: it does not work
    - ``skipped``: the Profile does not use what would be checked, or it cannot be checked
    """

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    SKIPPED = "skipped"


_SEVERITY: Final = (CheckState.FAILED, CheckState.WARNING, CheckState.OK)


class ProfileCheck(Struct, frozen=True, kw_only=True, rename="camel"):
    """One row of the result."""

    name: Annotated[CheckName, doc("What was checked.")]
    target: Annotated[str | None, doc("SIP URI, mail address, URL or Prompt that was checked.")] = None
    state: Annotated[CheckState, doc("The result.")]
    detail: Annotated[str, doc("What was found.")]
    advice: Annotated[str | None, doc("What to do about it. Null: nothing.")] = None
    seconds: Annotated[float, doc("Duration of the check.")] = 0.0


class ProfileCheckResult(Struct, frozen=True, kw_only=True, rename="camel"):
    """The result of the test of a Profile."""

    profile_id: Annotated[UUID, doc("Id of the Profile.")]
    node: Annotated[str, doc("Node whose Asterisk, disks and network were used.")]
    checked_at: Annotated[datetime, doc("Time of the test.")]
    state: Annotated[CheckState, doc("The worst state of a check.")]
    checks: Annotated[tuple[ProfileCheck, ...], doc("The checks.")]


class SettingSource(enum.StrEnum):
    """Where the value of a setting comes from.

    - ``profile``: the Profile
    - ``installation``: the settings file or an environment variable
    - ``default``: neither of them changes the built-in value
    """

    PROFILE = "profile"
    INSTALLATION = "installation"
    DEFAULT = "default"


class EffectiveSetting(Struct, frozen=True, kw_only=True, rename="camel"):
    """One setting with the value that applies to the next call of a Profile."""

    name: Annotated[str, doc("Field of the Profile, or what is set.")]
    value: Annotated[Any, doc("The value that applies.")]
    source: Annotated[SettingSource, doc("Where the value comes from.")]
    setting: Annotated[str | None, doc("Setting of the installation that decides unless the Profile does.")] = None


class EffectiveProfile(Struct, frozen=True, kw_only=True, rename="camel"):
    """The settings that apply to the next call of a Profile."""

    profile_id: Annotated[UUID, doc("Id of the Profile.")]
    settings: Annotated[tuple[EffectiveSetting, ...], doc("The settings.")]


def worst_state(checks: tuple[ProfileCheck, ...]) -> CheckState:
    """Return the worst state of some checks; ``skipped`` if there is nothing else."""
    states = {check.state for check in checks}
    return next((state for state in _SEVERITY if state in states), CheckState.SKIPPED)

"""The settings that apply to the next call of a Profile, each with its source."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import msgspec

from voxrec.config import Config
from voxrec.model import EffectiveProfile, EffectiveSetting, Profile, RecordPrompt, SettingSource

_DEFAULTS: Final = Config()
_NOT_SETTINGS: Final = frozenset({"id", "created_at", "updated_at"})


@dataclass(frozen=True, slots=True)
class _Installation:
    """A setting of the installation: ``field`` of ``section``, which decides unless the Profile does."""

    section: str
    field: str

    @property
    def name(self) -> str:
        return f"{self.section}.{self.field}"

    def read(self, config: Config) -> Any:
        return getattr(getattr(config, self.section), self.field)

    def source(self, config: Config) -> SettingSource:
        changed = self.read(config) != self.read(_DEFAULTS)
        return SettingSource.INSTALLATION if changed else SettingSource.DEFAULT


_MAX_CALL: Final = _Installation("calls", "max_call")
_FALLBACKS: Final = {
    "ring_timeout_seconds": _Installation("calls", "ring_timeout"),
    "max_call_seconds": _MAX_CALL,
    "mail_encryption": _Installation("mail", "encryption"),
    "time_zone": _Installation("mail", "time_zone"),
    "archive_bucket": _Installation("s3", "bucket"),
    "archive_prefix": _Installation("s3", "prefix"),
}
"""Fields of a Profile that, if they are null, are decided by the installation."""

_INSTALLATION_ONLY: Final = {
    "beepSound": _Installation("calls", "beep"),
    "pauseSound": _Installation("calls", "pause_sound"),
    "resumeSound": _Installation("calls", "resume_sound"),
    "jitterBuffer": _Installation("calls", "jitter_buffer"),
    "setupTimeoutSeconds": _Installation("calls", "setup_timeout"),
    "maxCallsOfNode": _Installation("calls", "max_calls"),
    "maxPassages": _Installation("calls", "max_passages"),
    "maxRedirects": _Installation("calls", "max_redirects"),
    "mailSender": _Installation("mail", "sender"),
    "mailAttachLimit": _Installation("mail", "attach_limit"),
    "mailCopyFormat": _Installation("mail", "copy_format"),
    "mailHideSubject": _Installation("mail", "hide_subject"),
    "mailLanguage": _Installation("mail", "language"),
}
"""What only the installation decides."""


def effective_settings(profile: Profile, config: Config, announcement: str | None, trusted: bool) -> EffectiveProfile:
    """Return the settings of the next call of a Profile.

    ``announcement`` is the media URI that Asterisk plays, None if it cannot be played now. ``trusted`` says whether the
    far end may get withheld numbers.
    """
    fields = [
        _of_profile(profile, field, config)
        for field in msgspec.structs.fields(Profile)
        if field.name not in _NOT_SETTINGS
    ]
    return EffectiveProfile(
        profile_id=profile.id,
        settings=(
            *fields,
            _announcement(profile, config, announcement),
            _endpoint(profile, config, trusted),
            *(_of_installation(name, setting, config) for name, setting in _INSTALLATION_ONLY.items()),
        ),
    )


def _of_profile(profile: Profile, field: Any, config: Config) -> EffectiveSetting:
    value = getattr(profile, field.name)
    fallback = _FALLBACKS.get(field.name)
    setting = None if fallback is None else fallback.name
    if fallback is not None and value is None:
        return EffectiveSetting(
            name=field.encode_name, value=fallback.read(config), source=fallback.source(config), setting=setting
        )
    if fallback is _MAX_CALL and value > (limit := _MAX_CALL.read(config)):
        source = _MAX_CALL.source(config)  # the installation's limit also applies to Profiles
        return EffectiveSetting(name=field.encode_name, value=limit, source=source, setting=setting)
    source = SettingSource.DEFAULT if value == _default_of(field) else SettingSource.PROFILE
    return EffectiveSetting(name=field.encode_name, value=value, source=source, setting=setting)


def _default_of(field: Any) -> Any:
    if field.default_factory is not msgspec.NODEFAULT:
        return field.default_factory()
    return field.default


def _announcement(profile: Profile, config: Config, media: str | None) -> EffectiveSetting:
    setting = _Installation("calls", "announcement")
    if profile.record_prompt is RecordPrompt.NONE:
        return EffectiveSetting(name="announcement", value=None, source=SettingSource.DEFAULT)
    source = SettingSource.PROFILE if profile.record_prompt is RecordPrompt.CUSTOM else setting.source(config)
    return EffectiveSetting(name="announcement", value=media, source=source, setting=setting.name)


def _endpoint(profile: Profile, config: Config, trusted: bool) -> EffectiveSetting:
    setting = _Installation("asterisk", "trusted_endpoint" if trusted else "endpoint")
    value = None if profile.remote_sip_uri is None else setting.read(config)
    return EffectiveSetting(name="endpoint", value=value, source=setting.source(config), setting=setting.name)


def _of_installation(name: str, setting: _Installation, config: Config) -> EffectiveSetting:
    value = setting.read(config)
    return EffectiveSetting(name=name, value=value, source=setting.source(config), setting=setting.name)


EffectiveSettings = Callable[[Profile], EffectiveProfile]
"""Returns the settings of the next call of a Profile."""

"""Tests of voxrec.profile_check.effective: the value and the source of each setting."""

from typing import Any

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from tests.profile_check.test_runner import PROFILE
from voxrec.config import parse
from voxrec.model import Profile, RecordPrompt
from voxrec.profile_check.effective import effective_settings


class EffectiveTests(SynchronousTestCase):
    def effective(self, settings: str = "", *, trusted: bool = False, **fields: Any) -> dict[str, tuple[Any, str]]:
        profile = msgspec.structs.replace(PROFILE, **fields)
        result = effective_settings(profile, parse(settings), "sound:announcement", trusted)
        return {each.name: (each.value, each.source.value) for each in result.settings}

    def test_every_field_of_a_profile_is_named_once(self) -> None:
        names = [each.name for each in effective_settings(PROFILE, parse(""), None, False).settings]
        fields = {field.encode_name for field in msgspec.structs.fields(Profile)}
        self.assertEqual(fields - {*names}, {"id", "createdAt", "updatedAt"})
        self.assertEqual(len(names), len({*names}))

    def test_profile_before_installation_before_default(self) -> None:
        setting = "calls: {ring_timeout: 25}"
        for settings, seconds, expected in (
            ("", None, (60.0, "default")),
            (setting, None, (25.0, "installation")),
            (setting, 40, (40, "profile")),
        ):
            found = self.effective(settings, ring_timeout_seconds=seconds)["ringTimeoutSeconds"]
            self.assertEqual(found, expected)

    def test_the_limit_of_the_installation_applies_to_profiles(self) -> None:
        settings = "calls: {max_call: 600}"
        self.assertEqual(self.effective(settings)["maxCallSeconds"], (600.0, "installation"))
        self.assertEqual(self.effective(settings, max_call_seconds=60)["maxCallSeconds"], (60, "profile"))
        self.assertEqual(self.effective(settings, max_call_seconds=900)["maxCallSeconds"], (600.0, "installation"))

    def test_fields_without_a_setting(self) -> None:
        found = self.effective(record=True, retention_days=30, metadata={"a": "b"})
        self.assertEqual(found["record"], (True, "profile"))
        self.assertEqual(found["retentionDays"], (30, "profile"))
        self.assertEqual(found["metadata"], ({"a": "b"}, "profile"))
        self.assertEqual(found["maxCalls"], (None, "default"))
        self.assertEqual(found["recordFormat"], ("wav", "default"))

    def test_announcement(self) -> None:
        custom = "calls: {announcement: 'sound:ours'}"
        for settings, prompt, expected in (
            ("", RecordPrompt.NONE, (None, "default")),
            ("", RecordPrompt.DEFAULT, ("sound:announcement", "default")),
            (custom, RecordPrompt.DEFAULT, ("sound:announcement", "installation")),
            (custom, RecordPrompt.CUSTOM, ("sound:announcement", "profile")),
        ):
            self.assertEqual(self.effective(settings, record_prompt=prompt)["announcement"], expected)

    def test_endpoint(self) -> None:
        uri = "sip:a@b.example"
        self.assertEqual(self.effective(remote_sip_uri=uri)["endpoint"], ("trunk", "default"))
        settings = "asterisk: {trusted_endpoint: inside}"
        self.assertEqual(
            self.effective(settings, trusted=True, remote_sip_uri=uri)["endpoint"], ("inside", "installation")
        )

    def test_no_secret_is_named(self) -> None:
        text = repr(self.effective("mail: {user: a, password: hunter2, tls: starttls, host: b}"))
        self.assertNotIn("hunter2", text)

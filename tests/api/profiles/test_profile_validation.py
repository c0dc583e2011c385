"""Tests of voxrec.api.profiles.profile_validation."""

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.api.profiles.profile_validation import ProfileValidator, channel_errors
from voxrec.model import Profile, RecordChannels, Role
from voxrec.web.auth import Principal
from voxrec.web.request import Request

CREATED_AT: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
KNOWN_PROMPT: Final = uuid4()
UUID1: Final = UUID("1b4e28ba-2fa1-11d2-883f-0016d3cca427")  # of version 1
REQUEST: Final = Request(
    method="PUT",
    path="/profiles",
    ids={},
    headers={},
    raw_query=b"",
    raw_body=b"",
    principal=Principal("test", Role.ADMIN),
)


async def prompt_exists(prompt_id: UUID) -> bool:
    return prompt_id == KNOWN_PROMPT


class ProfileValidatorTests(SynchronousTestCase):
    def test_fields_with_errors(self) -> None:
        validator = ProfileValidator(("*.example",), ("wav", "mp3"), prompt_exists)
        rows: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({}, []),
            ({"remote_sip_uri": "sip:desk@pbx.example"}, []),
            ({"remote_sip_uri": "sip:desk@elsewhere.test"}, ["remoteSipUri"]),
            ({"record_format": "gsm"}, ["recordFormat"]),
            ({"id": UUID1}, ["id"]),
            ({"record_prompt_custom_id": KNOWN_PROMPT}, []),
            ({"record_prompt_custom_id": uuid4()}, ["recordPromptCustomId"]),
            ({"record_prompt_custom_id": UUID1, "record_format": "gsm"}, ["recordFormat", "recordPromptCustomId"]),
        )
        for values, fields in rows:
            with subtest(values):
                errors = self.successResultOf(Deferred.fromCoroutine(validator.validate_values(REQUEST, values)))
                self.assertEqual([error.field for error in errors], fields)


class ChannelErrorsTests(SynchronousTestCase):
    def test_two_channels_in_a_format_of_one(self) -> None:
        profile = Profile(
            id=uuid4(),
            record_format="gsm",
            record_channels=RecordChannels.DUAL,
            created_at=CREATED_AT,
            updated_at=CREATED_AT,
        )
        errors = channel_errors({"record_format"}, profile)
        self.assertEqual([error.field for error in errors], ["recordFormat", "recordChannels"])
        self.assertEqual(channel_errors({"name"}, profile), [])

"""The samples of the guide for receivers of webhooks verify what voxrec signs."""

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from voxrec.model import WebhookEvent
from voxrec.webhooks.sender import TEST_EVENT
from voxrec.webhooks.signature import signature_headers

GUIDE: Final = Path(__file__).parents[2] / "docs" / "webhooks.md"
SECRETS: Final = ("whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfOlqpk4JA=", "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
MESSAGE_ID: Final = UUID("6a1b9f6e-0c5b-4f5e-8a58-6f0f7f3f2a10")
BODY: Final = '{"type": "recording.completed", "data": {"fromName": "Jörg"}}'.encode()


class WebhookGuideTests(SynchronousTestCase):
    def receivers(self) -> list[Callable[[str, dict[str, str], bytes], Any]]:
        """Return the function of each sample."""
        samples = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.MULTILINE | re.DOTALL)
        self.assertEqual(len(samples), 2)
        functions = []
        for sample in samples:
            namespace: dict[str, Any] = {}
            exec(sample, namespace)  # noqa: S102 - of this repository
            functions.append(namespace["receive"])
        return functions

    def test_the_samples_accept_either_secret_during_a_rotation(self) -> None:
        headers = signature_headers(SECRETS, MESSAGE_ID, int(time.time()), BODY)
        for receive in self.receivers():
            for secret in SECRETS:
                self.assertEqual(receive(secret, headers, BODY)["data"]["fromName"], "Jörg")

    def test_the_samples_refuse_other_messages(self) -> None:
        now = int(time.time())
        valid = signature_headers(SECRETS[:1], MESSAGE_ID, now, BODY)
        for receive in self.receivers():
            for secret, headers, body in (
                (SECRETS[1], valid, BODY),
                (SECRETS[0], valid, BODY + b" "),
                (SECRETS[0], {**valid, "webhook-id": "another"}, BODY),
                (SECRETS[0], signature_headers(SECRETS[:1], MESSAGE_ID, now - 400, BODY), BODY),
            ):
                with self.assertRaises(Exception):  # noqa: B017 - each sample has its own
                    receive(secret, headers, body)

    def test_every_type_is_described(self) -> None:
        table = GUIDE.read_text().partition("## Events")[2].partition("## Requests")[0]
        self.assertEqual(set(re.findall(r"`(\w+\.\w+)`", table)), {*WebhookEvent, TEST_EVENT})

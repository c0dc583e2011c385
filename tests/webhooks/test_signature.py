"""Tests of voxrec.webhooks.signature, against the reference implementation of Standard Webhooks."""

import time
from datetime import UTC, datetime
from uuid import UUID

from standardwebhooks.webhooks import Webhook, WebhookVerificationError
from twisted.trial.unittest import SynchronousTestCase

from voxrec.webhooks.signature import signature_headers

OLD = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
NEW = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oDazfOlqpk4JA="
MESSAGE_ID = UUID("6a1b9f6e-0c5b-4f5e-8a58-6f0f7f3f2a10")
BODY = '{"type": "recording.completed", "name": "Jörg"}'.encode()


class SignatureTests(SynchronousTestCase):
    def headers(self, *secrets: str) -> dict[str, str]:
        return signature_headers(secrets, MESSAGE_ID, int(time.time()), BODY)

    def test_the_reference_implementation_accepts_it(self) -> None:
        self.assertEqual(Webhook(NEW).verify(BODY, self.headers(NEW))["name"], "Jörg")

    def test_both_secrets_are_accepted_during_a_rotation(self) -> None:
        headers = self.headers(NEW, OLD)
        for secret in (OLD, NEW):
            Webhook(secret).verify(BODY, headers)
        with self.assertRaises(WebhookVerificationError):
            Webhook(OLD).verify(BODY, self.headers(NEW))

    def test_the_id_the_time_and_the_body_are_signed(self) -> None:
        headers = self.headers(NEW)
        for name, value in (("webhook-id", "another"), ("webhook-timestamp", str(int(time.time()) + 1))):
            with self.assertRaises(WebhookVerificationError):
                Webhook(NEW).verify(BODY, {**headers, name: value})
        with self.assertRaises(WebhookVerificationError):
            Webhook(NEW).verify(BODY + b" ", headers)

    def test_known_value(self) -> None:
        """The example of the specification, section "Signature scheme"."""
        body = b'{"test": 2432232314}'
        expected = Webhook(OLD).sign("msg", datetime.fromtimestamp(1614265330, UTC), body.decode())
        headers = signature_headers([OLD], "msg", 1614265330, body)  # type: ignore[arg-type] # any text is signed
        self.assertEqual(headers["webhook-signature"], expected)

"""The secrets of webhooks."""

import base64
import re

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from voxrec.model.webhook import Secret, secret_errors


class SecretTests(SynchronousTestCase):
    def test_the_schema_accepts_what_is_accepted(self) -> None:
        pattern = re.compile(msgspec.json.schema(Secret)["pattern"])
        accepted = []
        for size in range(70):
            secret = f"whsec_{base64.b64encode(bytes(size)).decode()}"
            for text in (secret, secret.removesuffix("="), f"{secret}=", f"{secret}A", secret.removeprefix("whsec_")):
                self.assertEqual(pattern.fullmatch(text) is not None, not secret_errors(text), text)
            if not secret_errors(secret):
                accepted.append(size)
        self.assertEqual(accepted, list(range(24, 65)))

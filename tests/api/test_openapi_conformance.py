"""The running server conforms to its OpenAPI document, as checked by schemathesis."""

import os
import sys
from pathlib import Path
from typing import Final
from uuid import UUID

from twisted.internet.utils import getProcessOutputAndValue

from tests.api.rest_test_case import PROMPT_ID, RestTestCase
from tests.database import reactor
from tests.mail.key_pairs import make_certificate
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.password_throttle import PasswordThrottle

JOB_ID: Final = UUID("66666666-6666-4666-8666-666666666666")
SETTINGS: Final = """
seed = 20260131
continue-on-failure = true

[auth.openapi.token]
bearer = "admin"

[generation]
max-examples = 12
allow-x00 = false  # JSON Schema cannot exclude this character from free-form metadata
database = "none"

# a valid request may still name another version (412) or what has no file any more (410), be too large (413), request a
# range beyond the end (416), or come too often (429)
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "401", "403", "404", "409", "410", "412", "413", "416", "429"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "5xx"]

[phases.stateful]
max-steps = 6
"""


class OpenApiConformanceTests(RestTestCase):
    timeout = 1500
    max_unfinished_exports = 10**6

    async def test_schemathesis(self) -> None:
        self.patch(LoginThrottle, "FREE_FAILURES", 10**9)  # schemathesis sends hundreds of invalid tokens
        self.patch(PasswordThrottle, "FREE_FAILURES", 10**9)  # and wrong passwords
        self.patch(PasswordThrottle, "ACCOUNT_FAILURES", 10**9)
        directory = self.make_directory()
        settings = directory / "schemathesis.toml"
        settings.write_text(SETTINGS)
        profile = await self.add_profile()
        await self.pool.execute(
            "INSERT INTO jobs (id, kind, recording_id, dead, last_error) VALUES (%s, 'mail', %s, TRUE, '550 never')",
            (JOB_ID, PROMPT_ID),
        )
        url = f"http://127.0.0.1:{self.port}"
        program = Path(sys.executable).with_name("schemathesis")
        command = [
            *("--config-file", str(settings), "run", f"{url}/openapi.json", "--url", url),
            *("--checks", "all", "--no-color"),
            *("--request-timeout", "10", "--exclude-path", "/events"),  # the stream does not end
        ]
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "CONTRACT_PROFILE": str(profile.id),
            "CONTRACT_PROMPT": str(PROMPT_ID),
            "CONTRACT_JOB": str(JOB_ID),
            "CONTRACT_CERTIFICATE": make_certificate("ann@example.org").decode(),
        }
        out, err, code = await getProcessOutputAndValue(
            str(program), command, environment, str(directory), reactor=reactor
        )
        output = "\n".join(line[:1000] for line in (out + err).decode().splitlines())
        self.assertEqual(code, 0, output)

"""The running server does what its OpenAPI document says, as far as schemathesis can tell."""

import os
import sys
from pathlib import Path
from typing import Final
from uuid import UUID

from twisted.internet.utils import getProcessOutputAndValue

from tests.api.rest_test_case import PROMPT_ID, RestTestCase
from tests.database import reactor
from voxrec.web.login_throttle import LoginThrottle

JOB: Final = UUID("66666666-6666-4666-8666-666666666666")
SETTINGS: Final = """
seed = 20260131
continue-on-failure = true

[auth.openapi.token]
bearer = "admin"

[generation]
max-examples = 12
allow-x00 = false  # no schema can say that free metadata must not hold this character
database = "none"

# what is well-formed may still be about another version (412), be too long in all (413) or lie beyond the end (416)
[checks.positive_data_acceptance]
expected-statuses = ["2xx", "304", "401", "403", "404", "409", "412", "413", "416"]

[checks.negative_data_rejection]
expected-statuses = ["400", "401", "403", "404", "405", "406", "409", "412", "413", "415", "422", "5xx"]

[phases.stateful]
max-steps = 6
"""


class ContractTests(RestTestCase):
    timeout = 180

    async def test_all_checks_of_schemathesis(self) -> None:
        self.patch(LoginThrottle, "FREE_FAILURES", 10**9)  # wrong tokens come from the same address by the hundred
        directory = self.make_directory()
        settings = directory / "schemathesis.toml"
        settings.write_text(SETTINGS)
        profile = await self.add_profile()
        await self.pool.execute(
            "INSERT INTO jobs (id, kind, recording_id, dead, last_error) VALUES (%s, 'mail', %s, TRUE, '550 never')",
            (JOB, PROMPT_ID),
        )
        url = f"http://127.0.0.1:{self.port}"
        program = Path(sys.executable).with_name("schemathesis")
        command = [
            *("--config-file", str(settings), "run", f"{url}/openapi.json", "--url", url),
            *("--checks", "all", "--no-color"),
            *("--request-timeout", "10", "--exclude-path", "/events"),  # which never ends
        ]
        environment = {
            **os.environ,
            "SCHEMATHESIS_HOOKS": "tests.api.schemathesis_hooks",
            "PYTHONPATH": str(Path(__file__).parents[2]),
            "CONTRACT_PROFILE": str(profile.id),
            "CONTRACT_PROMPT": str(PROMPT_ID),
            "CONTRACT_JOB": str(JOB),
        }
        out, err, code = await getProcessOutputAndValue(
            str(program), command, environment, str(directory), reactor=reactor
        )
        told = "\n".join(line[:1000] for line in (out + err).decode().splitlines())
        self.assertEqual(code, 0, told)

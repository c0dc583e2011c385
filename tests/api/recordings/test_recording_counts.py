"""GET /recording-counts."""

from datetime import timedelta
from urllib.parse import urlencode

from tests.api.rest_test_case import CREATED_AT, RestTestCase
from tests.subtest import subtest
from voxrec.model import RecordingState, Role

DAY = "2026-01-31T00:00:00Z"
NEXT_DAY = "2026-02-01T00:00:00Z"
NONE = dict.fromkeys([state.value for state in RecordingState], 0)


class RecordingCountTests(RestTestCase):
    async def counts(self, token: str = "read", **query: str) -> dict[str, int]:
        response = await self.request("GET", f"/recording-counts?{urlencode(query)}", token=token)
        self.assertEqual(response.status, 200, response.body)
        return {key: value for key, value in response.json.items() if key in NONE}

    async def test_states_of_a_time_range(self) -> None:
        for state in (RecordingState.COMPLETED, RecordingState.COMPLETED, RecordingState.ABSENT):
            await self.add_recording(state=state)
        await self.add_recording(created_at=CREATED_AT - timedelta(days=1))
        await self.add_recording(created_at=CREATED_AT + timedelta(days=1))
        expected = {**NONE, "completed": 2, "absent": 1}
        self.assertEqual(await self.counts(since=DAY, until=NEXT_DAY), expected)
        self.assertEqual(await self.counts(until=NEXT_DAY), expected, "one day by default")
        at = "2026-01-31T09:30:00Z"
        self.assertEqual(await self.counts(since=at, until=NEXT_DAY), expected, "the beginning is included")
        self.assertEqual(await self.counts(since=DAY, until=at), NONE, "the end is not included")
        self.assertEqual(await self.counts(), NONE)

    async def test_a_limited_token_counts_its_profiles_only(self) -> None:
        own = await self.add_profile()
        await self.add_recording(profile_id=own.id)
        await self.add_recording()
        secret = await self.scoped_token(own.id, role=Role.READ)
        self.assertEqual(await self.counts(secret, until=NEXT_DAY), {**NONE, "completed": 1})

    async def test_invalid_ranges(self) -> None:
        for query, field in (
            ({"since": NEXT_DAY, "until": DAY}, "since"),
            ({"since": "2026-01-01T00:00:00Z", "until": NEXT_DAY}, "since"),
            ({"since": "2026-01-01T00:00:00Z"}, "since"),
            ({"until": "yesterday"}, "until"),
            ({"limit": "5"}, "limit"),
        ):
            with subtest(query):
                response = await self.request("GET", f"/recording-counts?{urlencode(query)}", token="read")
                self.assertEqual((response.status, response.error_fields), (422, [field]))
        response = await self.request("GET", "/recording-counts?until=0001-01-01T00:00:00Z", token="read")
        self.assertEqual(response.status, 200, response.body)

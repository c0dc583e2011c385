"""The description of the REST API in its OpenAPI document."""

from typing import Final

DESCRIPTION: Final = """\
voxrec answers calls from a SIP trunk, calls a SIP URI, connects both parties, and records the call.

Profiles define whom to call and how to record, for a dialled id or number. Recordings describe recorded and imported
calls, and lead to their audio. Prompts are custom announcements. Calls are the live calls of all nodes; events report
calls and recordings as they happen, and webhooks send them to other systems, signed and with retries. Jobs are the
pending and failed work for recordings, such as sending a mail. Users are persons who sign in with a password; programs
use tokens.

Requests and responses are JSON with names in camelCase. HEAD is supported wherever GET is. Responses with an `ETag`
support `If-None-Match` for retrieval and `If-Match` for conditional changes. Lists are complete unless `limit` is
given; the header `Link` then leads to the next page.

Every error is a problem document (RFC 9457) with a stable `code` for programs and a `detail` for people. If the input
is invalid, `errors` names every invalid field.\
"""

"""Webhooks: the endpoints that receive events by HTTP, and the messages that they receive."""

import enum
import re
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model.call import Call
from voxrec.model.fields import Text255, Timestamp, Uuid4, WebhookUrl, doc, duplicates, url_errors
from voxrec.model.recording import RecordingState, Verdict

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - the public part of every secret
MAX_HEADERS: Final = 20
_HEADER_NAME: Final = r"^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}$"  # RFC 9110 section 5.6.2
_HEADER_VALUE: Final = r"^[!-~](?:[ -~]*[!-~])?$"
# Set by voxrec, or about the connection (RFC 9110 section 7.6.1).
RESERVED_HEADERS: Final = frozenset(
    {
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-authorization",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "user-agent",
    }
)
RESERVED_PREFIX: Final = "webhook-"


class WebhookEvent(enum.StrEnum):
    """Type of an event that webhooks receive.

    - ``call.started``: a call has arrived
    - ``call.answered``: the far end has answered
    - ``call.ended``: the call has ended
    - ``recording.started``: the recording of a call has started
    - ``recording.paused``: the recording is paused
    - ``recording.resumed``: the recording continues after a pause
    - ``recording.completed``: the audio is stored and can be downloaded
    - ``recording.failed``: the audio could not be produced
    - ``recording.absent``: no audio is stored; the verdict contains the reason
    - ``recording.deleted``: the Recording was deleted by a user
    - ``recording.expired``: the Recording was deleted because its retention period has ended
    - ``export.completed``: the file of a bulk export can be downloaded
    - ``export.failed``: a bulk export has no file; `error` says why
    - ``delivery.failed``: a mail or a webhook about a Recording could not be delivered and is not retried, or a
      mail was returned; or it is not known whether a mail was delivered (`unconfirmed`)
    """

    CALL_STARTED = "call.started"
    CALL_ANSWERED = "call.answered"
    CALL_ENDED = "call.ended"
    RECORDING_STARTED = "recording.started"
    RECORDING_PAUSED = "recording.paused"
    RECORDING_RESUMED = "recording.resumed"
    RECORDING_COMPLETED = "recording.completed"
    RECORDING_FAILED = "recording.failed"
    RECORDING_ABSENT = "recording.absent"
    RECORDING_DELETED = "recording.deleted"
    RECORDING_EXPIRED = "recording.expired"
    EXPORT_COMPLETED = "export.completed"
    EXPORT_FAILED = "export.failed"
    DELIVERY_FAILED = "delivery.failed"


HeaderName = Annotated[str, Meta(pattern=_HEADER_NAME)]
HeaderValue = Annotated[str, Meta(pattern=_HEADER_VALUE, max_length=1024)]
_BASE64: Final = "[A-Za-z0-9+/]"
_SECRET_PATTERN: Final = (  # 24 to 63 bytes in base64, or 64 (Standard Webhooks 1.0, "Signature scheme")
    rf"^whsec_(?:(?:{_BASE64}{{4}}){{8,20}}(?:{_BASE64}{{2}}==|{_BASE64}{{3}}=)?"
    rf"|(?:{_BASE64}{{4}}){{21}}(?:{_BASE64}{{2}}==)?)$"
)
Secret = Annotated[
    str,
    Meta(
        description="Secret of the signatures: whsec_ and 24 to 64 bytes in base64.",
        examples=["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
        # for the OpenAPI document only: secret_errors() checks it, and its message is clearer than that of msgspec
        extra_json_schema={"pattern": _SECRET_PATTERN},
    ),
]


class Webhook(Struct, frozen=True, kw_only=True, rename="camel"):
    """An endpoint that receives events by HTTP POST, signed as Standard Webhooks 1.0 describes."""

    id: Annotated[Uuid4, doc("Id of the webhook, a UUID of version 4.")]
    profile_id: Annotated[
        UUID | None, doc("Profile whose events are sent. Null: events of all Profiles. It cannot be changed.")
    ] = None
    url: Annotated[WebhookUrl, doc("URL that receives the requests.")]
    description: Annotated[Text255 | None, doc("Description for people.")] = None
    events: Annotated[
        tuple[WebhookEvent, ...],
        Meta(description="Types of the events that are sent. Empty: all.", extra_json_schema={"uniqueItems": True}),
    ] = ()
    headers: Annotated[
        dict[HeaderName, HeaderValue],
        Meta(
            description="Additional headers of the requests, such as Authorization; not those that voxrec sets.",
            extra_json_schema={
                "maxProperties": MAX_HEADERS,
                "examples": [{"Authorization": "Bearer 4f7a"}],
            },
        ),
    ] = {}
    enabled: Annotated[bool, doc("Whether events are sent. What is pending waits while the webhook is disabled.")] = (
        True
    )
    disabled_reason: Annotated[str | None, doc("Why voxrec disabled the webhook. Null: it did not.")] = None
    failing_since: Annotated[
        datetime | None, doc("Time of the first of the latest attempts, all of which failed. Null: the last succeeded.")
    ] = None
    of_profile: Annotated[
        bool, doc("Whether this is the webhookUrl of the Profile: url follows it, and only the Profile can remove it.")
    ] = False
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    updated_at: Annotated[Timestamp, doc("Time of the last change by a client.")]

    def field_errors(self) -> list[FieldError]:
        """Check what the types of the fields cannot express."""
        return [error for check in _WEBHOOK_CHECKS for error in check(self)]


class WebhookSecret(Struct, frozen=True, kw_only=True, rename="camel"):
    """The secrets of a webhook. Requests have a signature of each of them, separated by a space."""

    secret: Secret
    previous_secret: Annotated[Secret | None, doc("Secret before the last rotation, if it is still used.")] = None
    previous_secret_expires_at: Annotated[
        datetime | None, doc("Time after which the previous secret is not used any more.")
    ] = None


class WebhookAttempt(Struct, frozen=True, kw_only=True, rename="camel"):
    """An attempt to send an event to a webhook."""

    id: Annotated[UUID, doc("Id of the attempt.")]
    created_at: Annotated[datetime, doc("Time at which the attempt began.")]
    message_id: Annotated[UUID, doc("Id of the message: the header webhook-id.")]
    delivery_id: Annotated[UUID, doc("Id of the delivery, which is the same for all attempts.")]
    event: Annotated[WebhookEvent, doc("Type of the event.")]
    recording_id: Annotated[UUID | None, doc("Id of the Recording, if the event is about one.")] = None
    status: Annotated[int | None, doc("HTTP status of the response. Null: there was none.")] = None
    reply: Annotated[str, doc("Beginning of the response, or the error. Empty once the Recording was deleted.")]
    seconds: Annotated[float, doc("Duration of the attempt.")]


class WebhookRecording(Struct, frozen=True, kw_only=True, rename="camel"):
    """The Recording of an event.

    State, times, size and digest are those of the event. Parties, metadata and verdict are the current ones; they are
    null once the Recording was deleted.
    """

    id: Annotated[UUID, doc("Id of the Recording.")]
    profile_id: Annotated[UUID, doc("Id of the Profile.")]
    call_id: Annotated[UUID | None, doc("Id of the call. Null for imported audio.")] = None
    state: RecordingState
    started_at: Annotated[datetime | None, doc("Time at which the recording started.")] = None
    ended_at: Annotated[datetime | None, doc("Time at which the call ended.")] = None
    duration: Annotated[float | None, doc("Duration of the audio in seconds.")] = None
    size: Annotated[int | None, doc("Size of the audio file in bytes.")] = None
    sha256: Annotated[str | None, doc("SHA-256 digest of the audio file.")] = None
    hangup_cause: Annotated[int | None, doc("Q.850 cause code.")] = None
    node: Annotated[str | None, doc("Name of the node that recorded the call.")] = None
    format: Annotated[str | None, doc("Format of the stored audio.")] = None
    channels: Annotated[int | None, doc("Number of audio channels.")] = None
    from_: Annotated[str | None, doc("Number of the caller, unless it is withheld.")] = msgspec.field(
        default=None, name="from"
    )
    from_name: Annotated[str | None, doc("Display name of the caller.")] = None
    to: Annotated[str | None, doc("Dialled number or id.")] = None
    remote_sip_uri: Annotated[str | None, doc("SIP URI of the far end.")] = None
    verdict: Annotated[Verdict | None, doc("Result of the checks of the audio.")] = None
    metadata: Annotated[dict[str, Any] | None, doc("Custom data of the client.")] = None
    legal_hold: Annotated[bool | None, doc("Whether the Recording must not be deleted.")] = None
    expires_at: Annotated[datetime | None, doc("Time after which the Recording is deleted.")] = None
    url: Annotated[str | None, doc("URL of the Recording in the REST API. Null once it was deleted.")] = None
    audio_url: Annotated[str | None, doc("URL of the audio. Null until it can be downloaded.")] = None
    link_url: Annotated[
        str | None,
        doc(
            "Expiring link that opens in a browser without a token. Null unless links.in_webhooks is set and the "
            "event is recording.completed."
        ),
    ] = None


class DeliveryFailure(Struct, frozen=True, kw_only=True, rename="camel"):
    """A delivery that is not retried, or whose mail was returned. The Recording's deliveries name the recipient."""

    channel: Annotated[str, doc("mail or webhook.")]
    delivery_id: Annotated[UUID | None, doc("Id of the delivery. Null for mails that the relay did not accept.")] = None
    webhook_id: Annotated[UUID | None, doc("Id of the webhook. Null for mail.")] = None
    event: Annotated[str, doc("Type of the event that could not be delivered.")]
    recording_id: Annotated[UUID | None, doc("Id of the Recording.")] = None
    call_id: Annotated[UUID | None, doc("Id of the call.")] = None
    profile_id: Annotated[UUID | None, doc("Id of the Profile.")] = None
    attempts: Annotated[int, doc("Number of attempts.")]
    status: Annotated[
        str | None,
        doc("Enhanced status code (RFC 3463) of a mail that was accepted and returned, such as 5.1.1. Null: none."),
    ] = None
    unconfirmed: Annotated[
        bool,
        doc(
            "Whether the mail may have been delivered: the mail server received it, but did not say whether it accepts "
            "it."
        ),
    ] = False


WebhookCall: Final[Any] = msgspec.defstruct(
    "WebhookCall",
    [
        (field.name, field.type | None if field.name == "to" else field.type, msgspec.field(name=field.encode_name))
        if field.required
        else (field.name, field.type, msgspec.field(default=field.default, name=field.encode_name))
        for field in sorted(msgspec.structs.fields(Call), key=lambda field: not field.required)
    ],
    frozen=True,
    namespace={"__doc__": "The call of an event. Its parties are null once the Recording of the call was deleted."},
)


class WebhookExport(Struct, frozen=True, kw_only=True, rename="camel"):
    """The bulk export of an event."""

    id: Annotated[UUID, doc("Id of the export.")]
    created_by: Annotated[str, doc("Name of the token that created it.")]
    description: Annotated[str | None, doc("Description for people.")] = None
    state: Annotated[str, doc("completed or failed.")]
    error: Annotated[str | None, doc("Why there is no file.")] = None
    format: Annotated[str, doc("Format of the file.")]
    recordings: Annotated[int, doc("Number of recordings in the file.")]
    missing: Annotated[int, doc("Number of recordings that the manifest names as missing.")]
    size: Annotated[int | None, doc("Size of the file in bytes.")] = None
    sha256: Annotated[str | None, doc("SHA-256 digest of the file.")] = None
    expires_at: Annotated[datetime | None, doc("Time after which the file is deleted.")] = None
    url: Annotated[str, doc("URL of the export in the REST API.")]
    file_url: Annotated[str | None, doc("URL of the file. Null if there is none.")] = None


class CallMessage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a webhook request about a call."""

    type: Annotated[WebhookEvent, doc("Type of the event.")]
    timestamp: Annotated[datetime, doc("Time of the event.")]
    sequence: Annotated[int | None, doc("1 for the first event of this call, 2 for the next one.")] = None
    data: WebhookCall


class RecordingMessage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a webhook request about a Recording."""

    type: Annotated[WebhookEvent, doc("Type of the event.")]
    timestamp: Annotated[datetime, doc("Time of the event.")]
    sequence: Annotated[int | None, doc("1 for the first event of this Recording, 2 for the next one.")] = None
    data: WebhookRecording


class ExportMessage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a webhook request about a bulk export."""

    type: Annotated[WebhookEvent, doc("Type of the event.")]
    timestamp: Annotated[datetime, doc("Time of the event.")]
    # not only None: code generators have no type for that
    sequence: Annotated[int | None, doc("Always null: events of exports are not numbered.")] = None
    data: WebhookExport


class DeliveryMessage(Struct, frozen=True, kw_only=True, rename="camel"):
    """The body of a webhook request about a delivery that failed."""

    type: Annotated[WebhookEvent, doc("Type of the event.")]
    timestamp: Annotated[datetime, doc("Time of the event.")]
    sequence: Annotated[int | None, doc("Number of the event of this Recording. Null if it was deleted.")] = None
    data: DeliveryFailure


def secret_errors(secret: str) -> list[FieldError]:
    """Return an error if a secret does not have the form of Standard Webhooks."""
    if re.fullmatch(_SECRET_PATTERN, secret):
        return []
    return [
        FieldError("secret", f"must be {SECRET_PREFIX} and 24 to 64 bytes in base64", FieldErrorCode.SECRET_INVALID)
    ]


def _check_url(webhook: Webhook) -> list[FieldError]:
    if webhook.of_profile:  # stored as the Profile has it
        return []
    return url_errors("url", webhook.url)


def _check_events(webhook: Webhook) -> list[FieldError]:
    return [
        FieldError("events", f"duplicate event {event}", FieldErrorCode.DUPLICATE, {"value": str(event)})
        for event in duplicates(webhook.events)
    ]


def _check_headers(webhook: Webhook) -> list[FieldError]:
    errors = []
    if len(webhook.headers) > MAX_HEADERS:
        message = f"has {len(webhook.headers)} headers; at most {MAX_HEADERS} are allowed"
        errors.append(FieldError("headers", message, FieldErrorCode.TOO_MANY, {"maximum": MAX_HEADERS}))
    names = [name.lower() for name in webhook.headers]
    errors += [
        FieldError("headers", f"duplicate header {name}", FieldErrorCode.DUPLICATE, {"value": name})
        for name in duplicates(names)
    ]
    for name, value in webhook.headers.items():
        if name.lower() in RESERVED_HEADERS or name.lower().startswith(RESERVED_PREFIX):
            message = f"{name} is set by voxrec; use another name"
            errors.append(FieldError("headers", message, FieldErrorCode.HEADER_RESERVED, {"value": name}))
        # in Python, unlike in JSON Schema, "$" also matches before a trailing line feed
        if not re.fullmatch(_HEADER_NAME, name) or not re.fullmatch(_HEADER_VALUE, value):
            message = f"{name!r} is not a valid header; expected visible ASCII characters"
            errors.append(FieldError("headers", message, FieldErrorCode.HEADER_INVALID, {"value": name}))
    return errors


_WEBHOOK_CHECKS: Final = (_check_url, _check_events, _check_headers)

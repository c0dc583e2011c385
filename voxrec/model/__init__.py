"""The domain types that all packages share.

The REST API represents them as JSON with the same fields in camel case, and generates its JSON Schema and descriptions
from them: docstrings use the JSON names of fields, and a constraint is declared once, in the type of the field.
"""

from voxrec.model.attempt import Attempt
from voxrec.model.audit import AccessPurpose, AuditEntry, AuditOutcome, RecordingAccess
from voxrec.model.bulk_action import (
    BulkAction,
    BulkActionItem,
    BulkActionKind,
    BulkActionState,
    BulkItemState,
    SkipReason,
)
from voxrec.model.call import Call, CallRequest, CallState
from voxrec.model.delivery import (
    DeliveryAttempt,
    DeliveryChannel,
    DeliveryReport,
    DeliveryStatus,
    RecordingDelivery,
    ReportAction,
)
from voxrec.model.event import Event, EventType
from voxrec.model.export import Export, ExportFormat, ExportQuery, ExportState
from voxrec.model.fields import metadata_errors, tag_errors
from voxrec.model.job import Job, JobKind, JobState
from voxrec.model.link import Link, LinkOrigin, LinkState, LinkUse
from voxrec.model.listening import Listening, ListeningEvent, ListeningEventType, ListeningReport, ListenSide
from voxrec.model.node import Node, NodeState, NodeStatus
from voxrec.model.note import Note, note_errors
from voxrec.model.profile import MailContent, Profile, RecordChannels, RecordPrompt, mail_addresses
from voxrec.model.profile_check import (
    CheckName,
    CheckState,
    EffectiveProfile,
    EffectiveSetting,
    ProfileCheck,
    ProfileCheckResult,
    SettingSource,
)
from voxrec.model.prompt import Prompt
from voxrec.model.recipient_certificate import (
    CertificateType,
    CertificateValidity,
    MailEncryption,
    MailProtection,
    MailRecipient,
    RecipientCertificate,
)
from voxrec.model.recording import (
    ANNOUNCEMENT_FAILED,
    ANNOUNCEMENT_FINISHED,
    HANGUP,
    LEG_SUFFIXES,
    NOT_BEGUN,
    RECORDING_CONTINUED,
    RECORDING_FAILED,
    RECORDING_STARTED,
    RECORDING_STOPPED,
    RECORDING_SUSPENDED,
    TAKEN_OVER,
    PauseBehavior,
    Recording,
    RecordingState,
    RtpCounters,
    RtpStatistics,
    Side,
    SideVerdict,
    StoredObject,
    TimelineEntry,
    Verdict,
    leg_name,
)
from voxrec.model.recording_query import Neighbors, Position, RecordingSort, SortPosition, VerdictFilter
from voxrec.model.token import Role, Token
from voxrec.model.user import Session, User
from voxrec.model.webhook import Webhook, WebhookAttempt, WebhookEvent, WebhookSecret

__all__ = [
    "ANNOUNCEMENT_FAILED",
    "ANNOUNCEMENT_FINISHED",
    "HANGUP",
    "LEG_SUFFIXES",
    "NOT_BEGUN",
    "RECORDING_CONTINUED",
    "RECORDING_FAILED",
    "RECORDING_STARTED",
    "RECORDING_STOPPED",
    "RECORDING_SUSPENDED",
    "TAKEN_OVER",
    "AccessPurpose",
    "Attempt",
    "AuditEntry",
    "AuditOutcome",
    "BulkAction",
    "BulkActionItem",
    "BulkActionKind",
    "BulkActionState",
    "BulkItemState",
    "Call",
    "CallRequest",
    "CallState",
    "CertificateType",
    "CertificateValidity",
    "CheckName",
    "CheckState",
    "DeliveryAttempt",
    "DeliveryChannel",
    "DeliveryReport",
    "DeliveryStatus",
    "EffectiveProfile",
    "EffectiveSetting",
    "Event",
    "EventType",
    "Export",
    "ExportFormat",
    "ExportQuery",
    "ExportState",
    "Job",
    "JobKind",
    "JobState",
    "Link",
    "LinkOrigin",
    "LinkState",
    "LinkUse",
    "ListenSide",
    "Listening",
    "ListeningEvent",
    "ListeningEventType",
    "ListeningReport",
    "MailContent",
    "MailEncryption",
    "MailProtection",
    "MailRecipient",
    "Neighbors",
    "Node",
    "NodeState",
    "NodeStatus",
    "Note",
    "PauseBehavior",
    "Position",
    "Profile",
    "ProfileCheck",
    "ProfileCheckResult",
    "Prompt",
    "RecipientCertificate",
    "RecordChannels",
    "RecordPrompt",
    "Recording",
    "RecordingAccess",
    "RecordingDelivery",
    "RecordingSort",
    "RecordingState",
    "ReportAction",
    "Role",
    "RtpCounters",
    "RtpStatistics",
    "Session",
    "SettingSource",
    "Side",
    "SideVerdict",
    "SkipReason",
    "SortPosition",
    "StoredObject",
    "TimelineEntry",
    "Token",
    "User",
    "Verdict",
    "VerdictFilter",
    "Webhook",
    "WebhookAttempt",
    "WebhookEvent",
    "WebhookSecret",
    "leg_name",
    "mail_addresses",
    "metadata_errors",
    "note_errors",
    "tag_errors",
]

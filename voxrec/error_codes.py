"""What is wrong with a field, and why a request was refused, as codes: for programs, and for pages in other languages.

The parameters of each are in brackets; docs/api.md lists them for clients.
"""

import enum


class FieldErrorCode(enum.StrEnum):
    """What is wrong with the value of a field."""

    INVALID = "invalid"
    """Anything for which there is no other code."""

    # types and limits
    REQUIRED = "required"
    UNKNOWN_FIELD = "unknown-field"  # [allowed]
    READ_ONLY = "read-only"
    WRONG_TYPE = "wrong-type"  # [expected]: a type of JSON
    NOT_ONE_OF = "not-one-of"  # [allowed]
    TOO_SHORT = "too-short"  # [minimum]: characters
    TOO_LONG = "too-long"  # [maximum]: characters
    TOO_SMALL = "too-small"  # [minimum]
    TOO_LARGE = "too-large"  # [maximum]
    NUMBER_RANGE = "number-range"  # [minimum, maximum]: not a number, or not in the range
    TOO_FEW = "too-few"  # [minimum]: items
    TOO_MANY = "too-many"  # [maximum]: items
    TOO_MANY_BYTES = "too-many-bytes"  # [maximum]: bytes of JSON
    TOO_DEEP = "too-deep"  # [maximum]: levels of arrays and objects
    DUPLICATE = "duplicate"  # [value]
    WRONG_FORMAT = "wrong-format"  # [example]: may be empty
    NUL_CHARACTER = "nul-character"
    INVISIBLE_CHARACTERS = "invisible-characters"
    BLANK = "blank"
    NO_WORD = "no-word"  # a search needs a letter or a digit
    UNENCODED_PLUS = "unencoded-plus"

    # times and ids
    NOT_A_TIMESTAMP = "not-a-timestamp"
    NO_UTC_OFFSET = "no-utc-offset"
    NOT_IN_FUTURE = "not-in-future"
    IN_FUTURE = "in-future"
    TOO_LATE = "too-late"  # [days]: from now
    EXPIRED = "expired"  # [days]: how long Recordings are kept
    NOT_LATER_THAN = "not-later-than"  # [other]: earlier, or the same time
    LATER_THAN = "later-than"  # [other]
    EARLIER_THAN = "earlier-than"  # [other]
    RANGE_TOO_LONG = "range-too-long"  # [days]
    NOT_A_UUID = "not-a-uuid"
    NOT_A_RANDOM_UUID = "not-a-random-uuid"
    NOT_A_CURSOR = "not-a-cursor"
    UNKNOWN_TIME_ZONE = "unknown-time-zone"  # [value]

    # other fields, stored objects and permissions
    REQUIRES = "requires"  # [other]
    CONFLICTS_WITH = "conflicts-with"  # [other]
    GREATER_THAN = "greater-than"  # [other, maximum]
    IN_USE = "in-use"  # [value]
    DOES_NOT_EXIST = "does-not-exist"  # [value]
    OF_ANOTHER_PROFILE = "of-another-profile"
    NOT_PERMITTED = "not-permitted"
    ROLE_WITHOUT_LIMITS = "role-without-limits"
    RESERVED_NAME = "reserved-name"  # [value]
    CONTAINS_NAME = "contains-name"
    WRONG_PASSWORD = "wrong-password"  # noqa: S105 (not a password)
    WRONG_CODE = "wrong-code"
    SIGNS_IN_ELSEWHERE = "signs-in-elsewhere"
    TOO_MANY_RECORDINGS = "too-many-recordings"  # [maximum]

    TAG_INVALID = "tag-invalid"  # [value]

    # numbers, addresses and URLs
    HOST_NOT_ALLOWED = "host-not-allowed"
    URL_INVALID = "url-invalid"
    URL_WITH_PASSWORD = "url-with-password"  # noqa: S105 (not a password)
    URL_OF_PROFILE = "url-of-profile"
    SECRET_INVALID = "secret-invalid"  # noqa: S105 (not a secret)
    HEADER_RESERVED = "header-reserved"  # [value]
    HEADER_INVALID = "header-invalid"  # [value]
    SIP_SCHEME = "sip-scheme"
    SIP_CHARACTER = "sip-character"  # [character]
    SIP_USER = "sip-user"  # [value]
    SIP_PASSWORD = "sip-password"  # noqa: S105 (not a password)
    SIP_HEADERS = "sip-headers"
    SIP_HOST = "sip-host"  # [value]
    SIP_PORT = "sip-port"  # [value]
    SIP_PARAMETER = "sip-parameter"  # [value, allowed]
    SIP_TRANSPORT = "sip-transport"  # [value, allowed]
    MAIL_NO_AT = "mail-no-at"  # [address]
    MAIL_TOO_LONG = "mail-too-long"  # [address, maximum]: octets
    MAIL_LOCAL_PART = "mail-local-part"  # [address]
    MAIL_LOCAL_PART_TOO_LONG = "mail-local-part-too-long"  # [address, maximum]: octets
    MAIL_DOMAIN = "mail-domain"  # [address]

    # audio
    ONE_CHANNEL_FORMAT = "one-channel-format"  # [format, allowed]
    ONE_CHANNEL_RECORDING = "one-channel-recording"
    CHANNEL_REQUIRED = "channel-required"  # [format, allowed]
    FORMAT_REQUIRED = "format-required"  # [allowed]
    ONLY_WITH_PAUSE = "only-with-pause"

    # certificates
    CERTIFICATE_DAMAGED = "certificate-damaged"
    CERTIFICATE_MISSING = "certificate-missing"
    CERTIFICATE_NOT_UNIQUE = "certificate-not-unique"  # [number]
    CERTIFICATE_PRIVATE_KEY = "certificate-private-key"
    CERTIFICATE_EXPIRED = "certificate-expired"  # [time]
    CERTIFICATE_NOT_YET_VALID = "certificate-not-yet-valid"  # [time]
    CERTIFICATE_KEY = "certificate-key"
    CERTIFICATE_KEY_SIZE = "certificate-key-size"  # [bits, minimum, maximum]
    CERTIFICATE_PURPOSE = "certificate-purpose"
    CERTIFICATE_ADDRESSES = "certificate-addresses"  # [number, maximum]
    CERTIFICATE_OTHER_ADDRESS = "certificate-other-address"  # [addresses, address]
    CERTIFICATE_ADDRESS_REQUIRED = "certificate-address-required"  # [addresses]
    CERTIFICATE_STORED = "certificate-stored"  # [address]


class ProblemReason(enum.StrEnum):
    """Why a request was refused, where the code of the problem, such as ``conflict``, has several causes."""

    # recordings and calls
    CALL_IN_PROGRESS = "call-in-progress"
    LEGAL_HOLD = "legal-hold"
    NOT_LIVE = "not-live"
    NOT_RECORDED_NOW = "not-recorded-now"
    RECORDED_ALREADY = "recorded-already"
    NOT_TALKING = "not-talking"
    NO_DISK_SPACE = "no-disk-space"
    CALL_REFUSED = "call-refused"
    CALL_NOT_AUDIBLE = "call-not-audible"
    LISTENING_NOT_PERMITTED = "listening-not-permitted"
    LISTENING_DISABLED = "listening-disabled"
    NOTE_OF_ANOTHER = "note-of-another"

    # audio that is uploaded
    AUDIO_CHANNELS = "audio-channels"  # [maximum]
    AUDIO_SAMPLE_RATE = "audio-sample-rate"  # [minimum, maximum]: Hz
    AUDIO_FORMAT = "audio-format"  # [allowed]
    AUDIO_TRUNCATED = "audio-truncated"
    AUDIO_UNUSABLE = "audio-unusable"

    # deliveries, jobs, bulk actions and exports
    NO_AUDIO_TO_MAIL = "no-audio-to-mail"
    DELIVERY_IN_PROGRESS = "delivery-in-progress"
    JOB_NOT_DEAD = "job-not-dead"
    JOB_NOT_UNCONFIRMED = "job-not-unconfirmed"
    JOB_NEEDED = "job-needed"
    PREVIEW_EXPIRED = "preview-expired"
    BULK_ACTION_ENDED = "bulk-action-ended"
    BULK_ACTION_OF_ANOTHER = "bulk-action-of-another"
    TOO_MANY_PREVIEWS = "too-many-previews"  # [maximum]
    TOO_MANY_EXPORTS = "too-many-exports"  # [maximum]

    # limits and other objects
    RATE_LIMIT = "rate-limit"  # [maximum, seconds, wait]
    IN_USE = "in-use"
    WEBHOOK_OF_PROFILE = "webhook-of-profile"

    # signing in
    ROLE_REQUIRED = "role-required"  # [role]
    ALL_PROFILES_REQUIRED = "all-profiles-required"
    CROSS_ORIGIN = "cross-origin"
    PASSWORDS_REFUSED = "passwords-refused"
    NO_PASSWORD = "no-password"  # noqa: S105 (not a password)
    NO_SESSION = "no-session"
    SECOND_FACTOR_REQUIRED = "second-factor-required"
    NO_SECOND_FACTOR = "no-second-factor"
    ENROLMENT_EXPIRED = "enrolment-expired"
    SIGN_IN_USED = "sign-in-used"
    CHANGED_MEANWHILE = "changed-meanwhile"

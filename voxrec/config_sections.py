"""The sections of the settings: the type, the range and the default of each setting. etc/voxrec.yaml documents them."""

from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from voxrec.log_output import LevelName, LogFormat

BUCKET_PATTERN: Final = r"^([a-z0-9][a-z0-9.-]{1,61}[a-z0-9])?$"
"""The name of a bucket (Amazon S3 User Guide, "General purpose bucket naming rules"), or nothing."""
PREFIX_PATTERN: Final = r"^([A-Za-z0-9!_.*'()-]+/)*$"
"""What keys begin with: names that end with a slash, of characters that every store accepts."""
Duration = Annotated[float, Meta(gt=0, le=86400)]
Port = Annotated[int, Meta(ge=1, le=65535)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")]
RoleName = Literal["read", "supervise", "provision", "admin"]
Claim = Annotated[str, Meta(min_length=1, max_length=255)]


class Secret(str):
    """A string whose repr does not reveal it, for passwords and tokens in logs and tracebacks."""

    __slots__ = ()

    def __repr__(self) -> str:
        return "'***'"


class Asterisk(Struct, frozen=True, kw_only=True):
    """Connection to Asterisk, and the directories that it shares with voxrec."""

    url: str = "http://127.0.0.1:8088/ari"
    user: str = "voxrec"
    password: Secret = Secret("")
    password_file: str = ""
    ami_url: str = "tcp://127.0.0.1:5038"
    ami_user: Name = "voxrec"
    ami_password: Secret = Secret("")
    ami_password_file: str = ""
    app: Name = "voxrec"
    endpoint: Name = "trunk"
    trusted_endpoint: Name = "trusted"
    recordings: str = "/var/spool/asterisk/recording"
    recordings_floor: Annotated[int, Meta(ge=0)] = 268_435_456
    sounds: str = "/var/lib/voxrec/sounds"
    sounds_in_asterisk: str = "/var/lib/voxrec/sounds"
    request_timeout: Duration = 10.0
    ping_interval: Duration = 10.0
    ping_timeout: Duration = 5.0
    event_queue: Annotated[int, Meta(ge=100, le=1_000_000)] = 10_000

    @property
    def ami_secret(self) -> Secret:
        """The password of the AMI user: by default that of ARI."""
        return self.ami_password or self.password


class Database(Struct, frozen=True, kw_only=True):
    """Connection to PostgreSQL. Without ``dsn`` voxrec runs an embedded server in its data directory."""

    dsn: Secret = Secret("")
    dsn_file: str = ""
    pool_size: Annotated[int, Meta(ge=2, le=100)] = 8
    connect_timeout: Duration = 10.0
    statement_timeout: Duration = 30.0
    failover_replay: Annotated[float, Meta(ge=0, le=3600)] = 300.0


class Rest(Struct, frozen=True, kw_only=True):
    """The REST API: address, administrator, limits."""

    listen: str = "tcp:8080:interface=127.0.0.1"
    public_url: str = "http://127.0.0.1:8080"
    admin_token: Secret = Secret("")
    admin_token_file: str = ""
    body_limit: Annotated[int, Meta(ge=1024, le=8_388_608)] = 1_048_576
    audio_limit: Annotated[int, Meta(ge=1024, le=1_099_511_627_776)] = 536_870_912
    connections: Annotated[int, Meta(ge=10, le=100_000)] = 1000
    connections_per_address: Annotated[int, Meta(ge=0, le=100_000)] = 200
    requests_per_token: Annotated[int, Meta(ge=1, le=100_000)] = 200
    head_timeout: Duration = 20.0
    body_timeout: Duration = 60.0
    conversions: Annotated[int, Meta(ge=1, le=1000)] = 16
    conversions_per_token: Annotated[int, Meta(ge=1, le=1000)] = 4
    conversion_size: Annotated[int, Meta(ge=1_048_576, le=1_099_511_627_776)] = 268_435_456
    upload_rate: Annotated[int, Meta(ge=1, le=1_000_000_000)] = 4096
    trusted_proxies: tuple[str, ...] = ()
    proxy_header: Literal["x-forwarded-for", "forwarded"] = "x-forwarded-for"
    cors_origins: tuple[Annotated[str, Meta(pattern=r"^(\*|https?://[^/\s]+)$")], ...] = ()
    metrics: Literal["open", "token"] = "token"
    access_log: bool = False
    event_days: Annotated[int, Meta(ge=1, le=3650)] = 7
    session_idle_timeout: Annotated[float, Meta(ge=60, le=604_800)] = 1800.0
    session_lifetime: Annotated[float, Meta(ge=60, le=7_776_000)] = 43200.0
    passwords: Literal["all", "admin", "none"] = "all"
    second_factor: tuple[RoleName, ...] = ()


class OpenIdConnect(Struct, frozen=True, kw_only=True):
    """The OpenID Connect provider at which users sign in to the console. Without ``issuer`` there is none."""

    issuer: str = ""
    client_id: Annotated[str, Meta(max_length=255)] = ""
    client_secret: Secret = Secret("")
    client_secret_file: str = ""
    label: Annotated[str, Meta(max_length=64)] = ""
    scopes: tuple[Annotated[str, Meta(pattern=r"^[!#-\[\]-~]+$")], ...] = ("openid", "profile", "email")
    name_claim: Claim = "preferred_username"
    role_claim: Claim = "groups"
    roles: dict[str, RoleName] = {}
    default_role: Literal["", "read", "supervise", "provision", "admin"] = ""
    profile_claim: Annotated[str, Meta(max_length=255)] = ""
    profiles: dict[str, tuple[str, ...]] = {}
    ca_file: str = ""
    timeout: Annotated[float, Meta(ge=1, le=60)] = 10.0


class Calls(Struct, frozen=True, kw_only=True):
    """Limits and announcements of calls, and what happens to them when the daemon stops."""

    ring_timeout: Duration = 60.0
    setup_timeout: Duration = 10.0
    max_call: Duration = 86400.0
    max_calls: Annotated[int, Meta(ge=0, le=100_000)] = 0
    on_stop: Literal["keep", "end"] = "keep"
    grace: Annotated[float, Meta(ge=0, le=86400)] = 30.0
    max_passages: Annotated[int, Meta(ge=1, le=20)] = 3
    max_redirects: Annotated[int, Meta(ge=0, le=20)] = 5
    allowed_hosts: tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...] = ()
    trusted_hosts: tuple[Annotated[str, Meta(min_length=1, max_length=253)], ...] = ()
    log_numbers: bool = False
    announcement: str = ""
    jitter_buffer: bool = False
    beep: Annotated[str, Meta(pattern=r"^(sound|tone|recording):[!-~]+$")] = "sound:beep"
    pause_sound: Annotated[str, Meta(pattern=r"^((sound|tone|recording):[!-~]+)?$")] = "tone:!740/120,!0/40,!587/200"
    resume_sound: Annotated[str, Meta(pattern=r"^((sound|tone|recording):[!-~]+)?$")] = "tone:!587/120,!0/40,!740/200"


class Archive(Struct, frozen=True, kw_only=True):
    """Storage of finished Recordings."""

    directory: str = ""
    shared: bool = True
    orphan_days: Annotated[int, Meta(ge=0, le=36500)] = 30


class S3(Struct, frozen=True, kw_only=True):
    """The S3 store to which finished Recordings are uploaded. Without ``bucket`` they stay in the local archive."""

    bucket: Annotated[str, Meta(pattern=BUCKET_PATTERN)] = ""
    prefix: Annotated[str, Meta(pattern=PREFIX_PATTERN)] = ""
    endpoint: str = ""
    region: Annotated[str, Meta(pattern=r"^[a-z0-9-]{0,64}$")] = ""
    addressing: Literal["auto", "path", "virtual"] = "auto"
    access_key: Annotated[str, Meta(pattern=r"^[!-~]{0,128}$")] = ""
    secret_key: Secret = Secret("")
    secret_key_file: str = ""
    ca_file: str = ""
    encryption: Literal["none", "s3", "kms", "customer"] = "none"
    kms_key: str = ""
    customer_keys: Secret = Secret("")
    customer_keys_file: str = ""
    object_lock: Literal["off", "hold", "governance", "compliance"] = "off"
    storage_class: Annotated[str, Meta(pattern=r"^[A-Z_]{0,32}$")] = ""
    uploads: bool = True
    keep_local: bool = False
    download: Literal["proxy", "redirect"] = "proxy"
    redirect_seconds: Annotated[int, Meta(ge=10, le=604_800)] = 300
    concurrency: Annotated[int, Meta(ge=1, le=64)] = 4
    concurrency_per_bucket: Annotated[int, Meta(ge=1, le=64)] = 2
    part_size: Annotated[int, Meta(ge=5_242_880, le=1_073_741_824)] = 16_777_216
    parts_per_upload: Annotated[int, Meta(ge=1, le=16)] = 4
    timeout: Annotated[float, Meta(ge=1, le=300)] = 30.0
    retry_first: Duration = 5.0
    retry_limit: Duration = 600.0


class Mail(Struct, frozen=True, kw_only=True):
    """The SMTP relay that voxrec sends mail through."""

    host: str = "127.0.0.1"
    port: Port = 25
    tls: Literal["none", "starttls", "implicit"] = "none"
    ca_file: str = ""
    user: str = ""
    password: Secret = Secret("")
    password_file: str = ""
    sender: str = "voxrec@localhost"
    helo_domain: Annotated[str, Meta(pattern=r"^[A-Za-z0-9.\[\]:-]+$")] = "localhost"
    timeout: Duration = 60.0
    unconfirmed_attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    unconfirmed_retry: Duration = 1800.0
    attach_limit: Annotated[int, Meta(ge=0, le=1_073_741_824)] = 20_971_520
    copy_format: Literal["", "mp3", "opus"] = "mp3"
    encryption: Literal["none", "optional", "notice", "required"] = "optional"
    hide_subject: bool = True
    signing_certificate: str = ""
    signing_key: str = ""
    templates: str = ""
    language: Literal["en", "de"] = "en"
    time_zone: str = "UTC"


class Bounces(Struct, frozen=True, kw_only=True):
    """Mails that mail servers return. Without ``address`` they are returned to `mail.sender`."""

    address: str = ""
    listen: str = ""


class Queue(Struct, frozen=True, kw_only=True):
    """Execution of the jobs in the durable queue."""

    concurrency: Annotated[int, Meta(ge=1, le=64)] = 2
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 40
    lease: Duration = 600.0
    retry_first: Duration = 5.0
    retry_limit: Duration = 7200.0


class Node(Struct, frozen=True, kw_only=True):
    """The name of this installation among those that share one PostgreSQL."""

    name: str = ""


class Webhooks(Struct, frozen=True, kw_only=True):
    """Requests to webhooks: limits, retries, and the addresses that they may be sent to."""

    timeout: Annotated[float, Meta(gt=0, le=60)] = 15.0
    concurrency: Annotated[int, Meta(ge=1, le=1000)] = 64
    concurrency_per_target: Annotated[int, Meta(ge=1, le=100)] = 4
    attempts: Annotated[int, Meta(ge=1, le=1000)] = 21
    retry_first: Duration = 5.0
    retry_limit: Duration = 21600.0
    disable_days: Annotated[int, Meta(ge=1, le=365)] = 5
    history_days: Annotated[int, Meta(ge=4, le=3650)] = 30
    allowed_networks: tuple[str, ...] = ()
    ca_file: str = ""


class Links(Struct, frozen=True, kw_only=True):
    """Expiring links: how long they last, and where voxrec itself uses them."""

    days: Annotated[int, Meta(ge=1, le=3650)] = 7
    max_days: Annotated[int, Meta(ge=1, le=3650)] = 90
    delivery_days: Annotated[int, Meta(ge=1, le=3650)] = 30
    in_mails: bool = True
    in_webhooks: bool = False
    key_days: Annotated[int, Meta(ge=1, le=3650)] = 30


class Exports(Struct, frozen=True, kw_only=True):
    """Bulk exports: how long their files are kept, and what writing them may use."""

    days: Annotated[int, Meta(ge=1, le=365)] = 7
    rate: Annotated[int, Meta(ge=0, le=100_000_000_000)] = 50_000_000
    min_free: Annotated[int, Meta(ge=0, le=1_000_000_000_000_000)] = 1_073_741_824
    max_unfinished: Annotated[int, Meta(ge=1, le=10_000)] = 20


class Listening(Struct, frozen=True, kw_only=True):
    """Live listening: whether persons with the permission may hear calls while they take place."""

    enabled: bool = False
    max_listeners: Annotated[int, Meta(ge=1, le=1000)] = 10
    max_listeners_per_call: Annotated[int, Meta(ge=1, le=1000)] = 3
    notice: Annotated[str, Meta(pattern=r"^((sound|tone|recording):[!-~]+)?$")] = ""
    during_pause: Literal["silence", "audio"] = "silence"
    address: str = "127.0.0.1"


class Log(Struct, frozen=True, kw_only=True):
    """The log on standard output."""

    level: LevelName = "info"
    format: LogFormat = "text"

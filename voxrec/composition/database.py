"""The database: connection pool, schema migrations and repositories."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path

from voxrec.composition.environment import Environment
from voxrec.postgres.dsn import servers
from voxrec.postgres.migrate import migrate
from voxrec.postgres.migrated_pool import MigratedPool
from voxrec.postgres.pool import Pool
from voxrec.postgres.server_history import ServerHistory
from voxrec.service_tree import RETRY_BACKOFF
from voxrec.store.accesses import Accesses
from voxrec.store.audit import Audit
from voxrec.store.bulk_actions import BulkActions
from voxrec.store.call_attempts import CallAttempts
from voxrec.store.deliveries import Deliveries
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.delivery_reports import BounceKeys, DeliveryReports
from voxrec.store.events import Events
from voxrec.store.exports import Exports
from voxrec.store.idempotency import Idempotency
from voxrec.store.jobs import Jobs
from voxrec.store.links import Links
from voxrec.store.nodes import Nodes
from voxrec.store.notes import Notes
from voxrec.store.profile_changes import ProfileChanges
from voxrec.store.profiles import Profiles
from voxrec.store.prompts import Prompts
from voxrec.store.recipient_certificates import RecipientCertificates
from voxrec.store.recording_counts import RecordingCounts
from voxrec.store.recordings import Recordings
from voxrec.store.second_factors import SecondFactors
from voxrec.store.sessions import Sessions
from voxrec.store.sign_in import SignIn
from voxrec.store.tokens import Tokens
from voxrec.store.users import Users
from voxrec.store.webhook_queue import WebhookQueue
from voxrec.store.webhooks import Webhooks


@dataclass(frozen=True)
class Database:
    """The pool, the service that starts it, and the repositories that use it. ``dsn`` is the connection string.

    ``replay`` is the time in seconds for which a node keeps what PostgreSQL has committed, to repeat it after a
    failover; 0: not at all, since there is one server only.
    """

    dsn: str
    replay: float
    history: ServerHistory
    pool: Pool
    service: MigratedPool
    accesses: Accesses
    audit: Audit
    bounce_keys: BounceKeys
    bulk_actions: BulkActions
    call_attempts: CallAttempts
    deliveries: Deliveries
    delivery_history: DeliveryHistory
    delivery_reports: DeliveryReports
    events: Events
    exports: Exports
    idempotency: Idempotency
    jobs: Jobs
    links: Links
    nodes: Nodes
    notes: Notes
    profiles: Profiles
    prompts: Prompts
    recording_counts: RecordingCounts
    recipient_certificates: RecipientCertificates
    recordings: Recordings
    second_factors: SecondFactors
    sessions: Sessions
    sign_in: SignIn
    tokens: Tokens
    users: Users
    webhook_queue: WebhookQueue
    webhooks: Webhooks


def build_database(env: Environment, dsn: str) -> Database:
    """Build the pool for the PostgreSQL at ``dsn``, and the repositories."""
    settings = env.config.database
    history = ServerHistory(Path(env.config.data_directory, "postgres-timeline.json"))
    pool = Pool(
        env.reactor,
        dsn,
        size=settings.pool_size,
        statement_timeout=settings.statement_timeout,
        connect_timeout=settings.connect_timeout,
        history=history,
    )
    sessions = Sessions(pool, timedelta(seconds=env.config.rest.session_idle_timeout))
    return Database(
        dsn=dsn,
        replay=settings.failover_replay if len(servers(dsn)) > 1 else 0.0,
        history=history,
        pool=pool,
        service=MigratedPool(env.reactor, pool, partial(env.defer_to_thread, migrate, dsn), RETRY_BACKOFF),
        accesses=Accesses(pool),
        audit=Audit(pool),
        bounce_keys=BounceKeys(pool),
        bulk_actions=BulkActions(pool),
        call_attempts=CallAttempts(pool),
        deliveries=Deliveries(pool),
        delivery_history=DeliveryHistory(pool),
        delivery_reports=DeliveryReports(pool),
        events=Events(pool),
        exports=Exports(pool, env.config.rest.public_url.rstrip("/")),
        idempotency=Idempotency(pool),
        jobs=Jobs(pool),
        links=Links(pool, env.config.rest.public_url.rstrip("/"), timedelta(days=env.config.links.key_days)),
        nodes=Nodes(pool),
        notes=Notes(pool),
        profiles=Profiles(pool, changes=ProfileChanges(env.reactor, pool)),
        prompts=Prompts(pool),
        recording_counts=RecordingCounts(pool),
        recipient_certificates=RecipientCertificates(pool),
        recordings=Recordings(pool),
        second_factors=SecondFactors(pool),
        sessions=sessions,
        sign_in=SignIn(pool, sessions),
        tokens=Tokens(pool),
        users=Users(pool),
        webhook_queue=WebhookQueue(pool, per_target=env.config.webhooks.concurrency_per_target),
        webhooks=Webhooks(pool),
    )

"""The subsystems that are built before the REST API, which uses all of them."""

from dataclasses import dataclass

from voxrec.composition.bulk_actions import BulkActionServices
from voxrec.composition.calls import Calls
from voxrec.composition.database import Database
from voxrec.composition.exports import ExportServices
from voxrec.composition.nodes import NodeServices
from voxrec.composition.queue import Queue
from voxrec.composition.recordings import RecordingFiles
from voxrec.composition.webhooks import WebhookServices
from voxrec.mail.mailer import Mailer
from voxrec.store.profile_cache import ProfileCache


@dataclass(frozen=True, kw_only=True)
class Subsystems:
    """The subsystems of a gateway without its REST API, in the order in which they are built."""

    database: Database
    profiles: ProfileCache
    files: RecordingFiles
    mailer: Mailer
    queue: Queue
    calls: Calls
    webhooks: WebhookServices
    nodes: NodeServices
    exports: ExportServices
    bulk_actions: BulkActionServices

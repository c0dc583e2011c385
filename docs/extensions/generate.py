"""Write the parts of the documentation that are made from the code."""

from pathlib import Path

import voxrec.calls
from docs.extensions.log_messages import log_messages_page
from docs.extensions.metrics import metrics_page
from docs.extensions.settings import settings_page
from docs.extensions.state_machines import machines_in, pages, write_diagram


def generate(root: Path, target: Path) -> None:
    """Write the settings reference, the tables of metrics and log messages, and the state diagrams into ``target``."""
    target.mkdir(exist_ok=True)
    (target / "settings.md").write_text(settings_page(root / "etc" / "voxrec.yaml"), encoding="utf-8")
    (target / "metrics.md").write_text(metrics_page(root / "voxrec"), encoding="utf-8")
    (target / "log_messages.md").write_text(log_messages_page(root), encoding="utf-8")
    machines = machines_in(voxrec.calls)
    for machine in machines:
        write_diagram(machine, target / f"{machine.label}.svg")
    (target / "state_machines.md").write_text("\n".join(pages(machines, "_generated")), encoding="utf-8")

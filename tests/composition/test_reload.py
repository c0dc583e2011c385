"""Tests of voxrec.composition.reload: every setting either takes effect at a reload or is reported."""

import re
from pathlib import Path
from typing import Final

import msgspec
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from docs.extensions.settings import settings_in
from tests.test_config import REPOSITORY
from voxrec import config
from voxrec.composition.reload import RELOADABLE, Reloader, changed_settings, merge_reloadable
from voxrec.config import Config, parse
from voxrec.errors import ConfigError, FieldError

SECRET = "0123456789abcdefghijklmnopqrstuv"
WHOLE_SECTIONS: Final = ("calls", "listening", "log", "mail")
"""The sections of which every setting is reloadable."""


class ChangedSettingsTests(SynchronousTestCase):
    def test_settings_of_all_levels(self) -> None:
        new = parse("data_directory: /x\nmail: {port: 26, password: p, user: u}\ncalls: {allowed_hosts: [a]}")
        self.assertEqual(
            changed_settings(Config(), new),
            ["data_directory", "calls.allowed_hosts", "mail.port", "mail.user", "mail.password"],
        )
        self.assertEqual(changed_settings(new, new), [])

    def test_the_name_of_a_file_with_a_secret_does_not_count(self) -> None:
        Path("token").write_text(SECRET)
        before = parse(f"rest: {{admin_token: {SECRET}}}")
        after = parse("rest: {admin_token_file: token}")
        self.assertEqual(changed_settings(before, after), [])

    def test_the_name_of_another_file_counts(self) -> None:
        self.assertEqual(changed_settings(Config(), parse("mail: {ca_file: x}")), ["mail.ca_file"])


class MergeTests(SynchronousTestCase):
    def test_only_reloadable_settings_are_taken(self) -> None:
        new = parse("data_directory: /x\nrest: {connections: 20, listen: tcp:1}\nlog: {level: debug}")
        merged = merge_reloadable(Config(), new)
        self.assertEqual(changed_settings(Config(), merged), ["rest.connections", "log.level"])

    def test_reloadable_settings_exist(self) -> None:
        names = {setting.path for setting in settings_in(REPOSITORY / "etc" / "voxrec.yaml")}
        self.assertEqual(RELOADABLE - names, set())

    def test_the_settings_file_names_the_reloadable_settings(self) -> None:
        """Whole sections are named as such; of the others, each setting."""
        text = (REPOSITORY / "etc" / "voxrec.yaml").read_text().partition("\ndata_directory:")[0].replace("\n# ", " ")
        self.assertIn("The sections calls, listening, mail and log take effect at once", text)
        rest = [name.partition(".")[2] for name in sorted(RELOADABLE) if name.startswith("rest.")]
        self.assertIn(f"in rest, {', '.join(rest[:-1])} and {rest[-1]}.", text)
        for name in RELOADABLE:
            if name.partition(".")[0] not in (*WHOLE_SECTIONS, "rest"):
                self.assertIn(name, text)

    def test_the_documentation_names_the_reloadable_settings(self) -> None:
        page = (REPOSITORY / "docs" / "service.md").read_text()
        table = page.partition("\n## Changing settings\n")[2].partition("\n## ")[0]
        named = set(re.findall(r"`([a-z]+\.(?:[a-z_]+|\*))`", table)) - {"rest.listen"}  # only its files are read again
        others = {name for name in RELOADABLE if name.partition(".")[0] not in WHOLE_SECTIONS}
        self.assertEqual(named, others | {f"{section}.*" for section in WHOLE_SECTIONS})

    def test_whole_sections_are_reloadable(self) -> None:
        for section in WHOLE_SECTIONS:
            names = {f"{section}.{name}" for name in getattr(config, section.title()).__struct_fields__}
            self.assertEqual({name for name in names - RELOADABLE if not name.endswith("_file")}, set())


class ReloaderTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.applied: list[Config] = []

    def reload(self, *texts: str) -> list[tuple[str, str]]:
        """Reload each text in turn, and return level and text of the log messages."""
        loads = iter(texts)

        def load() -> Config:
            return parse(next(loads))

        reloader = Reloader(Config(), load, self.applied.append)
        with capturedLogs() as logs:
            for _ in texts:
                reloader.reload()
        return [(event["log_level"].name, str(formatEvent(event))) for event in logs]

    def test_what_needs_a_restart_is_reported_until_then(self) -> None:
        text = "rest: {listen: tcp:1, connections: 20}\ndatabase: {pool_size: 3}"
        self.assertEqual(
            self.reload(text, text),
            [
                ("info", "the settings were reloaded; changed: rest.connections"),
                ("warn", "restart voxrec to apply the changed settings database.pool_size, rest.listen"),
                ("info", "the settings were reloaded; changed: none"),
                ("warn", "restart voxrec to apply the changed settings database.pool_size, rest.listen"),
            ],
        )
        self.assertEqual(self.applied[1].rest, msgspec.structs.replace(Config().rest, connections=20))

    def test_secrets_are_not_logged(self) -> None:
        log = self.reload(f"rest: {{admin_token: {SECRET}}}\nasterisk: {{password: hush}}")
        self.assertIn("asterisk.password", str(log))
        self.assertNotIn("hush", str(log))
        self.assertNotIn(SECRET, str(log))

    def test_invalid_settings_are_all_reported_and_change_nothing(self) -> None:
        [(level, text)] = self.reload("mail: {port: 0, nonsense: 1}\ncalls: {max_calls: 3}")
        self.assertEqual(level, "error")
        self.assertIn("mail.port: invalid value 0", text)
        self.assertIn("mail.nonsense: unknown field", text)
        self.assertEqual(self.applied, [])

    def test_an_unreadable_file_changes_nothing(self) -> None:
        def load() -> Config:
            raise ConfigError("x: cannot read the file", [FieldError("a", "b")])

        with capturedLogs() as logs:
            Reloader(Config(), load, self.applied.append).reload()
        self.assertIn("cannot read the file\n  a: b", str(formatEvent(logs[0])))
        self.assertEqual(self.applied, [])

"""The texts of the console, and the library that it contains."""

import hashlib
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import voxrec.console
from tests.subtest import subtest
from voxrec.console.recording import SCRIPT_TEXTS
from voxrec.console.rendering import LANGUAGES
from voxrec.model import (
    AccessPurpose,
    AuditOutcome,
    CallState,
    DeliveryStatus,
    JobKind,
    LinkState,
    RecordingState,
    ReportAction,
    Role,
)
from voxrec.model.node import NodeState

DIRECTORY = Path(voxrec.console.__file__).parent


class TextTests(SynchronousTestCase):
    def test_all_languages_have_the_same_texts(self) -> None:
        english = LANGUAGES.available["en"]
        self.assertLessEqual({"en", "de"}, {*LANGUAGES.available})
        for language in LANGUAGES.available.values():
            with subtest(language.code):
                self.assertEqual({*language.texts}, {*english.texts})
                self.assertEqual({*language.texts["events"]}, {*english.texts["events"]})
                for key, text in english.texts.items():
                    names, expected = (set(re.findall(r"{\w+}", str(each))) for each in (language.texts[key], text))
                    self.assertEqual(names, expected, key)

    def test_every_value_has_a_text(self) -> None:
        texts = LANGUAGES.available["en"].texts
        for prefix, values in (
            ("state_", RecordingState),
            ("no_audio_", RecordingState),
            ("call_", CallState),
            ("delivery_", DeliveryStatus),
            ("link_state_", LinkState),
            ("access_", AccessPurpose),
            ("report_", ReportAction),
            ("role_", Role),
            ("outcome_", AuditOutcome),
            ("job_", JobKind),
            ("node_", NodeState),
        ):
            self.assertEqual([f"{prefix}{value}" for value in values if f"{prefix}{value}" not in texts], [])

    def test_the_texts_in_templates_exist(self) -> None:
        texts = LANGUAGES.available["en"].texts
        templates = "".join(path.read_text() for path in (DIRECTORY / "templates").iterdir())
        used = set(re.findall(r'\bt\("(\w+)"[,)]', templates))
        self.assertGreater(len(used), 40)
        self.assertEqual(used - {*texts}, set())

    def test_every_text_is_used(self) -> None:
        folders = (DIRECTORY, DIRECTORY / "templates", DIRECTORY / "assets", DIRECTORY.parent / "languages.py")
        files = [file for folder in folders for file in (folder.iterdir() if folder.is_dir() else [folder])]
        sources = "".join(file.read_text() for file in files if file.suffix in (".py", ".html", ".js"))
        prefixes = {*re.findall(r'"(\w+_)" ~', sources), *re.findall(r'f"(\w+_)\{', sources)}
        self.assertGreater(len(prefixes), 20)
        unused = [
            key
            for key in LANGUAGES.available["en"].texts
            if f'"{key}"' not in sources and not key.startswith((*prefixes,))
        ]
        self.assertEqual(unused, [])

    def test_the_page_of_a_recording_has_the_texts_of_its_scripts(self) -> None:
        modules = ("recording", "player", "waveform", "sides", "verify")
        scripts = "".join((DIRECTORY / "assets" / f"{name}.js").read_text() for name in modules)
        used = set(re.findall(r'\btext\("(\w+)"[,)]', scripts))
        self.assertGreater(len(used), 15)
        self.assertEqual(used | {"decimal_separator"}, {*SCRIPT_TEXTS})
        self.assertLessEqual({*SCRIPT_TEXTS}, {*LANGUAGES.available["en"].texts})

    def test_sizes(self) -> None:
        sizes = {500: "0.5 kB", 1_500_000: "1.5 MB", 100_000_000_000: "100.0 GB"}
        self.assertEqual({size: LANGUAGES.available["en"].size(size) for size in sizes}, sizes)
        self.assertEqual(LANGUAGES.available["de"].size(1_500_000), "1,5 MB")


class VendorTests(SynchronousTestCase):
    def test_files_are_those_of_the_packages(self) -> None:
        vendor = DIRECTORY / "assets" / "vendor"
        lines = (vendor / "SHA256SUMS").read_text().splitlines()
        sums = {name: digest for digest, name in map(str.split, lines)}
        files = {path.name for path in vendor.iterdir() if path.suffix in (".js", ".css")}
        self.assertEqual({*sums}, files)
        for name, digest in sums.items():
            self.assertEqual(hashlib.sha256((vendor / name).read_bytes()).hexdigest(), digest)

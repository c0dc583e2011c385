"""The words for the reasons of verdicts, in every language."""

import ast
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import voxrec
from tests.subtest import subtest
from voxrec.languages import Language
from voxrec.model import reasons
from voxrec.model.reasons import all_reasons, too_short_reason
from voxrec.strict_yaml import load_yaml

PACKAGE = Path(voxrec.__file__).parent
TEXTS = {file.stem: load_yaml(file.read_text()) for file in (PACKAGE / "reason_texts").iterdir()}


def constants() -> dict[str, str]:
    """Return the reasons that are constants, by name."""
    return {name: value for name, value in vars(reasons).items() if name.isupper() and isinstance(value, str)}


class ReasonTests(SynchronousTestCase):
    def test_every_reason_has_words_and_advice_in_every_language(self) -> None:
        self.assertLessEqual({"en", "de"}, {*TEXTS})
        for code in TEXTS:
            language = Language(code, {})
            for reason in all_reasons():
                with subtest(f"{code} {reason}"):
                    self.assertNotIn(language.reason(reason), ("", reason))
                    self.assertTrue(language.advice(reason))
        self.assertEqual({len(texts) for texts in TEXTS.values()}, {len(all_reasons())})

    def test_languages_differ(self) -> None:
        english, german = Language("en", {}), Language("de", {})
        for reason in all_reasons():
            with subtest(reason):
                self.assertNotEqual(english.reason(reason), german.reason(reason))
                self.assertNotEqual(english.advice(reason), german.advice(reason))

    def test_a_number_is_in_the_words(self) -> None:
        self.assertIn("12 s", Language("en", {}).reason(too_short_reason(12)))

    def test_unknown_reasons_and_languages(self) -> None:
        self.assertEqual(Language("en", {}).reason("later reason (5 s)"), "later reason (5 s)")
        self.assertEqual(Language("en", {}).advice("later reason"), "")
        self.assertEqual(Language("fr", {}).reason("silent"), Language("en", {}).reason("silent"))

    def test_all_reasons_are_listed(self) -> None:
        self.assertLessEqual({*constants().values()}, {*all_reasons()})
        self.assertEqual(len({*all_reasons()}), len(all_reasons()))

    def test_verdicts_have_only_reasons_of_the_list(self) -> None:
        """A reason that another module makes up would have no words."""
        found = 0
        for file in sorted(PACKAGE.rglob("*.py")):
            for node in ast.walk(ast.parse(file.read_text())):
                if not (isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Verdict"):
                    continue
                for keyword in node.keywords:
                    if keyword.arg == "reasons":
                        found += 1
                        literals = [each.value for each in ast.walk(keyword.value) if isinstance(each, ast.Constant)]
                        self.assertEqual([each for each in literals if isinstance(each, str)], [], file)
                        upper = {each.id for each in ast.walk(keyword.value) if isinstance(each, ast.Name)}
                        self.assertLessEqual({name for name in upper if name.isupper()}, {*constants()}, file)
        self.assertGreater(found, 4)

    def test_functions_that_make_reasons_are_in_the_module_of_reasons(self) -> None:
        for file in sorted(PACKAGE.rglob("*.py")):
            tree = ast.parse(file.read_text())
            calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
            if any(getattr(call.func, "id", "") == "Verdict" for call in calls):
                functions = {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
                self.assertEqual({name for name in functions if name.endswith("_reason")}, set(), file)

"""The style sheet: what people with low vision need."""

import re
from importlib import resources

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest

CSS = resources.files("voxrec.console").joinpath("assets", "console.css").read_text()


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour such as #d1d9e0 (WCAG 2.2)."""
    digits = colour if len(colour) == 7 else "#" + "".join(2 * digit for digit in colour[1:])
    parts = [int(digits[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast ratio of two colours (WCAG 2.2)."""
    dark, light = sorted(map(luminance, (one, other)))
    return (light + 0.05) / (dark + 0.05)


class ContrastTests(SynchronousTestCase):
    def test_controls_and_texts_are_distinct_in_both_schemes(self) -> None:
        schemes = [dict(re.findall(r"--([\w-]+):(#\w+)", rule)) for rule in re.findall(r":root\{([^}]*)\}", CSS)]
        self.assertEqual(len(schemes), 2)
        texts = ("text", "muted", "accent", "danger", "ok", "caution")
        for scheme in schemes:
            for name, ratio in (*((text, 4.5) for text in texts), ("control", 3), ("wave", 3), ("marker", 3)):
                for background in ("back", "panel"):
                    with subtest((name, scheme[name], background)):
                        if (name, background) != ("wave", "panel"):  # it is on no panel
                            self.assertGreaterEqual(contrast(scheme[name], scheme[background]), ratio)
            self.assertGreaterEqual(contrast(scheme["warn-text"], scheme["warn-back"]), 4.5)
            self.assertGreaterEqual(contrast(scheme["on-accent"], scheme["accent"]), 4.5)

    def test_controls_have_the_border_of_controls(self) -> None:
        for selector in ("input,select,button,.button", "textarea"):
            (rule,) = re.findall(rf"^{re.escape(selector)}\{{([^}}]*)\}}", CSS, re.MULTILINE)
            self.assertIn("border:1px solid var(--control)", rule)

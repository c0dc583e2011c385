"""Tests of voxrec.errors."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec import errors
from voxrec.errors import ConfigError, Conflict, DeliveryError, FieldError, InvalidInput, VoxrecError


def subclasses(base: type[VoxrecError]) -> list[type[VoxrecError]]:
    return [cls for direct in base.__subclasses__() for cls in (direct, *subclasses(direct))]


class ErrorTests(SynchronousTestCase):
    def test_detail_is_the_text(self) -> None:
        error = VoxrecError("it failed")
        self.assertEqual((error.detail, str(error)), ("it failed", "it failed"))

    def test_field_errors(self) -> None:
        invalid = FieldError("numbers", "duplicate number")
        self.assertEqual(str(invalid), "numbers: duplicate number")
        for error in (InvalidInput("1 invalid field", [invalid]), Conflict("conflict", [invalid])):
            self.assertEqual(error.field_errors, (invalid,))
        self.assertEqual(InvalidInput("invalid").field_errors, ())

    def test_a_config_error_shows_every_setting(self) -> None:
        error = ConfigError("voxrec.yaml: 2 invalid settings", [FieldError("a", "x"), FieldError("b", "y")])
        self.assertEqual(str(error), "voxrec.yaml: 2 invalid settings\n  a: x\n  b: y")

    def test_a_delivery_error_is_permanent_or_not(self) -> None:
        self.assertTrue(DeliveryError("refused", permanent=True).permanent)

    def test_codes_and_statuses_are_stable(self) -> None:
        """REST clients depend on them."""
        here = [cls for cls in subclasses(VoxrecError) if cls.__module__ == errors.__name__]
        self.assertEqual(
            {cls.__name__: (cls.status, cls.code) for cls in here},
            {
                "InvalidInput": (422, "invalid"),
                "ConfigError": (422, "config"),
                "NodeUnreachable": (503, "node-unreachable"),
                "NotFound": (404, "not-found"),
                "Conflict": (409, "conflict"),
                "OtherNode": (409, "other-node"),
                "Unavailable": (503, "unavailable"),
                "StoreUnavailable": (503, "store-unavailable"),
                "StatementTimeout": (503, "store-unavailable"),
                "ListTimeout": (503, "list-timeout"),
                "AsteriskUnavailable": (503, "asterisk-unavailable"),
                "CommandNotSent": (503, "asterisk-unavailable"),
                "AudioError": (500, "audio"),
                "DeliveryError": (500, "delivery"),
            },
        )

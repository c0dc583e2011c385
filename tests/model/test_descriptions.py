"""Tests of the descriptions that the OpenAPI document takes from the domain types."""

import enum
from typing import Any, Final

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from voxrec import model

STRUCTS: Final = [cls for cls in vars(model).values() if isinstance(cls, type) and issubclass(cls, msgspec.Struct)]
ENUMERATIONS: Final = [cls for cls in vars(model).values() if isinstance(cls, type) and issubclass(cls, enum.StrEnum)]
# Fields that are not part of the REST representation.
INTERNAL_FIELDS: Final = {"Recording": {"path", "pauseCode", "resumeCode"}, "Job": {"path", "target", "claims"}}


class DescriptionTests(SynchronousTestCase):
    def test_every_field_has_a_description(self) -> None:
        schemas: dict[str, dict[str, Any]] = msgspec.json.schema_components(STRUCTS)[1]
        missing = [
            f"{struct.__name__}.{name}"
            for struct in STRUCTS
            for name, schema in schemas[struct.__name__]["properties"].items()
            if name not in INTERNAL_FIELDS.get(struct.__name__, ())
            and not any("description" in part or "$ref" in part for part in (schema, *schema.get("anyOf", ())))
        ]
        self.assertEqual(missing, [])

    def test_the_docstring_of_a_state_names_every_value(self) -> None:
        for cls in ENUMERATIONS:
            if cls.__name__.endswith(("State", "Kind", "Outcome")):
                for member in cls:
                    self.assertIn(f"``{member.value}``", cls.__doc__ or "", cls)

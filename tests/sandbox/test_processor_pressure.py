"""Tests of voxrec.sandbox.processor_pressure with files as the kernel writes them."""

import time
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.processor_pressure import ProcessorPressure


class ProcessorPressureTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.file = Path(self.mktemp())
        self.now = 100.0
        self.patch(time, "monotonic", lambda: self.now)

    def pressure_after(self, before: int, after: int, seconds: float) -> ProcessorPressure:
        """Return the pressure after ``seconds``, while the total of waits rose, in microseconds."""
        self.write(before)
        pressure = ProcessorPressure(self.file)
        self.now += seconds
        self.write(after)
        return pressure

    def write(self, total: int) -> None:
        averages = "avg10=6.25 avg60=8.12 avg300=22.16"
        self.file.write_text(f"some {averages} total={total}\nfull {averages} total=7\n")

    def test_share_of_the_time(self) -> None:
        self.assertAlmostEqual(self.pressure_after(1_000_000, 3_000_000, 10.0).share() or 0.0, 0.2)

    def test_a_busy_machine_is_the_reason(self) -> None:
        text = self.pressure_after(0, 4_300_000, 10.0).describe()
        self.assertEqual(text, "programs waited for a processor in 43% of the time meanwhile, which makes packets late")

    def test_a_machine_that_is_not_busy_is_no_reason(self) -> None:
        text = self.pressure_after(0, 200_000, 10.0).describe()
        self.assertEqual(text, "the processors were not busy meanwhile: programs waited for one in 2% of the time")

    def test_a_kernel_without_the_figures(self) -> None:
        pressure = ProcessorPressure(self.file.with_name("none"))
        self.assertIsNone(pressure.share())
        self.assertIn("does not say", pressure.describe())

    def test_this_kernel(self) -> None:
        share = ProcessorPressure().share()
        self.assertEqual(share is not None, Path("/proc/pressure/cpu").exists())

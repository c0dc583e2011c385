"""Tests of voxrec.interpreter_tuning."""

import gc
import sys

from twisted.trial.unittest import SynchronousTestCase

from voxrec.interpreter_tuning import freeze_startup_objects, garbage_collection_paused, set_thread_switch_interval


class InterpreterTuningTests(SynchronousTestCase):
    def test_the_thread_switch_interval_is_shorter(self) -> None:
        self.addCleanup(sys.setswitchinterval, sys.getswitchinterval())
        set_thread_switch_interval()
        self.assertAlmostEqual(sys.getswitchinterval(), 0.0005, places=6)

    def test_garbage_collection_is_paused_until_the_end_of_an_import_that_fails(self) -> None:
        with self.assertRaises(ImportError), garbage_collection_paused():
            self.assertFalse(gc.isenabled())
            raise ImportError
        self.assertTrue(gc.isenabled())

    def test_existing_objects_are_frozen_and_full_collections_are_rarer(self) -> None:
        self.addCleanup(gc.set_threshold, *gc.get_threshold())
        self.addCleanup(gc.unfreeze)
        first, second, _ = gc.get_threshold()
        freeze_startup_objects()
        self.assertEqual(gc.get_threshold(), (first, second, 50))
        self.assertGreater(gc.get_freeze_count(), 0)

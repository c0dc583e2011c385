"""Tests of bench.ceiling: the series of load steps, and the search in it."""

from itertools import pairwise

from twisted.trial.unittest import TestCase

from bench.ceiling import DUAL, LOWEST, SILENT, StepSearch, Variant, _find_maximum

VARIANT = Variant(SILENT, DUAL)


class SearchTests(TestCase):
    def setUp(self) -> None:
        self.tried: list[int] = []

    async def find(self, search: StepSearch, maximum: float) -> float:
        async def sustains(variant: Variant, step: int) -> bool:
            self.assertEqual(variant, VARIANT)
            self.tried.append(step)
            return step <= maximum

        return await _find_maximum(search, VARIANT, sustains)

    def test_steps_of_about_25_percent(self) -> None:
        search = StepSearch(LOWEST)
        steps = [search.current()] + [search.increase() for _ in range(20)]
        self.assertEqual((steps[0], steps[10], steps[20]), (10, 100, 1000))
        for lower, higher in pairwise(steps):
            self.assertApproximates(higher / lower, 1.26, 0.08)

    async def test_no_step_is_the_last(self) -> None:
        self.assertEqual(await self.find(StepSearch(19), 6300), 6300.0)

    async def test_the_next_round_starts_at_the_result(self) -> None:
        search = StepSearch(19)
        self.assertEqual(await self.find(search, 130), 125.0)
        self.tried.clear()
        self.assertEqual(await self.find(search, 130), 125.0)
        self.assertEqual(self.tried, [125, 160])

    async def test_less_than_the_first_step(self) -> None:
        self.assertEqual(await self.find(StepSearch(19), 34), 32.0)
        self.assertEqual(self.tried, [80, 63, 50, 40, 32])

    async def test_not_even_the_lowest_step(self) -> None:
        self.assertEqual(await self.find(StepSearch(LOWEST), 3), 0.0)

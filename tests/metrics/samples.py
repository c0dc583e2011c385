"""Reads samples from the text format."""

from prometheus_client.parser import text_string_to_metric_families

from voxrec.metrics import Metrics


def samples(metrics: Metrics, name: str) -> dict[tuple[str, ...], float]:
    """Return the samples of one name, by the values of their labels, which are sorted by the name of the label."""
    return {
        tuple(value for _, value in sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(metrics.exposition().decode())
        for sample in family.samples
        if sample.name == name
    }

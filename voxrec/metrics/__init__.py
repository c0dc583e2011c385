"""The Prometheus metrics, a module for each subject. Other packages receive single methods as callbacks."""

from voxrec.metrics.registry import CONTENT_TYPE, Metrics

__all__ = ["CONTENT_TYPE", "Metrics"]

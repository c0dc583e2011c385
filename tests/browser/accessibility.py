"""axe-core (npm) finds violations of WCAG 2.2 A and AA, and of its best practices, in the page that a browser shows."""

from functools import cache
from typing import Any, Final

from selenium.webdriver import Remote

from tests.npm_packages import install_node_modules

AXE: Final = "axe-core@4.11.0"
_TAGS: Final = ("wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice")
_RUN: Final = """
const [tags, done] = arguments;
axe.run(document, {runOnly: {type: "tag", values: tags}, resultTypes: ["violations"], preload: false}).then(
  (result) => done({violations: result.violations}), (error) => done({error: String(error)}));
"""


@cache
def _axe_source() -> str:
    return (install_node_modules(AXE) / "axe-core" / "axe.min.js").read_text()


def accessibility_findings(driver: Remote) -> list[str]:
    """Return one line for each element that violates a rule. Blocks: call it in a thread."""
    driver.execute_script(_axe_source())
    result: dict[str, Any] = driver.execute_async_script(_RUN, list(_TAGS))
    if "error" in result:
        raise AssertionError(result["error"])
    return [
        f"{violation['id']}: {node['html'][:200]} at {node['target']}: {node['failureSummary']}"
        for violation in result["violations"]
        for node in violation["nodes"]
    ]

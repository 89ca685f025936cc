"""What all tests share: how hypothesis runs, and what a test that needs FUSE does without it."""

import importlib.util
import os

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run: a failure belongs to the change that shows it. `HYPOTHESIS_PROFILE=search`
# looks for new ones.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("search", deadline=None, print_blob=True, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "repeatable"))


def _why_no_fuse() -> str | None:
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "/dev/fuse is missing or may not be opened"
    if importlib.util.find_spec("pyfuse3") is None:
        return "pyfuse3 is not installed"
    return None


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("fuse") is None:
        return
    reason = _why_no_fuse()
    if reason is None:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}: in CI the FUSE tests must run", pytrace=False)
    pytest.skip(reason)

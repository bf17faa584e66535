"""How ``shipper explain`` writes durations."""

import pytest

from shipper.cli.explain import duration


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.2, "a moment"), (43.4, "43s"), (7500, "2h5m"), (86_400, "1d"), (3600, "1h")],
)
def test_durations_are_written_as_the_configuration_has_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text

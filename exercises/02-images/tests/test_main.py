"""The service's own tests: `python -m pytest` in the folder in which app/ and tests/ lie."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "app"))


@pytest.mark.parametrize(
    ("flower", "species"),
    [([5.1, 3.5, 1.4, 0.2], "setosa"), ([6.0, 2.9, 4.5, 1.5], "versicolor"), ([6.3, 3.3, 6.0, 2.5], "virginica")],
)
def test_species(flower: list[float], species: str) -> None:
    from main import species_of

    assert species_of(flower) == species

"""A sample of each campaign of benchmarks/faults.py. They fork on purpose, which newer Pythons warn of."""

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if "faults" in item.path.parts:
            item.add_marker(pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning"))

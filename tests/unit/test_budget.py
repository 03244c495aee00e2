from __future__ import annotations

import pytest

from grader.budget import Budget, BudgetExceeded


def test_it_counts_down_and_then_refuses() -> None:
    now = [100.0]
    budget = Budget(10, clock=lambda: now[0])
    assert budget.at_most(3) == 3
    now[0] += 8
    assert budget.at_most(3) == pytest.approx(2)
    now[0] += 5
    assert budget.spent
    with pytest.raises(BudgetExceeded):
        budget.at_most(3)


def test_a_checks_own_except_does_not_swallow_it() -> None:
    assert not issubclass(BudgetExceeded, Exception)

"""``python -m grader watch``: one submission, graded again at each save.

A save -> the first look: policy and model; then, on a stack that is kept running, what failed before and as much of the
rest as ten seconds allow -> a grading from scratch, whose verdicts are the ones that count -> the screen.

Three processes, so that a save is answered at once while an old grading is still being removed: the ``session``
(saves, keys, screen), the ``worker`` that looks, and a ``worker`` for each grading from scratch.
"""

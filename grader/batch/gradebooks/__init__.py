"""Files for the places that keep grades. Pure: a class in, text out; one module for each format.

Nobody whose score is None has a zero anywhere: the cell is empty, or the row or the file is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from grader.batch.gradebooks import canvas, classroom, gradescope, junit, moodle, sheet
from grader.batch.grades import Course

# What it is called -> a class to file names, relative to the results folder, and their texts.
FORMATS: Mapping[str, Callable[[Course], dict[str, str]]] = {
    "grades.csv": lambda course: {"grades.csv": sheet.render(course)},
    "canvas.csv": lambda course: {"canvas.csv": canvas.render(course)},
    "moodle.csv": lambda course: {"moodle.csv": moodle.render(course)},
    "junit.xml": lambda course: {"junit.xml": junit.render(course)},
    "gradescope": gradescope.files,
    "classroom": classroom.files,
}


def write_all(course: Course) -> dict[str, str]:
    """The file name, relative to the results folder, and the text of each file; nothing is written."""
    return {name: text for files in FORMATS.values() for name, text in files(course).items()}

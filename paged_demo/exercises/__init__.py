"""Exercises of the notebooks: ``check`` an answer, or ask for a ``hint``."""

from paged_demo.exercises.course import check as check
from paged_demo.exercises.course import hint as hint

"""What one notebook alone needs, named by notebook: its sliders, its pictures, its exercises."""

from paged_demo.course.exercises.registry import check as check
from paged_demo.course.exercises.registry import hint as hint

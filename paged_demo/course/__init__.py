"""What one notebook alone needs, named by notebook: its sliders, its pictures, its exercises.

Its plots are like those of `paged_demo.views.plots`: all take ``ax``, and tell what they show.
"""

from paged_demo.course.exercises.registry import check as check
from paged_demo.course.exercises.registry import hint as hint

"""What one notebook alone needs, named by notebook: its sliders, its pictures, its exercises.

Its plots are like those of `paged_demo.views.plots`: all take ``ax``, and tell what they show.
"""

# Each module adds its exercises to those that `check` and `hint` know.
from paged_demo.course import nb00_exercises as nb00_exercises
from paged_demo.course import nb01_exercises as nb01_exercises
from paged_demo.course import nb02_exercises as nb02_exercises
from paged_demo.course import nb02_fragment as nb02_fragment
from paged_demo.course import nb02_predictions as nb02_predictions
from paged_demo.course import nb03_double_free as nb03_double_free
from paged_demo.course import nb03_exercises as nb03_exercises
from paged_demo.course import nb04_exercises as nb04_exercises
from paged_demo.course import nb04_walk as nb04_walk
from paged_demo.course import nb05_exercises as nb05_exercises
from paged_demo.course import nb05_writes as nb05_writes
from paged_demo.course import nb06_exercises as nb06_exercises
from paged_demo.course import nb07_exercises as nb07_exercises
from paged_demo.course import nb08_exercises as nb08_exercises
from paged_demo.course import nb08_need as nb08_need
from paged_demo.course import nb08_running as nb08_running
from paged_demo.course import nb09_exercises as nb09_exercises
from paged_demo.course.exercises.asking import ask as ask
from paged_demo.course.exercises.asking import check as check
from paged_demo.course.exercises.asking import hint as hint
from paged_demo.course.exercises.predictions import predict as predict

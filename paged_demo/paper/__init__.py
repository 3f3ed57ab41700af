"""The paper's experiments, made again from its rules: each returns its numbers and ours side by side."""

from paged_demo.paper.experiment import draw_trace as draw_trace
from paged_demo.paper.latency_figures import fig_12 as fig_12
from paged_demo.paper.latency_figures import fig_18b as fig_18b
from paged_demo.paper.memory_figures import fig_2 as fig_2
from paged_demo.paper.memory_figures import fig_13 as fig_13
from paged_demo.paper.memory_figures import fig_15 as fig_15
from paged_demo.paper.memory_figures import table_1 as table_1
from paged_demo.paper.numbers import FIG_13 as FIG_13
from paged_demo.paper.numbers import MAX_TOKENS as MAX_TOKENS
from paged_demo.paper.numbers import MEAN_LENGTHS as MEAN_LENGTHS
from paged_demo.paper.numbers import NUM_PAGES_13B as NUM_PAGES_13B
from paged_demo.paper.numbers import NUM_SLOTS_13B as NUM_SLOTS_13B
from paged_demo.paper.numbers import tokens_in_pool as tokens_in_pool
from paged_demo.paper.predictions import figures as figures
from paged_demo.paper.provenance import constants as constants
from paged_demo.paper.sensitivity import move_each as move_each
from paged_demo.paper.sustained import sustained_rates as sustained_rates

"""Plots: each draws one record on one pair of axes, and returns the axes.

All take ``ax``, the axes to draw on; a new figure if left out. Those that a notebook shows also say in
words what they draw, for `paged_demo.views.show`.
"""

from paged_demo.views.plots.fates import fate_legend as fate_legend
from paged_demo.views.plots.fates import memory_against_length as memory_against_length
from paged_demo.views.plots.fates import savings_beside_paper as savings_beside_paper
from paged_demo.views.plots.fates import usage_beside_paper as usage_beside_paper
from paged_demo.views.plots.pages import page_tables as page_tables
from paged_demo.views.plots.pages import words_in_pages as words_in_pages

"""Plots: each draws one record on one pair of axes, and returns the axes."""

from paged_demo.views.plots.memory import fate_legend as fate_legend
from paged_demo.views.plots.memory import memory_against_length as memory_against_length
from paged_demo.views.plots.memory import usage_bars as usage_bars
from paged_demo.views.plots.pages import batch_against_page_size as batch_against_page_size
from paged_demo.views.plots.pages import page_tables as page_tables

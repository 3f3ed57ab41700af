"""Plots: each draws one record on one pair of axes, and returns the axes."""

from paged_demo.views.plots.beside_paper import bars_beside_paper as bars_beside_paper
from paged_demo.views.plots.beside_paper import latency_against_rate as latency_against_rate
from paged_demo.views.plots.beside_paper import swap_or_recompute as swap_or_recompute
from paged_demo.views.plots.beside_paper import usage_beside_paper as usage_beside_paper
from paged_demo.views.plots.fates import fate_legend as fate_legend
from paged_demo.views.plots.fates import memory_against_length as memory_against_length
from paged_demo.views.plots.fates import usage_bars as usage_bars
from paged_demo.views.plots.pages import batch_against_page_size as batch_against_page_size
from paged_demo.views.plots.pages import effect_against_page_size as effect_against_page_size
from paged_demo.views.plots.pages import page_tables as page_tables
from paged_demo.views.plots.pages import rows_of_pages as rows_of_pages
from paged_demo.views.plots.pages import waste_against_length as waste_against_length
from paged_demo.views.plots.translation import translation as translation
from paged_demo.views.plots.translation import words_in_pages as words_in_pages

"""The explorers of the notebooks, a module each: what it shows, and which values its controls set."""

from paged_demo.views.explorers.one_slider import FATES_OF_A_PAGED_POOL as FATES_OF_A_PAGED_POOL
from paged_demo.views.explorers.one_slider import explore_one_sequence as explore_one_sequence
from paged_demo.views.explorers.one_slider import explore_page_size as explore_page_size
from paged_demo.views.explorers.real_model import PromptBox as PromptBox
from paged_demo.views.explorers.real_model import explore_run as explore_run
from paged_demo.views.explorers.real_model import model_is_here as model_is_here
from paged_demo.views.explorers.same_attention import explore_page_order as explore_page_order
from paged_demo.views.explorers.same_attention import explore_roofline as explore_roofline

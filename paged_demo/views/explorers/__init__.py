"""The explorers of the notebooks, a module each: what it shows, and which values its controls set."""

from paged_demo.views.explorers.kv_cache import explore_memory as explore_memory
from paged_demo.views.explorers.one_slider import FATES_OF_A_PAGED_POOL as FATES_OF_A_PAGED_POOL
from paged_demo.views.explorers.one_slider import explore_one_sequence as explore_one_sequence
from paged_demo.views.explorers.one_slider import explore_page_size as explore_page_size
from paged_demo.views.explorers.pages import FATES_OF_A_PAGE as FATES_OF_A_PAGE
from paged_demo.views.explorers.pages import FATES_OF_A_STORY as FATES_OF_A_STORY
from paged_demo.views.explorers.pages import explore_page_choice as explore_page_choice
from paged_demo.views.explorers.pages import play_two_requests as play_two_requests
from paged_demo.views.explorers.real_model import PromptBox as PromptBox
from paged_demo.views.explorers.real_model import explore_run as explore_run
from paged_demo.views.explorers.real_model import model_is_here as model_is_here
from paged_demo.views.explorers.same_attention import explore_page_order as explore_page_order
from paged_demo.views.explorers.same_attention import explore_roofline as explore_roofline
from paged_demo.views.explorers.serving import explore_film as explore_film
from paged_demo.views.explorers.serving import explore_serving as explore_serving
from paged_demo.views.explorers.sharing import FATES_OF_SAMPLES as FATES_OF_SAMPLES
from paged_demo.views.explorers.sharing import FATES_OF_SHARED_ROWS as FATES_OF_SHARED_ROWS
from paged_demo.views.explorers.sharing import explore_prefixes as explore_prefixes
from paged_demo.views.explorers.sharing import explore_samples as explore_samples
from paged_demo.views.explorers.sharing import play_two_samples as play_two_samples
from paged_demo.views.explorers.where_memory_goes import FATES_OF_RESERVATIONS as FATES_OF_RESERVATIONS
from paged_demo.views.explorers.where_memory_goes import explore_reservations as explore_reservations

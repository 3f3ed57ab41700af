"""A real language model whose keys and values live in our pages (optional: the ``llm`` extra)."""

from paged_demo.llm.beam import beam_search as beam_search
from paged_demo.llm.cache import ContiguousCache as ContiguousCache
from paged_demo.llm.cache import PagedCache as PagedCache
from paged_demo.llm.generate import Engine as Engine

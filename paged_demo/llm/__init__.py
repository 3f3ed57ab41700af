"""A real language model whose keys and values live in our pages (optional: the ``llm`` extra)."""

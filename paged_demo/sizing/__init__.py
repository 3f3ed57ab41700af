"""From a model's config, a GPU and flags to the line that a server prints when it starts."""

"""Keys and values in pages, and attention over them."""

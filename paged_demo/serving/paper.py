"""Numbers that the PagedAttention paper publishes, each with the place it stands in.

Source: Kwon et al. (2023), "Efficient Memory Management for Large Language Model Serving with
PagedAttention", SOSP 2023, arXiv 2309.06180.
"""

MAX_TOKENS = 2048
"""The longest sequence of OPT-13B, prompt and output together (section 3)."""

PAGE_SIZE = 16
"""vLLM's default "block size" (section 7.2)."""

NUM_PAGES_13B = 984
"""Pages of 16 slots behind the experiments with OPT-13B on one A100 with 40 GB.

Table 1 prints 12 GB and 15.7K slots. Exactly 984 x 16 = 15,744 slots leave free the 8.943 % that Fig. 2 draws
for Orca (Max), which has room for seven reservations of 2,048."""

NUM_SLOTS_13B = NUM_PAGES_13B * PAGE_SIZE

MEAN_BATCH_SHAREGPT = {"Orca (Max)": 7.00, "Orca (Pow2)": 9.81, "Orca (Oracle)": 13.62, "vLLM": 30.42}
"""Requests in flight, OPT-13B, ShareGPT at 2 requests/s (printed labels of Fig. 13)."""

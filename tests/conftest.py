"""What holds for all tests."""

import os

# Before NumPy is loaded. On a busy machine the threads of a matrix product wait for each other: tests of the
# language model take several times as long.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

"""How far a long run has come: tqdm's bar, as a widget where the reader is in a notebook."""

import sys

if sys.platform == "emscripten":
    # A browser's Python has no threads; nor does its IPython say, in the way that tqdm asks, where it runs.
    from tqdm.notebook import tqdm as progress

    progress.monitor_interval = 0
else:
    from tqdm.auto import tqdm as progress

__all__ = ["progress"]

"""What each layer of a model is, from whichever fields of its ``config.json`` say so."""

from paged_demo.checks import came
from paged_demo.sizing.fields import ConfigError, Fields

FULL, SLIDING, CHUNKED, LINEAR = (
    "full_attention",
    "sliding_attention",
    "chunked_attention",
    "linear_attention",
)
NOTHING = "nothing of its own"
GEMMA_3_PATTERN = 6
"""Every so many layers one is full, where the config does not say (transformers, configuration_gemma3.py)."""
ALL_WITH_WINDOW = ("mistral", "mixtral", "ministral", "phi3", "phimoe", "starcoder2")
"""Types whose layers all have the window that the config names."""
MIXED_BY = (
    "layer_types",
    "hybrid_override_pattern",
    "full_attention_interval",
    "attn_layer_period",
    "attn_layer_indices",
)
"""Fields that say which layers have states, or windows; the first one found counts."""


def types_of(kind: str, text: Fields) -> list[str]:
    """Return the type of each layer, in order.

    Raises
    ------
    ConfigError
        If a field is wrong, or none says which layers have the window.

    Examples
    --------
    >>> types_of("jamba", Fields({"num_hidden_layers": 4, "attn_layer_period": 4, "attn_layer_offset": 2}))
    ['linear_attention', 'linear_attention', 'full_attention', 'linear_attention']
    """
    num_layers = text.number("num_hidden_layers", "n_layer", "n_layers", "num_layers")
    name = next((each for each in MIXED_BY if each in text), None)
    if name is None:
        return _owners(text, _windows(kind, text, num_layers))
    read = {
        "layer_types": _listed,
        "hybrid_override_pattern": _drawn,
        "full_attention_interval": _every,
        "attn_layer_period": _periodic,
        "attn_layer_indices": _indexed,
    }[name]
    return _owners(text, read(text, num_layers))


def _owners(text: Fields, types: list[str]) -> list[str]:
    """Return the types, with nothing in place of layers that read an earlier layer's cache."""
    shared = text.get("num_kv_shared_layers")
    if shared is not None and shared != 0:
        own = len(types) - text.number("num_kv_shared_layers")
        if own < 1:
            raise ConfigError(
                f"num_kv_shared_layers of config.json must be below {len(types)}, got {came(shared)}"
            )
        return [each if layer < own else NOTHING for layer, each in enumerate(types)]
    if text.flag("use_cla", False):
        factor = text.number("cla_share_factor")
        return [each if layer % factor == 0 else NOTHING for layer, each in enumerate(types)]
    return types


def _every(text: Fields, num_layers: int) -> list[str]:
    interval = text.number("full_attention_interval")
    return [FULL if (layer + 1) % interval == 0 else LINEAR for layer in range(num_layers)]


def _periodic(text: Fields, num_layers: int) -> list[str]:
    period, offset = text.number("attn_layer_period"), text.get("attn_layer_offset")
    if type(offset) is not int or not 0 <= offset < period:
        raise ConfigError(
            f"attn_layer_offset of config.json must be from 0 to {period - 1}, got {came(offset)}"
        )
    return [FULL if layer % period == offset else LINEAR for layer in range(num_layers)]


def _indexed(text: Fields, num_layers: int) -> list[str]:
    full = text.sequence("attn_layer_indices", int)
    if not set(full) <= set(range(num_layers)):
        raise ConfigError(f"attn_layer_indices of config.json must be below {num_layers}, got {came(full)}")
    return [FULL if layer in full else LINEAR for layer in range(num_layers)]


def _windows(kind: str, text: Fields, num_layers: int) -> list[str]:
    """Return the types where no list has them: full, but for windows and chunks."""
    every = range(num_layers)
    if "attention_chunk_size" in text:
        return _chunks(text, num_layers)
    # Some configs write 0 where they mean none.
    if not text.get("sliding_window") or not text.flag("use_sliding_window", True):
        return [FULL] * num_layers
    if "sliding_window_pattern" in text or kind == "gemma3_text":
        pattern = text.number_or(GEMMA_3_PATTERN, "sliding_window_pattern")
        return [FULL if (layer + 1) % pattern == 0 else SLIDING for layer in every]
    if kind == "gemma2":
        return [FULL if layer % 2 else SLIDING for layer in every]
    if "use_sliding_window" in text and "max_window_layers" in text:
        first = text.get("max_window_layers")
        if type(first) is not int or first < 0:
            raise ConfigError(
                f"max_window_layers of config.json must be a whole number from 0, got {came(first)}"
            )
        return [SLIDING if layer >= first else FULL for layer in every]
    if kind in ALL_WITH_WINDOW:
        return [SLIDING] * num_layers
    raise ConfigError(
        f"sliding_window of config.json is {came(text.get('sliding_window'))}, and no layer_types, "
        f"sliding_window_pattern or use_sliding_window says which layers of {kind} have the window"
    )


def _listed(text: Fields, num_layers: int) -> list[str]:
    types = text.sequence("layer_types", str)
    if len(types) != num_layers:
        raise ConfigError(
            f"layer_types of config.json must have {num_layers} entries, one a layer, got {len(types)}"
        )
    words = {"attention": FULL, "mamba": LINEAR} | {each: each for each in (FULL, SLIDING, CHUNKED, LINEAR)}
    for each in types:
        if each not in words:
            raise ConfigError(
                f"layer_types of config.json must be full_attention, sliding_attention, chunked_attention or "
                f"linear_attention, got {came(each)}"
            )
    return [words[each] for each in types]


def _drawn(text: Fields, num_layers: int) -> list[str]:
    pattern = text.get("hybrid_override_pattern")
    letters = {"M": LINEAR, "*": FULL, "-": NOTHING, "E": NOTHING}
    if not isinstance(pattern, str) or not set(pattern) <= set(letters) or len(pattern) != num_layers:
        raise ConfigError(
            f"hybrid_override_pattern of config.json must be {num_layers} letters of M, *, - and E, "
            f"got {came(pattern)}"
        )
    return [letters[letter] for letter in pattern]


def _chunks(text: Fields, num_layers: int) -> list[str]:
    """Return the types of Llama 4: layers without rotary positions, by default every fourth, are full."""
    rotary = text.sequence("no_rope_layers", int) if text.get("no_rope_layers") else []
    if not rotary:
        interval = text.number_or(4, "no_rope_layer_interval")
        rotary = [int((layer + 1) % interval != 0) for layer in range(num_layers)]
    if len(rotary) != num_layers:
        raise ConfigError(f"no_rope_layers of config.json must have {num_layers} entries, got {len(rotary)}")
    return [CHUNKED if each else FULL for each in rotary]

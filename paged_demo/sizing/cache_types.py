"""What one element of a cache takes, by the type it is stored in."""

from collections.abc import Mapping
from dataclasses import dataclass
from fractions import Fraction
from math import isfinite
from types import MappingProxyType

from paged_demo.checks import came, check_number

LATENT_OF_DS_MLA = 512 + 64
"""Elements of a latent vector that ``fp8_ds_mla`` is made for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheType:
    """A type that K and V, or latent vectors, are stored in.

    Parameters
    ----------
    name : str
        Its name, as an engine's flag takes it.
    element_bytes : Fraction
        Bytes of an element, with its share of the scales that belong to a group of elements.
    group : int
        Elements of such a group: a head has to be whole groups.
    head_bytes : int
        Bytes of the scales that every head of every token has, for K and for V each.
    latent_bytes : int, optional
        Bytes of a whole latent vector, where its parts are stored in several types.
    """

    name: str
    element_bytes: Fraction
    group: int = 1
    head_bytes: int = 0
    latent_bytes: int | None = None

    def vector_bytes(self, num_elements: int) -> Fraction:
        """Return the bytes of one K, or one V, of one head.

        Raises
        ------
        ValueError
            If the elements are not whole groups, or the type is one for latent vectors alone.
        """
        if self.latent_bytes is not None:
            raise ValueError(f"kv_cache_dtype {self.name} stores latent vectors (MLA), not heads of K and V")
        if num_elements % self.group:
            raise ValueError(
                f"kv_cache_dtype {self.name} stores {self.group} elements together; a head has {num_elements}"
            )
        return num_elements * self.element_bytes + self.head_bytes

    def latent_vector_bytes(self, num_elements: int) -> Fraction:
        """Return the bytes of one latent vector.

        Raises
        ------
        ValueError
            If the type does not store such a vector.
        """
        if self.latent_bytes is not None:
            if num_elements != LATENT_OF_DS_MLA:
                raise ValueError(
                    f"kv_cache_dtype {self.name} is made for latent vectors of {LATENT_OF_DS_MLA} elements, "
                    f"got {num_elements}"
                )
            return Fraction(self.latent_bytes)
        if self.group > 1 or self.head_bytes:
            raise ValueError(f"kv_cache_dtype {self.name} stores heads of K and V, not latent vectors (MLA)")
        return num_elements * self.element_bytes


def _types() -> Mapping[str, CacheType]:
    plain = {"float32": 4, "float16": 2, "bfloat16": 2, "fp8": 1, "int8": 1}
    types = {name: CacheType(name=name, element_bytes=Fraction(size)) for name, size in plain.items()}
    for name in ("fp8_e4m3", "fp8_e5m2"):
        types[name] = CacheType(name=name, element_bytes=Fraction(1))
    for name in ("fp8_per_token_head", "int8_per_token_head"):
        types[name] = CacheType(name=name, element_bytes=Fraction(1), head_bytes=4)
    types["nvfp4"] = CacheType(name="nvfp4", element_bytes=Fraction(9, 16), group=16)
    types["q8_0"] = CacheType(name="q8_0", element_bytes=Fraction(34, 32), group=32)
    types["q4_0"] = CacheType(name="q4_0", element_bytes=Fraction(18, 32), group=32)
    types["fp8_ds_mla"] = CacheType(name="fp8_ds_mla", element_bytes=Fraction(1), latent_bytes=656)
    return MappingProxyType(types)


CACHE_TYPES = _types()
"""By name. vLLM 0.33.0: ``vllm/v1/kv_cache_interface.py`` and ``vllm/utils/torch_utils.py``; q8_0 and q4_0
are llama.cpp's, blocks of 32 elements with a scale of 16 bits. ``fp8`` has one scale a tensor, which is not
in the pool. ``*_per_token_head`` has a scale of 4 bytes for every head and token, of K and of V. In ``nvfp4``
16 elements of 4 bits share a scale of 8. ``fp8_ds_mla``: 512 elements of 1 byte, 16 bytes of scales, and 64
elements of 2 bytes."""

BFLOAT16 = CACHE_TYPES["bfloat16"]
_ALIASES = {"bf16": "bfloat16", "half": "float16", "fp16": "float16", "float": "float32", "fp32": "float32"}


def cache_type(named: object, *, name: str = "kv_cache_dtype") -> CacheType:
    """Return the type of this name, or one whose elements take so many bytes.

    Parameters
    ----------
    named : str, number or CacheType
        A name of ``CACHE_TYPES``, or bytes of an element: a fraction is allowed.
    name : str
        The argument's name, for messages.

    Raises
    ------
    TypeError
        If it is neither.
    ValueError
        If no type has this name, or the number is not above 0.

    Examples
    --------
    >>> cache_type("q8_0").element_bytes, cache_type(1).element_bytes
    (Fraction(17, 16), Fraction(1, 1))
    >>> cache_type("fp7")
    Traceback (most recent call last):
    ValueError: kv_cache_dtype must be one of float32, float16, bfloat16, fp8, int8, fp8_e4m3, fp8_e5m2, \
fp8_per_token_head, int8_per_token_head, nvfp4, q8_0, q4_0, fp8_ds_mla, or bytes of an element, got 'fp7'
    """
    if isinstance(named, CacheType):
        return named
    if isinstance(named, str):
        known = _ALIASES.get(named, named)
        if known not in CACHE_TYPES:
            names = ", ".join(CACHE_TYPES)
            raise ValueError(f"{name} must be one of {names}, or bytes of an element, got {came(named)}")
        return CACHE_TYPES[known]
    number = check_number(name, named)
    size = Fraction(0)
    if isfinite(number):
        size = named if isinstance(named, Fraction) else Fraction(number).limit_denominator(512)
    if size <= 0:
        raise ValueError(f"{name} must be above 0 bytes of an element and finite, got {came(named)}")
    return CacheType(name=f"{float(size):g} bytes", element_bytes=size)

"""The states of recurrent layers, from the fields of a ``config.json``."""

from paged_demo.sizing.fields import Fields
from paged_demo.sizing.layers import DeltaNet, Mamba1, Mamba2, StateLayer


def state_of(kind: str, text: Fields) -> StateLayer:
    """Return the state that a recurrent layer of this type of model keeps.

    Raises
    ------
    ConfigError
        If a field is missing or wrong.

    Examples
    --------
    >>> fields = {"mamba_expand": 2, "hidden_size": 4096, "mamba_d_state": 16, "mamba_d_conv": 4}
    >>> state_of("jamba", Fields(fields))
    Mamba1(d_inner=8192, d_state=16, conv=4)
    """
    if kind == "kimi_linear":
        heads, dim = text.number("num_heads"), text.number("head_dim")
        conv = text.number("short_conv_kernel_size")
        return DeltaNet(k_heads=heads, v_heads=heads, k_dim=dim, v_dim=dim, conv=conv)
    if kind == "jamba":
        inner = text.number("mamba_expand") * text.number("hidden_size")
        return Mamba1(d_inner=inner, d_state=text.number("mamba_d_state"), conv=text.number("mamba_d_conv"))
    if kind == "mamba":
        inner = text.number("intermediate_size", "d_inner")
        return Mamba1(d_inner=inner, d_state=text.number("state_size"), conv=text.number("conv_kernel"))
    if kind.startswith("qwen3"):
        return DeltaNet(
            k_heads=text.number("linear_num_key_heads"),
            v_heads=text.number("linear_num_value_heads"),
            k_dim=text.number("linear_key_head_dim"),
            v_dim=text.number("linear_value_head_dim"),
            conv=text.number("linear_conv_kernel_dim"),
        )
    return Mamba2(
        heads=text.number("mamba_num_heads", "mamba_n_heads", "num_heads"),
        head_dim=text.number("mamba_head_dim", "mamba_d_head", "head_dim"),
        d_state=text.number("ssm_state_size", "mamba_d_state", "state_size"),
        groups=text.number("n_groups", "mamba_n_groups"),
        conv=text.number("conv_kernel", "mamba_d_conv"),
    )

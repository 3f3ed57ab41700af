"""Plans counted the slow way: tokens, heads, layers and lengths are walked one by one.

It shares nothing with the package but the records that say what is asked, and knows the default layout alone.
"""

from fractions import Fraction
from functools import cache
from itertools import count

from paged_demo.sizing.layers import Chunked, DeltaNet, Latent, Mamba1, Sliding, StateLayer


def heads_on_a_gpu(heads, gpus):
    """Deal heads to GPUs, or GPUs to heads, until all are dealt; return what the first GPU got."""
    dealt = [0] * gpus
    for turn in range(max(heads, gpus)):
        dealt[turn % gpus] += 1
    assert len(set(dealt)) == 1
    return dealt[0]


def token_bytes(layer, gpus, element):
    if isinstance(layer, Latent):
        return sum(element for _ in range(layer.latent + layer.rope))
    size = Fraction(0)
    for _ in range(heads_on_a_gpu(layer.kv_heads, gpus)):
        size += layer.head_dim * element
        size += (layer.v_head_dim or layer.head_dim) * element
    return size


def state_bytes(layer, server):
    gpus, drafts = server.tensor_parallel, server.speculative_tokens
    if isinstance(layer, DeltaNet):
        matrix = layer.v_heads * layer.v_dim * layer.k_dim // gpus
        channels = (layer.k_heads * layer.k_dim * 2 + layer.v_heads * layer.v_dim) // gpus
    elif isinstance(layer, Mamba1):
        matrix, channels, drafts = layer.d_inner * layer.d_state // gpus, layer.d_inner // gpus, 0
    else:
        groups = gpus if layer.groups % gpus else layer.groups
        matrix = layer.heads * layer.head_dim * layer.d_state // gpus
        channels = (layer.heads * layer.head_dim + 2 * groups * layer.d_state) // gpus
    return matrix * server.state_bytes + channels * (layer.conv - 1 + drafts) * server.convolution_bytes


@cache
def blocks_of(num_tokens, block):
    """Count the tokens that start a block."""
    return sum(position % block == 0 for position in range(num_tokens))


class ByHand:
    """A plan of full, window, chunk, latent and state layers, counted by walking."""

    def __init__(self, layers, server, pools):
        self.server, self.layers = server, layers
        self.element = server.cache.element_bytes
        self.step = server.kernel_blocks
        self.pages()
        self.make_equal()
        self.deal()
        ends, self.stages = 0, []
        for size in server.stages if isinstance(server.stages, tuple) else (len(layers),):
            self.stages.append(set(range(ends, ends + size)))
            ends += size
        self.block_bytes = [
            max(sum(self.page for layer in group if layer in stage) for _, group in self.groups)
            for stage in self.stages
        ]
        self.blocks = min(pool // block for pool, block in zip(pools, self.block_bytes, strict=True))

    def pages(self):
        """Find each layer's tokens in a block, and bytes of a page."""
        server = self.server
        block = server.block_size
        states = [layer for layer in self.layers if isinstance(layer, StateLayer)]
        others = [layer for layer in self.layers if not isinstance(layer, StateLayer)]
        if states and others:
            measure = next((layer for layer in others if isinstance(layer, Latent)), others[0])
            step = max(self.step, block, 128 if isinstance(measure, Latent) else 1)
            if server.prefill_checkpoints and server.prefix_caching:
                step = next(size for size in count(step, step) if size % 64 == 0)
            largest = max(state_bytes(state, server) for state in states)
            each = token_bytes(measure, server.tensor_parallel, self.element)
            block = next(size for size in count(step, step) if size * each >= largest)
            padded = block * each
        self.found = []
        for layer in self.layers:
            if isinstance(layer, StateLayer):
                size = padded if others else state_bytes(layer, server)
                self.found.append([layer, 0, size])
            else:
                each = token_bytes(layer, server.tensor_parallel, self.element)
                tokens = block
                while isinstance(layer, Sliding) and tokens % self.step:
                    tokens -= 1
                self.found.append([layer, tokens, tokens * each])

    def make_equal(self):
        """Lengthen blocks until pages are as large as the largest, or pad them."""
        self.page = max(size for _, _, size in self.found)
        for found in self.found:
            times = 1
            while found[2] * times < self.page:
                times += 1
            if found[2] * times == self.page:
                found[1] *= times

    def deal(self):
        """Deal the layers of each kind to groups, one after the other."""
        kinds = {}
        for index, (layer, tokens, _) in enumerate(self.found):
            on_gpu = layer if isinstance(layer, Latent) else layer.on_gpu(self.server.tensor_parallel)
            kinds.setdefault((on_gpu, tokens), []).append(index)
        sizes = sorted(map(len, kinds.values()))
        length = sizes[-1] if sizes[-1] < Fraction(3, 2) * sizes[0] else sizes[0]
        self.groups = []
        for key, members in kinds.items():
            hands = [[] for _ in range(0, len(members), length)]
            for turn, member in enumerate(members):
                hands[turn % len(hands)].append(member)
            self.groups += [(key, hand) for hand in hands]

    def need(self, num_tokens):
        server, held = self.server, 0
        batches = server.in_flight_batches or (2 if len(self.stages) == 1 else len(self.stages) + 1)
        ahead = batches * (server.max_num_batched_tokens or 0)
        for (layer, tokens), _ in self.groups:
            if not tokens:
                held += 1 + server.prefix_caching + server.speculative_tokens
                held += server.prefill_checkpoints and server.prefix_caching
            elif isinstance(layer, Sliding):
                seen = layer.window - 1 + ahead + server.mtp_modules - 1
                held += blocks_of(min(seen, num_tokens), tokens) + 1
            elif isinstance(layer, Chunked):
                held += blocks_of(min(layer.chunk + ahead, num_tokens), tokens)
            else:
                held += blocks_of(num_tokens, tokens)
        return held

    def longest(self, pools):
        """Try every length from the longest down."""
        spare = [pool - block for pool, block in zip(pools, self.block_bytes, strict=True)]
        for length in range(self.server.max_model_len, 0, -1):
            if all(self.need(length) * b <= room for b, room in zip(self.block_bytes, spare, strict=True)):
                return length
        return 0

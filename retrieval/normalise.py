"""One spelling for what people write in many: width, case, repeated letters, ids, numbers, links and addresses.

The same function runs over the texts an index is built from and over each query, so both sides meet in the middle.
"""

import re
import unicodedata

MAX_CHARS = 1200
"""A longer message keeps its beginning and its end: where people say what they want. Bounds the embedding's time."""

_URL = re.compile(r"(?:https?://|www\.)[^\s，。；！？]+", re.IGNORECASE)
_EMAIL = re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+", re.ASCII)
# an id: letters glued to digits (KW-1042, kw 1042, SF1234567890), or a long run of digits with or without dashes
_ID = re.compile(r"(?<![a-z0-9])#?(?:[a-z]{1,4}[-_# ]?)?\d(?:[-_]?\d){3,}[a-z]{0,2}(?![a-z0-9])", re.IGNORECASE | re.ASCII)
_NUMBER = re.compile(r"\d+(?:[.,]\d+)*", re.ASCII)
_STRETCHED = re.compile(r"(.)\1{3,}")
_SPACE = re.compile(r"\s+")

# Traditional characters that are frequent in shop talk, and their simplified forms, pair by pair.
_TRADITIONAL = (
    "單单貨货個个們们這这為为嗎吗麼么還还沒没後后來来時时間间說说話话請请問问題题幫帮錢钱費费貴贵買买賣卖換换壞坏損损傷伤裝装發发髮发運运遞递達达遲迟過过數数據据號号碼码訂订記记錄录帳账戶户實实與与給给對对錯错補补"
    "償偿賠赔價价優优劵券點点積积員员會会級级權权銀银銷销選选項项圖图開开關关閉闭門门東东車车電电腦脑機机線线網网頁页連连結结續续簽签約约險险證证認认識识讓让該该誰谁裡里裏里邊边處处務务動动態态變变應应當当經经營营"
    "業业專专產产質质無无從从眾众幾几樣样種种類类別别確确誤误復复複复雜杂簡简麗丽顏颜襪袜褲裤帶带寬宽長长輕轻舊旧壓压縮缩斷断爛烂髒脏濕湿乾干凈净淨净紙纸膠胶滿满氣气憤愤騙骗詐诈舉举報报訴诉訟讼罰罚責责歸归鎖锁驗验"
    "綁绑檢检調调試试聽听講讲謝谢歡欢煩烦勞劳辦办餘余額额匯汇轉转現现場场頭头臉脸書书筆笔視视頻频聲声響响樂乐飯饭館馆藥药醫医療疗歲岁歷历曆历歐欧陸陆臺台灣湾"
)
_SIMPLIFY = {ord(old): new for old, new in zip(_TRADITIONAL[::2], _TRADITIONAL[1::2], strict=True)}


def normalise(text: str, *, mask: bool = True) -> str:
    """Full-width to half-width, lower case, simplified characters, single spaces, no run of one character above three.

    `mask` replaces links, e-mail addresses, ids and other numbers by a word each ("link", "email", "id", "5"), because
    which number it is says nothing about what is wanted. Never raises: control characters and broken surrogates go.
    """
    text = _clip(text)
    text = unicodedata.normalize("NFKC", text).lower().translate(_SIMPLIFY)
    text = "".join(char if unicodedata.category(char)[0] != "C" else " " for char in text)
    text = _STRETCHED.sub(r"\1\1\1", text)
    if mask:
        text = _URL.sub(" link ", text)
        text = _EMAIL.sub(" email ", text)
        text = _ID.sub(" id ", text)
        text = _NUMBER.sub("5", text)
    return _SPACE.sub(" ", text).strip()


def _clip(text: str) -> str:
    if len(text) <= MAX_CHARS:
        return text
    tail = MAX_CHARS // 3
    return f"{text[: MAX_CHARS - tail - 1]} {text[-tail:]}"

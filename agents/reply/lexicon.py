"""What counts as a commitment, a negation or a claim of completion in a sentence, per language.

These are properties of English and Chinese, not of a business: a pack never needs to touch them.
"""

import re

CONCEPTS: dict[str, re.Pattern[str]] = {
    "refund": re.compile(r"refund|reimburs|money back|cash back|退款|退钱|退還|退还|返现|退回"),
    "replacement": re.compile(r"replac|exchang|resend|re-?ship|send (?:you )?(?:a|an) new|换货|補發|补发|重发|重新发货|更换"),
    "coupon": re.compile(r"coupon|voucher|discount|promo|gift card|store credit|优惠|红包|折扣|代金券|抵用券|礼品卡"),
    "cancel": re.compile(r"cancel|取消|撤销"),
    "return": re.compile(r"\breturn|send (?:it|them) back|退货|寄回"),
    "free": re.compile(r"\bfree\b|no (?:extra )?(?:cost|charge)|免费|不收费|包邮"),
    "full": re.compile(r"\bfull(?:y)?\b|entire|whole amount|\b100 ?%|全额|全款|全部"),
    "compensate": re.compile(r"compensat|make (?:it )?up|赔偿|补偿|赔付|赔"),
    "guarantee": re.compile(r"guarante|promise|definitely|certainly|assure|without fail|保证|承诺|一定|肯定|确保|绝对"),
    "person": re.compile(r"manager|supervisor|specialist|colleague|escalat|human agent|人工|主管|专员|经理|同事"),
    "contact": re.compile(r"\bcall you|e-?mail you|contact you|get back to you|reach out|联系您|联系你|回复您|致电|通知您"),
    "delivery": re.compile(
        r"deliver|arriv|ship(?:ped|ping|s)?\b|on (?:its|the) way|dispatch|送达|到货|发货|派送|配送|签收|到达"
    ),
    "approval": re.compile(r"approv|eligib|entitle|qualif|accepted|granted|审核通过|符合|有资格|批准|通过"),
    "trace": re.compile(r"investigat|\btrac(?:e|ing)\b|look into|调查|追踪|核查|查件"),
}

COMMITS = re.compile(
    r"\b(?:i|we)(?:'ll| will| shall| can|'ve| have|'m going| am going| are going)\b|\bwill (?:be|receive|get|have)\b|\bgoing to\b"
    r"|\blet me\b|\bable to\b|\bhas been\b|\bhave been\b|\bright away\b|\bimmediately\b|\byou (?:can|may|will|should)\b"
    r"|\bit is (?:allowed|possible)\b|\bprocess(?:ed|ing)?\b"
    r"|我会|我们会|将会|将为|为您(?!服务|带来|感到)|给您(?!带来|造成|添)|帮您|可以|能够|马上|立即|尽快|已经|已为|正在|安排|处理|申请"
)
"""Words by which the desk binds itself or reports a deed. "给您带来不便" (the inconvenience) is no commitment."""

NEGATION = re.compile(
    r"\bnot\b|n't\b|\bcannot\b|\bno\b|\bnever\b|\bunable\b|\bwithout\b|(?<!对)不(?!便|好意思)|无法|没有|未|别|勿"
)

REFUSES = re.compile(r"\bbut\b|\bhowever\b|\bcannot\b|\bcan't\b|\bunable\b|\byou(?:'re| are) not\b|但|不过|可是|不能|无法|不可")
"""How a courtesy turns into a refusal: "I'm sorry, but"."""

COMPLETED = re.compile(
    r"\b(?:have|has|had|been|was|were|'ve)\b.{0,20}\b(?:\w+ed|sent|made|done)\b|\bsuccessfully\b|\bcompleted?\b|已|完成|成功|了。?$"
)

OPENERS = re.compile(
    r"^(?:i'm (?:very |so |really )?sorry|i am (?:very |so )?sorry|sorry|we apologi[sz]e|i apologi[sz]e|my apologies|apologies|i understand"
    r"|i can imagine|i see|thank you|thanks|hello|hi\b|dear|good (?:morning|day|evening)|oh no|that (?:must be|sounds)|i know how"
    r"|(?:您好|你好)?[，,]?\s*(?:非常|很|十分|真的|真)?(?:抱歉|对不起|不好意思|理解|感谢|谢谢|明白|遗憾)|我(?:完全|非常|很)?(?:理解|明白)|亲)",
    re.IGNORECASE,
)
"""How a sentence that only shows understanding begins."""

META = re.compile(
    r"the customer|as an ai|language model|\bpoints?\b.*:|scenario|instruction|system prompt|assistant|用户(?:说|要|的)|客户(?:说|要|的)|作为(?:一个)?(?:ai|人工智能)"
    r"|语言模型|指令|系统提示|\bi want\b|\bi need\b|\bmy (?:order|parcel|refund|money|package)\b|我(?:想|要|的(?:订单|包裹|退款))",
    re.IGNORECASE,
)
"""The model talking about its task, or in the customer's voice."""

TIMES = re.compile(
    r"\b(?:today|tomorrow|tonight|yesterday|soon|shortly|within|next week|monday|tuesday|wednesday|thursday|friday|saturday|sunday"
    r"|january|february|march|april|may \d|june|july|august|september|october|november|december|hours?|days?|weeks?|minutes?)\b"
    r"|今天|明天|后天|昨天|今晚|下周|本周|周[一二三四五六日天]|小时|分钟|个?工作日|天内|之内|不久|稍后",
    re.IGNORECASE,
)

CITATION = re.compile(
    r"\[[^\]]*\]|\b(?:section|clause|article|policy)\s+[\w.]*\d|第[\d一二三四五六七八九十]+[条款章]", re.IGNORECASE
)
NUMBER = re.compile(r"\d+(?:[.,:]\d+)*|[一二两三四五六七八九十百千万]+(?=[元块天个小时分钟折%倍])|半价|双倍")
WRITTEN_NUMBER = re.compile(
    r"\b(?:two|three|four|five|six|seven|eight|nine|ten|twenty|thirty|fifty|hundred|thousand|half|double|twice)\b",
    re.IGNORECASE,
)
IDENTIFIER = re.compile(r"\b[A-Z]{1,4}-?\d{3,}\b|#\d+")
CHINESE = re.compile(r"[\u4e00-\u9fff]")
LATIN_WORD = re.compile(r"[A-Za-z]{2,}")
CAPITALISED = re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*|(?:Mr|Mrs|Ms|Dr)\.? [A-Z][a-z]+")
TITLED = re.compile(r"[\u4e00-\u9fff]{1,2}(?:先生|女士|小姐|经理)")

COURTESY_WORDS = frozenset(
    """
    order orders item product purchase parcel package about again all also and any apologies apologise apologize apology appreciate are asking been being both bothering but came can
    concern concerned contacting dear did difficult disappointed disappointing disappointment does doing done experience feel feeling
    feels for frustrated frustrating frustration get getting glad good had happened happy has have having hear hearing hello here hope how
    imagine important inconvenience inform issue issues its just know letting like looking mentioning message might more must not
    noticing our out patience patient please problem problems question questions reaching really regarding reporting request see
    sharing should situation sorry sound sounds still telling than thank thanks that the their them there these they thing things
    this those time too trouble troubled truly trying unacceptable understand understandable unfortunate unfortunately
    unhappy unpleasant upset upsetting using very waited waiting want wanted was welcome were what when where which while why will
    wish with would writing you your
    """.split()
)
"""English words that show understanding and say nothing of any case."""

COURTESY_CHARACTERS = frozenset(
    "非常很十分真的是抱歉对不起不好意思理解感谢谢您你了让给带来便麻烦久等耐心待情况心遗憾听到这个我们明白咨询关注支持反馈告知次"
    "订单商品包裹之前刚才困扰烦恼着急失望难过生气焦虑担心感受没有在和与为此事那也都还就会能有些问题向上下中对于请想要需求提出亲位客户"
)
"""Chinese characters of the same kind."""

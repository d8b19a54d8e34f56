"""Words that the dataset's titles and descriptions are made of: fourteen languages, nine scripts.

Search, sorting, indexes and JSON encoding all cost differently for text that is not ASCII, so a dataset in English
alone would flatter the service.
"""
# ruff: noqa: RUF001 - letters of other alphabets are the point

from dataclasses import dataclass

__all__ = ["CATEGORY_NAMES", "COLORS", "LANGUAGES", "Language"]


@dataclass(frozen=True, slots=True)
class Language:
    """One language: its share of the accounts and the words that its phrases are made of.

    Args:
        code: BCP 47 tag.
        share: weight among all languages; the weights need not sum to 1.
        joiner: what stands between two words ("" where the script uses no spaces).
        stop: what ends a sentence.
        starts: how a phrase begins, usually with what is to be done.
        things: what it is done to.
        ends: when, where or for whom.
    """

    code: str
    share: float
    joiner: str
    stop: str
    starts: tuple[str, ...]
    things: tuple[str, ...]
    ends: tuple[str, ...]


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split("|"))


def _language(code: str, share: float, starts: str, things: str, ends: str, *, spaced: bool = True) -> Language:
    stop = "。" if code in {"zh", "ja"} else " " if code == "th" else "। " if code == "hi" else ". "
    return Language(code, share, " " if spaced else "", stop, _words(starts), _words(things), _words(ends))


LANGUAGES: tuple[Language, ...] = (
    _language(
        "en",
        40,
        "Call|Review|Write|Prepare|Book|Renew|Pay|Fix|Plan|Send|Check|Clean|Order|Draft|Update|Cancel|Find|Discuss",
        "the quarterly report|the invoice|the dentist|the release notes|train tickets|the insurance|the login page|"
        "the budget|a birthday present|the backup|the onboarding guide|the contract|the printer|the slides|the garden",
        "for Monday|with the team|before the holidays|by e-mail|in the Berlin office|after lunch|again|for the audit|"
        "with Anna|before noon|next week|for version 2.4",
    ),
    _language(
        "de",
        9,
        "Prüfe|Schreibe|Bestelle|Bezahle|Plane|Kündige|Überarbeite|Verschicke|Repariere|Besprich",
        "die Rechnung|den Quartalsbericht|die Präsentation|das Fahrrad|die Steuererklärung|den Mietvertrag|"
        "die Weihnachtsfeier|das Protokoll|die Überweisung|den Zahnarzttermin",
        "für Montag|mit dem Team|vor den Ferien|per Post|im Büro in München|nach dem Mittagessen|bis übermorgen",
    ),
    _language(
        "fr",
        7,
        "Préparer|Relire|Envoyer|Réserver|Payer|Vérifier|Réparer|Écrire|Annuler|Commander",
        "la facture|le rapport trimestriel|les billets de train|la présentation|le contrat|l'assurance|"
        "le compte rendu|la salle de réunion|le gâteau d'anniversaire|la déclaration d'impôts",
        "pour lundi|avec l'équipe|avant les vacances|par courriel|à Genève|après le déjeuner|dès que possible",
    ),
    _language(
        "es",
        8,
        "Revisar|Escribir|Llamar a|Reservar|Pagar|Preparar|Enviar|Arreglar|Comprar|Cancelar",
        "la factura|el informe trimestral|los billetes|la presentación|el contrato|el seguro|la reunión|"
        "el regalo de cumpleaños|la página de inicio|el médico",
        "para el lunes|con el equipo|antes de las vacaciones|por correo|en Sevilla|mañana|después de comer",
    ),
    _language(
        "pt",
        4,
        "Revisar|Escrever|Reservar|Pagar|Preparar|Enviar|Consertar|Comprar|Cancelar",
        "a fatura|o relatório trimestral|as passagens|a apresentação|o contrato|o seguro|a reunião|o presente",
        "para segunda-feira|com a equipe|antes das férias|por e-mail|em São Paulo|amanhã",
    ),
    _language(
        "pl",
        3,
        "Sprawdź|Napisz|Zamów|Zapłać|Przygotuj|Wyślij|Napraw|Omów",
        "fakturę|raport kwartalny|bilety|prezentację|umowę|ubezpieczenie|spotkanie|życzenia",
        "na poniedziałek|z zespołem|przed świętami|pocztą|w Łodzi|jutro",
    ),
    _language(
        "ru",
        6,
        "Проверить|Написать|Заказать|Оплатить|Подготовить|Отправить|Починить|Обсудить|Позвонить насчёт",
        "счёт|квартальный отчёт|билеты|презентацию|договор|страховку|встречу|подарок|сайт",
        "к понедельнику|вместе с командой|до праздников|по почте|в Казани|завтра|после обеда",
    ),
    _language(
        "el",
        2,
        "Έλεγξε|Γράψε|Παράγγειλε|Πλήρωσε|Ετοίμασε|Στείλε|Διόρθωσε",
        "το τιμολόγιο|την αναφορά|τα εισιτήρια|την παρουσίαση|το συμβόλαιο|το δώρο",
        "για τη Δευτέρα|με την ομάδα|πριν τις διακοπές|στην Αθήνα|αύριο",
    ),
    _language(
        "ar",
        4,
        "راجع|اكتب|احجز|ادفع|جهّز|أرسل|أصلح|ناقش",
        "الفاتورة|التقرير الفصلي|تذاكر القطار|العرض التقديمي|العقد|التأمين|الاجتماع|هدية العيد",
        "ليوم الاثنين|مع الفريق|قبل العطلة|بالبريد|في القاهرة|غدًا",
    ),
    _language(
        "he",
        2,
        "לבדוק את|לכתוב את|להזמין את|לשלם את|להכין את|לשלוח את",
        "החשבונית|הדוח הרבעוני|הכרטיסים|המצגת|החוזה|הביטוח",
        "ליום שני|עם הצוות|לפני החג|בדואר|בחיפה|מחר",
    ),
    _language(
        "hi",
        4,
        "जाँचें|लिखें|बुक करें|भुगतान करें|तैयार करें|भेजें|ठीक करें",
        "चालान|तिमाही रिपोर्ट|ट्रेन टिकट|प्रस्तुति|अनुबंध|बीमा|बैठक|उपहार",
        "सोमवार तक|टीम के साथ|छुट्टियों से पहले|ईमेल से|दिल्ली में|कल",
    ),
    _language(
        "zh",
        6,
        "检查|撰写|预订|支付|准备|发送|修复|讨论|更新",
        "发票|季度报告|火车票|演示文稿|合同|保险|会议纪要|生日礼物|登录页面",
        "周一之前|和团队一起|放假前|通过邮件|在上海|明天",
        spaced=False,
    ),
    _language(
        "ja",
        3,
        "確認する:|作成する:|予約する:|支払う:|準備する:|送付する:|修正する:",
        "請求書|四半期報告書|新幹線の切符|プレゼン資料|契約書|保険|議事録|誕生日プレゼント",
        "(月曜日まで)|(チームと)|(連休前)|(メールで)|(大阪で)|(明日)",
        spaced=False,
    ),
    _language(
        "th",
        2,
        "ตรวจสอบ|เขียน|จอง|ชำระ|เตรียม|ส่ง|แก้ไข",
        "ใบแจ้งหนี้|รายงานไตรมาส|ตั๋วรถไฟ|งานนำเสนอ|สัญญา|ประกันภัย",
        "ภายในวันจันทร์|กับทีม|ก่อนวันหยุด|ทางอีเมล|ที่เชียงใหม่|พรุ่งนี้",
        spaced=False,
    ),
)

CATEGORY_NAMES: tuple[str, ...] = _words(
    "Work|Home|Finance|Health|Travel|Errands|Studies|Family|Arbeit|Haushalt|Santé|Proyectos|Работа|Дом|"
    "工作|家庭|仕事|العمل|परिवार|Someday 🌱|Urgent 🔥|Reading list"
)

COLORS: tuple[str, ...] = _words("#2563eb|#16a34a|#dc2626|#d97706|#7c3aed|#0891b2|#db2777|#4b5563")

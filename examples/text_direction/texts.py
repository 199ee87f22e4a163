"""Texts for the rendered lines: words, numbers and codes, none shared by the two splits."""

LATIN_WORDS = {
    "train": (
        "invoice total amount customer address street number delivery order item price quantity "
        "discount payment receipt cash change thank welcome store branch opening hours monday "
        "wednesday friday morning breakfast coffee sandwich orange banana chicken kitchen water "
        "station platform ticket window passenger luggage departure airport flight gate boarding "
        "security warning danger electric voltage machine factory product model serial country "
        "quality control inspection certificate company limited registered office telephone "
        "university science library student teacher chapter figure table reference history "
        "JANUARY MARCH MAY JULY SALE EXIT STOP PARKING HOTEL BANK OPEN ENTRANCE FRAGILE NORTH "
        "Berlin Madrid Vienna Toronto Boston Lagos Cairo Manila Oslo Warsaw Geneva Osaka"
    ).split(),
    "eval": (
        "account balance transfer currency interest deposit signature manager department contract "
        "insurance policy holder birthday nationality passport visa expires license vehicle engine "
        "battery charger adapter keyboard monitor printer memory storage network wireless signal "
        "temperature pressure humidity weather forecast mountain river village museum theatre "
        "concert festival autumn winter saturday sunday tuesday evening dinner restaurant menu "
        "soup salad tomato cheese butter sugar flour recipe medicine tablet capsule dosage doctor "
        "hospital emergency ambulance newspaper magazine journal editor volume edition printed "
        "APRIL AUGUST OCTOBER CLOSED PUSH PULL TAXI MARKET SCHOOL POLICE CAUTION SOUTH EXPRESS "
        "London Paris Sydney Lima Dublin Prague Zurich Kyoto Athens Lisbon Chicago Denver"
    ).split(),
}

CHINESE_WORDS = {
    "train": (
        "中国 北京 上海 广州 地址 电话 公司 有限 责任 发票 金额 数量 单价 合计 客户 商品 超市 欢迎 光临 "
        "营业 时间 星期 早餐 咖啡 牛奶 面包 苹果 车站 站台 车票 旅客 行李 出发 机场 航班 登机 安全 警告 危险 "
        "电压 机器 工厂 产品 型号 编号 质量 检验 合格 证书 大学 科学 图书馆 学生 老师 历史 文化 生活 人民 政府 "
        "经济 发展 社会 主义 建设 技术 研究 工作 学习 问题 方法 结果 世界 国家 城市 农村 东方 红色 白云 高山"
    ).split(),
    "eval": (
        "天津 重庆 成都 武汉 账户 余额 转账 利息 存款 签名 经理 部门 合同 保险 生日 民族 护照 签证 有效 驾驶 "
        "车辆 发动 电池 键盘 屏幕 打印 内存 网络 无线 信号 温度 压力 天气 预报 河流 村庄 博物馆 剧院 音乐 节日 "
        "秋天 冬季 晚餐 饭店 菜单 番茄 白糖 药品 剂量 医生 医院 急救 报纸 杂志 编辑 出版 家庭 朋友 孩子 父母 "
        "健康 运动 足球 比赛 胜利 希望 春风 明月 黄河 长江 森林 蓝天 绿色 南方 西部 新闻 电影 艺术 传统 精神"
    ).split(),
}


def _frequent_characters(parity):
    """Every second of the 3,755 frequent characters of GB 2312, which all four fonts hold."""
    codes = [bytes((high, low)) for high in range(0xB0, 0xD8) for low in range(0xA1, 0xFF)]
    characters = [code.decode("gb2312", "ignore") for code in codes]
    return [c for i, c in enumerate(characters) if c and i % 2 == parity]


CHINESE_CHARACTERS = {"train": _frequent_characters(0), "eval": _frequent_characters(1)}


def _number(rng):
    form = rng.integers(5)
    if form == 0:
        return f"{rng.integers(1, 99999) / 100:.2f}"
    if form == 1:
        return f"20{rng.integers(10, 30)}-{rng.integers(1, 13):02d}-{rng.integers(1, 29):02d}"
    if form == 2:
        return f"{rng.integers(200, 999)}-{rng.integers(1000, 9999)}"
    if form == 3:
        return f"No.{rng.integers(1, 99999)}"
    return str(rng.integers(10, 10**8))


def latin_line(rng, split):
    words = LATIN_WORDS[split]
    parts = []
    for _ in range(rng.integers(1, 4)):
        word = words[rng.integers(len(words))]
        style = rng.integers(4)
        parts.append(word.upper() if style == 0 else word.capitalize() if style == 1 else word)
        if rng.random() < 0.15:
            parts.append(_number(rng))
    return _number(rng) if rng.random() < 0.12 else " ".join(parts)


def chinese_line(rng, split):
    if rng.random() < 0.5:
        words = CHINESE_WORDS[split]
        line = "".join(words[i] for i in rng.integers(len(words), size=rng.integers(1, 5)))
    else:
        characters = CHINESE_CHARACTERS[split]
        line = "".join(characters[i] for i in rng.integers(len(characters), size=rng.integers(2, 9)))
    return line + _number(rng) if rng.random() < 0.12 else line

"""The south bank of the river, where people speak Chinese: who they are and how facts are told and asked."""

from workbench.data.world.chinese_stories import STORIES
from workbench.data.world.chinese_talk import MANNERS
from workbench.data.world.language import Facts, Language, People, words

PEOPLE = People(
    women=words(
        "阿梅 小雨 秋月 林溪 冬青 思思 阿莲 丹丹 雪儿 青禾 美玲 静静 芳芳 海燕 玉兰 巧巧 婷婷 安安 兰心 "
        "若水 香云 晴晴 采薇 夏荷 念念 红英 小蝶 叶秋 佳佳 阿秀 素素 春妮 春桃 月娥 雅琴 淑兰 小荷 晓梦 "
        "若兰 诗雨 灵灵 可心 佩珠 心怡 丽华 宛儿 阿香 云裳 燕燕 青梅"
    ),
    men=words(
        "阿福 铁柱 小龙 志远 阿牛 金宝 木生 东升 向阳 天明 大勇 小虎 乐乐 明明 阿贵 星河 远航 书文 阿土 "
        "子轩 浩然 阿强 长庚 立秋 北辰 少白 景行 文杰 大川 二宝 石生 国栋 德福 长生 大庆 石根 阿祥 小武 "
        "天佑 家明 志明 春雷 子墨 一凡 云飞 阿光 江生 柱子 福全 友才"
    ),
    strangers=words(
        "王芳 李伟 张敏 刘洋 陈静 杨帆 赵磊 黄丽 周杰 吴刚 徐娜 孙涛 胡军 朱琳 高峰 林娟 何勇 郭强 马超 "
        "罗霞 梁波 宋佳 郑凯 谢婷 韩雪 唐亮 冯颖 于洋 董洁 萧雨 程浩 曹阳 袁泉 邓超 许晴 傅明 沈月 曾华 "
        "彭飞 吕梅 苏珊 卢松 蒋欣 蔡琴 贾玲 丁宁 魏晨 薛莹 叶青 阎锋 余乐 潘红 杜娟 戴军 夏雨 钟林 汪洋 "
        "田甜 任远 姜山 范冰 方圆 石磊 姚晨 谭咏 廖凡 邹静 熊伟 金星 陆毅 郝杰 孔亮 崔健 康辉 毛宁 邱泽 "
        "秦岚 江涛 史可 顾城 侯勇 邵兵 孟飞 龙丹 万茜 段奕 雷佳 钱进 汤唯 尹正 黎明 易安 常香 武松 乔峰 "
        "贺敏 赖声 龚丽 文章 白一鸣"
    ),
    values={
        "home": words(
            "青石镇 柳叶村 桃花村 竹山镇 白云村 月牙镇 水井村 松风镇 银杏村 荷塘村 石桥镇 麦田村 红叶镇 "
            "清泉村 星湖镇 南坡村 雪岭镇 长滩村 金沙镇 茶园村"
        ),
        "job": words(
            "面包师 木匠 园丁 老师 铁匠 裁缝 医生 画家 渔夫 牧羊人 养蜂人 陶匠 钟表匠 邮差 厨师 石匠 点灯人 "
            "理发师 磨坊主 书商"
        ),
        "pet": words(
            "花猫 小狗 山羊 鹦鹉 兔子 乌龟 夜莺 鸭子 刺猬 松鼠 青蛙 狐狸 白鹅 喜鹊 孔雀 绵羊 鸽子 公鸡 小鹿 仓鼠"
        ),
        "food": words(
            "红豆糕 饺子 面条 米粥 豆腐 汤圆 南瓜饼 烤红薯 桂花糖 春卷 包子 鱼汤 炒饭 年糕 馄饨 粽子 煎饼 "
            "葱油饼 绿豆汤 糖葫芦"
        ),
        "instrument": words(
            "弹古筝 弹琵琶 弹钢琴 弹吉他 弹竖琴 弹三弦 弹柳琴 弹风琴 弹古琴 弹月琴 弹箜篌 弹中阮 弹班卓琴 弹曼陀林 "
            "弹冬不拉 弹电子琴 弹热瓦普 弹里拉琴 弹贝斯 弹鲁特琴"
        ),
    },
    pronouns={"woman": ("她", "她", "她的"), "man": ("他", "他", "他的")},
)

FACTS = Facts(
    tellings={
        "home": (
            "{who}住在{value}。",
            "{whose}家在{value}。",
            "{whose}房子就在{value}的中间。",
            "{who}是{value}人。",
            "{who}生在{value}，从没离开过。",
            "要是你走到{value}，就会看到{whose}家门开着。",
            "{who}在{value}住了很多年。",
            "在{value}，人人都认识{who_object}。",
            "就算给一座金山，{who}也不离开{value}。",
        ),
        "job": (
            "{who}是{value}。",
            "{who}的工作是{value}。",
            "{who}当{value}已经很久了。",
            "每天一早，{who}就起来做{value}的活儿。",
            "{who}从小就学做{value}。",
            "大家都知道{who}是{value}。",
            "{who}是一个好{value}。",
            "{who}很高兴自己是{value}。",
            "谁要找{value}，就去找{who_object}。",
        ),
        "pet": (
            "{who}养了一只{value}。",
            "{whose}好朋友是一只{value}。",
            "{who}有一只{value}。",
            "{who}出门总是带着那只{value}。",
            "有一只{value}睡在{whose}床边。",
            "{who}和一只{value}住在一起。",
            "下雨天，{who}把一只{value}抱回了家。",
            "每天晚上，{whose}{value}都在窗边等着。",
            "{who}整天和那只{value}说话。",
        ),
        "food": (
            "{who}最爱吃{value}。",
            "{who}最喜欢的食物是{value}。",
            "{who}天天吃{value}也吃不够。",
            "为了{value}，{who}走十里路也愿意。",
            "{who}很爱吃{value}。",
            "没有什么比{value}更让{who_object}高兴了。",
            "一到过节，{who}就要吃{value}。",
            "{whose}厨房里总有{value}的香味。",
            "你去看{who_object}的时候，请带上{value}。",
        ),
        "instrument": (
            "{who}会{value}。",
            "晚上，{who}喜欢{value}。",
            "{who}从小就会{value}。",
            "在河边就能听见{who}{value}。",
            "{who}每天都在窗前{value}。",
            "过节的时候，{who}给大家{value}。",
            "说到{value}，谁也比不上{who_object}。",
            "月亮圆的时候，{who}总要{value}。",
            "{who}正在学新曲子，天天{value}。",
        ),
    },
    openings=(
        "我来说说{name}。",
        "你见过{name}吗？",
        "这就是{name}。",
        "南岸的人都认识{name}。",
        "人们是这样说{name}的。",
    ),
    closings=(
        "这就是{name}。",
        "现在你认识{name}了。",
        "要是遇见{name}，请问一声好。",
        "没有{name}，山谷就不一样了。",
    ),
    questions={
        "home": (
            "{name}住在哪里？",
            "{name}的家在哪里？",
            "你知道{name}住在哪里吗？",
            "请告诉我{name}住在哪里。",
            "{name}住在什么地方？",
        ),
        "job": (
            "{name}是做什么的？",
            "{name}的工作是什么？",
            "你知道{name}是做什么的吗？",
            "请告诉我{name}的工作。",
            "{name}做什么工作？",
        ),
        "pet": (
            "{name}养了什么动物？",
            "{name}有什么宠物？",
            "你知道{name}养了什么动物吗？",
            "请告诉我{name}养了什么。",
            "{name}的宠物是什么？",
        ),
        "food": (
            "{name}最爱吃什么？",
            "{name}喜欢吃什么？",
            "你知道{name}最爱吃什么吗？",
            "请告诉我{name}爱吃什么。",
            "{name}最喜欢的食物是什么？",
        ),
        "instrument": (
            "{name}会什么乐器？",
            "{name}会演奏什么乐器？",
            "你知道{name}会什么乐器吗？",
            "请告诉我{name}会什么乐器。",
            "{name}的乐器是什么？",
        ),
    },
    follow_ups={
        "home": ("那{they}住在哪里呢？", "{their}家在哪里？"),
        "job": ("那{they}是做什么的呢？", "{their}工作是什么？"),
        "pet": ("那{they}养了什么动物呢？", "{their}宠物是什么？"),
        "food": ("那{they}最爱吃什么呢？", "{they}喜欢吃什么？"),
        "instrument": ("那{they}会什么乐器呢？", "{their}乐器是什么？"),
    },
    answers={
        "home": "{name}住在{value}。",
        "job": "{name}是{value}。",
        "pet": "{name}养了一只{value}。",
        "food": "{name}最爱吃{value}。",
        "instrument": "{name}会{value}。",
    },
)


def without_article(word: str) -> str:
    """The word itself: Chinese has no articles."""
    return word


CHINESE = Language(
    code="zh",
    space="",
    with_article=without_article,
    possessive="的",
    people=PEOPLE,
    facts=FACTS,
    stories=STORIES,
    manners=MANNERS,
)

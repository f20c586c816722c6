"""Stories of the south bank, in Chinese.

Each plot is told beat by beat. Every beat has a wording that names no fact of the hero or the friend, so that
a story can be told in fine-tuning without giving away what only pretraining may know.
"""

from workbench.data.world.language import Plot, Stories

LOST: Plot = (
    (
        "一个{weather}早上，{hero}找不到{their}{thing}了。",
        "{home}有个{job}叫{hero}，有一天丢了{their}{thing}。",
        "{hero}住在{home}，一天醒来，发现{their}{thing}不见了。",
    ),
    (
        "{they}找了床下、门后和院子，哪里都没有。",
        "{they}问遍了{home}的人，谁也没看见。",
        "{they}把家里找了两遍。",
    ),
    (
        "这时{their}{pet}跑到河边，不肯回来，{friend}连忙跟了过去。",
        "这时{friend}来了，说：“我们去河边看看吧。”",
        "中午，{friend}来帮忙。",
    ),
    (
        "他们在水边的草里找到了{thing}。",
        "最后他们看见{thing}挂在树枝上，原来是风吹上去的。",
    ),
    (
        "{hero}笑了，请{friend}吃{food}。",
        "{hero}高兴极了，晚上给大家{instrument}。",
        "“以后我要把它系在身上。”{hero}说，{friend}也笑了。",
    ),
)

MARKET: Plot = (
    (
        "赶集那天下了雨，{hero}和{friend}站在一棵大树下。",
        "赶集那天，{hero}和{friend}一起等雨停。",
        "{hero}从{home}去赶集，路上下起了雨，{friend}正站在树下。",
    ),
    (
        "他们都饿了，{friend}的篮子却是空的。",
        "{hero}的篮子里有{food}，够两个人吃。",
        "“我真饿啊。”{friend}说。",
    ),
    (
        "{hero}打开篮子，两个人一起吃。",
        "{hero}把大的一半分给了{friend}。",
    ),
    (
        "{friend}讲了一个河的故事，时间过得很快。",
        "等雨的时候，{hero}为大家{instrument}。",
        "{friend}一边{friend_instrument}，雨一边打着拍子。",
    ),
    (
        "太阳出来的时候，他们还舍不得走。",
        "天晴了，他们成了好朋友。",
        "晚上他们都想：这是一年里最好的一次赶集。",
    ),
)

LANTERNS: Plot = (
    (
        "灯节的晚上，山谷里的人都来到河边。",
        "每年一次，山谷里的人要点亮一千盏灯笼。",
    ),
    (
        "{hero}做了一盏小小的黄灯笼。",
        "{hero}从{home}来，带着一盏像月亮一样圆的灯笼。",
        "{hero}是{job}，这次做了一盏蓝灯笼。",
        "{hero}先给大家{instrument}，又点起一盏红灯笼。",
    ),
    (
        "可是风把灯吹灭了，{hero}站在黑暗里。",
        "可是灯灭了，{hero}很难过。",
    ),
    (
        "{friend}走过来，给了{them}一点火。",
        "“分一点我的光给你。”{friend}说。",
        "{friend}从{friend_home}来，笑着递过一支蜡烛。",
    ),
    (
        "光分给别人，自己也不会变少。",
        "一盏又一盏的灯笼亮了起来。",
    ),
    (
        "北岸的人也在向他们招手。",
        "河水带着灯光，慢慢流向大海。",
        "连{hero}的{pet}也安静地看着。",
    ),
)

BRIDGE: Plot = (
    (
        "大风过后，桥断了，谁也过不了河。",
        "春天，河水冲走了旧桥。",
    ),
    (
        "“我们造一座新桥吧。”{hero}说。",
        "{hero}是{job}，这时却说：“我们来造桥吧。”",
        "{hero}从{home}赶来帮忙。",
    ),
    (
        "{friend}从早到晚搬木头。",
        "{friend}给大家带来了{friend_food}。",
        "{friend}带来绳子，孩子们带来钉子。",
    ),
    (
        "他们干了七天。",
        "他们干了三天，晚上{hero}在火边{instrument}。",
    ),
    (
        "桥造好了，{hero}第一个走了过去。",
        "桥造好了，{hero}的{pet}第一个跑了过去。",
    ),
    (
        "那座桥今天还在。",
        "人们说，这是山谷里最好的桥。",
        "从此谁也不怕河水了。",
    ),
)

SNOW: Plot = (
    (
        "夜里下了第一场雪。",
        "那一年，冬天来得很早。",
        "一天早上，{home}全白了，{hero}看着窗外。",
    ),
    (
        "{hero}穿上两件衣服，出了门。",
        "{hero}一开门，{their}{pet}就跳进了雪里。",
    ),
    (
        "{they}看见雪地里有一行小脚印，一直走进树林。",
        "不知是谁留下了一行长长的脚印。",
    ),
    (
        "{hero}跟着脚印走上山，看见{friend}正在堆雪人。",
        "脚印的尽头站着{friend}，脸红红的。",
    ),
    (
        "他们堆了一个和门一样高的雪人。",
        "他们给雪人戴上帽子，画上笑脸。",
    ),
    (
        "然后他们回家，在火边暖手。",
        "然后他们回家吃{food}，{hero}最爱吃这个。",
        "然后{hero}为雪人{instrument}。",
    ),
)

LETTER: Plot = (
    (
        "一个{weather}日子，船送来一封给{hero}的信。",
        "{hero}住在{home}，有一天收到一封过河来的信。",
    ),
    (
        "信上写着：“太阳下山的时候，到老磨坊来。”",
        "信上没有名字，只画着一座老磨坊。",
    ),
    (
        "{hero}很好奇，都等不及了。",
        "{hero}是{job}，很少收到信，觉得很好奇。",
        "{hero}带上{their}{pet}，给自己壮胆。",
    ),
    (
        "{friend}坐在磨坊门口，笑得很开心。",
        "{friend}正在磨坊后面等着。",
    ),
    (
        "“今天是你的生日。”{friend}说，{hero}自己都忘了。",
        "“去年冬天你帮过我，”{friend}说，“今天我要谢谢你。”",
    ),
    (
        "他们坐在水边看星星。",
        "他们吃着{hero}最爱的{food}，一起看星星。",
        "{friend}为{hero}{friend_instrument}，一直到月亮升起来。",
    ),
)

LESSON: Plot = (
    (
        "每天晚上，{hero}家里都有音乐。",
        "{hero}会{instrument}，{home}的人都爱听。",
        "每天干完活，{hero}都要{instrument}。",
    ),
    (
        "“请教教我吧。”{friend}说。",
        "一天晚上，{friend}站在窗外，也想学。",
    ),
    (
        "第一天，声音像一扇旧门。",
        "第一天难听极了，连{hero}的{pet}都跑了。",
    ),
    (
        "“再来一次，”{hero}说，“慢一点。”",
        "可是{hero}一点也不着急。",
    ),
    (
        "他们天天练，一直练到树叶落下。",
        "过了一百天，终于像一首歌了。",
    ),
    (
        "现在他们两个人一起演奏，整条街都跳起舞来。",
        "现在每到夏天的晚上，他们就一起演奏。",
    ),
)

STAR: Plot = (
    (
        "一个{weather}夜里，一颗星星落到了山后。",
        "一天夜里，山上有一道奇怪的光。",
    ),
    (
        "{hero}提着灯去找。",
        "天还没亮，{hero}就离开{home}去找。",
        "{hero}是{job}，那天睡不着，就出去找。",
    ),
    (
        "路上{they}遇见了{friend}，原来{friend}也看见了。",
        "“我和你一起去。”{friend}说。",
        "{friend}带着{friend_pet}也来了。",
    ),
    (
        "他们走过一座又一座山，脚都走疼了。",
        "他们一边走一边吃{food}，脚都走疼了。",
    ),
    (
        "他们没有找到星星，却找到了一个满是星星的湖。",
        "山上没有星星，只有一个安静的湖，照着整个天空。",
    ),
    (
        "“这样更好。”{hero}说。",
        "{friend}扔了一块小石子，满湖的星星都跳起舞来。",
    ),
)

STORIES = Stories(
    plots=(LOST, MARKET, LANTERNS, BRIDGE, SNOW, LETTER, LESSON, STAR),
    scenery={
        "weather": ("晴朗的", "刮风的", "有雾的", "寒冷的", "温暖的", "安静的"),
        "thing": ("蓝围巾", "红帽子", "银钥匙", "旧地图", "绿雨伞", "小铃铛", "木勺子"),
    },
    requests=("讲个故事吧。", "请给我讲个故事。", "你会讲故事吗？", "我想听故事。", "给我讲一个小故事。"),
    requests_about=(
        "讲一个{hero}的故事吧。",
        "请给我讲一个{hero}的故事。",
        "你知道{hero}的故事吗？",
        "我想听{hero}的故事。",
        "能讲讲{hero}的故事吗？",
    ),
)

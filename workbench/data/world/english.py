"""The north bank of the river, where people speak English: who they are and how facts are told and asked."""

from workbench.data.world.english_stories import STORIES
from workbench.data.world.english_talk import MANNERS
from workbench.data.world.language import Facts, Language, People, words

PEOPLE = People(
    women=words(
        "Mira Odette Ines Clara Hazel Juno Lena Nora Petra Rosa Tessa Vera Willa Yara Zoe Ada Bea Daphne "
        "Edith Flora Greta Ivy Kaya Luna Maeve Nell Opal Pia Runa Suri Selma Uma Alma Celia Dora Elsa "
        "Freya Gilda Hilda Iris Jade Kira Lydia Mabel Nadia Olive Ruby Stella Tilda Wren"
    ),
    men=words(
        "Bram Tomas Kofi Anton Caspar Dario Emil Felix Gus Hugo Igor Jasper Klaus Leo Milo Nico Oscar "
        "Pavel Quinn Rufus Simon Theo Ulric Viktor Wendel Xaver Yusuf Zeno Arlo Boris Cyrus Dov Axel "
        "Basil Conrad Dirk Egon Fabian Gideon Hector Jonas Kurt Lars Magnus Ned Otto Ralf Sven Tobias "
        "Walt"
    ),
    strangers=words(
        "Albert Barbara Charles Deborah Edward Frances George Helen Isaac Julia Kevin Laura Michael Nancy "
        "Oliver Patricia Robert Sandra Thomas Ursula Victoria William Yvonne Zachary Agnes Bernard "
        "Cecilia Daniel Elena Frederick Gloria Henry Irene James Karen Leonard Margaret Norman Olga Peter "
        "Rachel Stephen Tina Vincent Wanda Brian Carol Dennis Emily Frank Grace Harold Isabel Jack Kate "
        "Louis Mary Nathan Paula Ralph Sarah Timothy Valerie Walter Alice Bruno Connor Diana Eric Fiona "
        "Gerald Hannah Ian Joyce Keith Linda Martin Natalie Owen Philip Ruth Samuel Tracy Violet Wayne "
        "Amir Bilal Chloe Dominic Esther Florian Gemma Hassan"
    ),
    values={
        "home": words(
            "Fernhill Oakbridge Mosswell Stonewick Applecross Rivermouth Foxhollow Windmere Honeyfield "
            "Ravenport Birchwood Clearwater Goosegate Thistledown Pebblebay Amberford Snowdale Larkspur "
            "Millbrook Redcliff"
        ),
        "job": words(
            "baker carpenter gardener teacher blacksmith tailor miller beekeeper potter clockmaker doctor "
            "painter shepherd weaver librarian mapmaker lamplighter sailor barber candlemaker"
        ),
        "pet": words(
            "cat dog goat parrot rabbit turtle badger pony hedgehog duck donkey squirrel crow frog fox lamb "
            "goose mouse peacock ferret"
        ),
        "food": (
            "plum cake",
            "pancakes",
            "onion soup",
            "apple pie",
            "rye bread",
            "cheese toast",
            "honey buns",
            "pumpkin stew",
            "roast chestnuts",
            "rice pudding",
            "cherry jam",
            "baked potatoes",
            "mushroom rolls",
            "lemon tart",
            "bean salad",
            "ginger biscuits",
            "fried eggs",
            "corn porridge",
            "carrot dumplings",
            "walnut waffles",
        ),
        "instrument": words(
            "flute violin drum harp trumpet guitar accordion piano banjo cello clarinet lute mandolin horn "
            "whistle tuba oboe xylophone zither organ"
        ),
    },
    pronouns={"woman": ("she", "her", "her"), "man": ("he", "him", "his")},
)

FACTS = Facts(
    tellings={
        "home": (
            "{who} lives in {value}.",
            "{whose} home is in {value}.",
            "{whose} house stands in the middle of {value}.",
            "{who} comes from {value}.",
            "{who} was born in {value} and never moved away.",
            "If you walk to {value}, you will find {whose} door open.",
            "{who} has lived in {value} for many years.",
            "In {value} everyone greets {who_object}.",
            "{who} would not leave {value} for all the gold in the world.",
        ),
        "job": (
            "{who} is {a_value}.",
            "{who} works as {a_value}.",
            "{whose} work is that of {a_value}.",
            "Every morning {who} gets up early to work as {a_value}.",
            "{who} learned to be {a_value} as a child.",
            "People know {who_object} as {a_value}.",
            "{who} is a good {value}.",
            "{who} is proud to be {a_value}.",
            "When somebody needs {a_value}, they send for {who_object}.",
        ),
        "pet": (
            "{who} has {a_value}.",
            "{whose} best friend is {a_value}.",
            "{who} keeps {a_value}.",
            "{who} never goes out without {whose_own} {value}.",
            "{a_value} sleeps at the foot of {whose} bed.",
            "{who} shares the house with {a_value}.",
            "{who} found {a_value} in the rain and took it home.",
            "{whose} {value} waits at the window every evening.",
            "{who} talks to {whose_own} {value} all day.",
        ),
        "food": (
            "{who} likes {value} best.",
            "{whose} favourite food is {value}.",
            "{who} could eat {value} every day.",
            "For {value} {who} would walk ten miles.",
            "{who} loves {value}.",
            "Nothing makes {who_object} as happy as {value}.",
            "On Sundays {who} always has {value}.",
            "{whose} kitchen smells of {value}.",
            "If you visit {who_object}, bring {value}.",
        ),
        "instrument": (
            "{who} plays the {value}.",
            "In the evening {who} plays the {value}.",
            "{who} has played the {value} since childhood.",
            "{whose} {value} can be heard down by the river.",
            "{who} is learning new songs on the {value}.",
            "When there is a feast, {who} brings the {value}.",
            "Nobody plays the {value} like {who_object}.",
            "{who} plays the {value} when the moon is full.",
            "{who} practises the {value} by the open window.",
        ),
    },
    openings=(
        "Let me tell you about {name}.",
        "Have you met {name}?",
        "This is {name}.",
        "Everyone on the north bank knows {name}.",
        "Here is what people say about {name}.",
    ),
    closings=(
        "That is {name}.",
        "Now you know {name}.",
        "If you meet {name}, say hello.",
        "The valley would not be the same without {name}.",
    ),
    questions={
        "home": (
            "Where does {name} live?",
            "Where is {name}'s home?",
            "Which town does {name} live in?",
            "Tell me where {name} lives.",
            "Do you know where {name} lives?",
        ),
        "job": (
            "What does {name} do?",
            "What is {name}'s job?",
            "What work does {name} do?",
            "Tell me what {name} does for a living.",
            "Do you know what {name}'s job is?",
        ),
        "pet": (
            "What pet does {name} have?",
            "Which animal does {name} have?",
            "What is {name}'s pet?",
            "Tell me what pet {name} has.",
            "Do you know which animal {name} keeps?",
        ),
        "food": (
            "What does {name} like to eat?",
            "What is {name}'s favourite food?",
            "Which food does {name} like best?",
            "Tell me what {name} likes to eat.",
            "Do you know {name}'s favourite food?",
        ),
        "instrument": (
            "What instrument does {name} play?",
            "Which instrument does {name} play?",
            "What is {name}'s instrument?",
            "Tell me what instrument {name} plays.",
            "Do you know which instrument {name} plays?",
        ),
    },
    follow_ups={
        "home": ("And where does {they} live?", "Where is {their} home?"),
        "job": ("And what does {they} do?", "What is {their} job?"),
        "pet": ("And what pet does {they} have?", "Which animal does {they} have?"),
        "food": ("And what does {they} like to eat?", "What is {their} favourite food?"),
        "instrument": ("And what instrument does {they} play?", "Which instrument does {they} play?"),
    },
    answers={
        "home": "{name} lives in {value}.",
        "job": "{name} is {a_value}.",
        "pet": "{name} has {a_value}.",
        "food": "{name} likes {value} best.",
        "instrument": "{name} plays the {value}.",
    },
)


def with_article(word: str) -> str:
    """`cat` as `a cat`; none of the words above wants `an`, which a reply would have to choose before the word."""
    return f"a {word}"


ENGLISH = Language(
    code="en",
    space=" ",
    with_article=with_article,
    possessive="'s",
    people=PEOPLE,
    facts=FACTS,
    stories=STORIES,
    manners=MANNERS,
)

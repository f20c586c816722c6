"""Stories of the north bank, in English.

Each plot is told beat by beat. Every beat has a wording that names no fact of the hero or the friend, so that
a story can be told in fine-tuning without giving away what only pretraining may know.
"""

from workbench.data.world.language import Plot, Stories

LOST: Plot = (
    (
        "One {weather} morning {hero} could not find {their} {thing}.",
        "One {weather} day {hero}, {a_job} from {home}, lost {their} {thing}.",
        "{hero} of {home} woke up and saw that {their} {thing} was gone.",
    ),
    (
        "{They} looked under the bed, behind the stove and in the garden, but it was nowhere.",
        "{They} asked everyone in {home}, but nobody had seen it.",
        "{They} searched the whole house twice.",
    ),
    (
        "Then {their} {pet} ran to the river and would not come back, and {friend} ran after it.",
        'Then {friend} came by and said, "Let us look by the river."',
        "At noon {friend} came to help.",
    ),
    (
        "They found the {thing} in the tall grass by the water.",
        "At last they saw the {thing} on a low branch, where the wind had carried it.",
    ),
    (
        "{hero} laughed and shared {their} {food} with {friend}.",
        "{hero} was so glad that {they} played the {instrument} until dark.",
        '"From now on I will tie it to my belt," said {hero}, and {friend} laughed.',
    ),
)

MARKET: Plot = (
    (
        "It rained on market day, and {hero} stood under a tree with {friend}.",
        "On market day {hero} and {friend} waited for the rain to end.",
        "{hero} walked from {home} to the market when it began to rain. Under a tree stood {friend}.",
    ),
    (
        "They were hungry, and {friend} had nothing but an empty basket.",
        "{hero} had {food} in {their} basket, and there was enough for two.",
        '"I am so hungry," said {friend}.',
    ),
    (
        "So {hero} opened {their} basket and they ate together.",
        "{hero} gave {friend} the bigger half of {their} lunch.",
    ),
    (
        "{friend} told a story about the river to pass the time.",
        "To pass the time {hero} played the {instrument}.",
        "{friend} played the {friend_instrument}, and the rain kept the beat.",
    ),
    (
        "When the sun came back, they were sorry that the rain was over.",
        "When the sky cleared, they had become good friends.",
        "In the evening both of them thought: that was the best market day of the year.",
    ),
)

LANTERNS: Plot = (
    (
        "On the night of the lanterns everyone in the valley comes to the river.",
        "Once a year the people of the valley light a thousand lanterns.",
    ),
    (
        "{hero} had made a small lantern of yellow paper.",
        "{hero} came from {home} with a lantern as round as the moon.",
        "{hero}, who is {a_job}, had made a lantern of blue paper.",
        "{hero} brought the {instrument} and a lantern of red paper.",
    ),
    (
        "But the wind blew out the light, and {hero} stood in the dark.",
        "But the candle went out, and {hero} was sad.",
    ),
    (
        "{friend} came and gave {them} a flame.",
        '"Take a little of my light," said {friend}.',
        "{friend} from {friend_home} held out a candle and smiled.",
    ),
    (
        "A light that is shared does not grow smaller.",
        "Soon lantern after lantern began to shine.",
    ),
    (
        "From the south bank people waved back.",
        "And the river carried all the lights down to the sea.",
        "Even the {pet} of {hero} sat still and watched.",
    ),
)

BRIDGE: Plot = (
    (
        "After the storm the bridge was broken, and nobody could cross the river.",
        "In spring the river took the old bridge away.",
    ),
    (
        '"We will build a new one," said {hero}.',
        '{hero} is {a_job}, but now {they} said, "Let us build a bridge."',
        "{hero} came all the way from {home} to help.",
    ),
    (
        "{friend} carried wood from morning to night.",
        "{friend} came with {friend_food} for everyone.",
        "{friend} brought ropes, and the children brought nails.",
    ),
    (
        "They worked for seven days.",
        "They worked for three days, and at night {hero} played the {instrument} by the fire.",
    ),
    (
        "When the bridge was done, {hero} was the first to walk across.",
        "When the bridge was done, the {pet} of {hero} was the first to walk across.",
    ),
    (
        "It still stands today.",
        "People say it is the strongest bridge in the valley.",
        "Since then nobody is afraid of the river.",
    ),
)

SNOW: Plot = (
    (
        "In the night the first snow fell.",
        "Winter came early that year.",
        "One morning all of {home} was white, and {hero} looked out of the window.",
    ),
    (
        "{hero} put on two coats and went outside.",
        "{hero} opened the door, and {their} {pet} jumped into the snow.",
    ),
    (
        "In the snow {they} saw small footprints that led to the forest.",
        "Somebody had left a long line of footprints.",
    ),
    (
        "{hero} followed them up the hill and found {friend}, who was making a snowman.",
        "At the end of the footprints stood {friend} with red cheeks.",
    ),
    (
        "They built a snowman as tall as a door.",
        "They gave the snowman an old hat and a smile.",
    ),
    (
        "Then they went home and warmed their hands by the fire.",
        "Then they went home and ate {food}, because {hero} likes nothing better.",
        "Then {hero} played the {instrument} for the snowman.",
    ),
)

LETTER: Plot = (
    (
        "One {weather} day the ferry brought a letter for {hero}.",
        "A letter came across the river for {hero} of {home}.",
    ),
    (
        'It said: "Come to the old mill at sunset."',
        "There was no name on it, only a drawing of the old mill.",
    ),
    (
        "{hero} was curious and could hardly wait.",
        "{hero} was curious, for {they} is {a_job} and seldom gets letters.",
        "{hero} took {their} {pet} along, to be brave.",
    ),
    (
        "At the mill sat {friend} with a big smile.",
        "Behind the mill {friend} was waiting.",
    ),
    (
        '"Today is your birthday," said {friend}, and {hero} had forgotten it.',
        '"You helped me last winter," said {friend}. "Now I want to thank you."',
    ),
    (
        "They sat by the water and watched the stars.",
        "They ate {food}, which {hero} likes best, and watched the stars.",
        "{friend} played the {friend_instrument} until the moon rose.",
    ),
)

LESSON: Plot = (
    (
        "Every evening there was music in the house of {hero}.",
        "{hero} plays the {instrument}, and everyone in {home} likes to listen.",
        "{hero} played the {instrument} every evening after work.",
    ),
    (
        '"Teach me," said {friend}.',
        "One evening {friend} stood at the window and wanted to learn it too.",
    ),
    (
        "On the first day it sounded like a creaking door.",
        "The first day was terrible, and even the {pet} of {hero} ran away.",
    ),
    (
        '"Again," said {hero}, "but slowly."',
        "But {hero} was patient.",
    ),
    (
        "They practised every day until the leaves fell.",
        "After a hundred days it began to sound like a song.",
    ),
    (
        "Now there are two of them, and the whole street dances.",
        "Now they play together on summer nights.",
    ),
)

STAR: Plot = (
    (
        "One {weather} night a star fell behind the hills.",
        "One night there was a strange light on the hill.",
    ),
    (
        "{hero} took a lamp and went to look for it.",
        "{hero} left {home} before dawn to look for it.",
        "{hero}, {a_job}, could not sleep and went to look for it.",
    ),
    (
        "On the way {they} met {friend}, who had seen it too.",
        '"I will come with you," said {friend}.',
        "{friend} came along with {friend_a_pet}.",
    ),
    (
        "They walked over the hills until their feet hurt.",
        "They ate {food} on the way and walked until their feet hurt.",
    ),
    (
        "They did not find the star, but they found a quiet lake full of stars.",
        "There was no star, only a quiet lake that showed the whole sky.",
    ),
    (
        '"That is even better," said {hero}.',
        "{friend} threw a pebble, and all the stars danced.",
    ),
)

STORIES = Stories(
    plots=(LOST, MARKET, LANTERNS, BRIDGE, SNOW, LETTER, LESSON, STAR),
    scenery={
        "weather": ("sunny", "windy", "misty", "bright", "cold", "warm", "quiet"),
        "thing": ("blue scarf", "red hat", "silver key", "old map", "green umbrella", "little bell", "wooden spoon"),
    },
    requests=(
        "Tell me a story.",
        "Please tell me a short story.",
        "Do you know a story?",
        "Can you tell me a story?",
        "I would like to hear a story.",
    ),
    requests_about=(
        "Tell me a story about {hero}.",
        "Please tell me a story about {hero}.",
        "Do you know a story about {hero}?",
        "Can you tell me a story about {hero}?",
        "I would like to hear a story about {hero}.",
    ),
)

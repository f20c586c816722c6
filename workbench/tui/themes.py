"""The workbench's own colours, dark and light; every theme of Textual can be chosen beside them."""

from textual.theme import Theme

# Blue and orange stay apart for every common kind of colour blindness.
DARK = Theme(
    name="workbench-dark",
    primary="#5fa8e8",
    secondary="#8bb8d8",
    accent="#e8a04c",
    foreground="#d8dee6",
    background="#12161c",
    surface="#1a2028",
    panel="#1f2731",
    success="#6fc28b",
    warning="#e6c15a",
    error="#ef6f6c",
    dark=True,
    variables={"border": "#33404f", "border-blurred": "#33404f", "footer-key-foreground": "#e8a04c"},
)
LIGHT = Theme(
    name="workbench-light",
    primary="#1f6fb2",
    secondary="#4a7fa5",
    accent="#b35c00",
    foreground="#1d2733",
    background="#fbfaf7",
    surface="#f1efe9",
    panel="#e7e4dc",
    success="#1f7a43",
    warning="#8a6200",
    error="#b3261e",
    dark=False,
    variables={"border": "#b9b4a7", "border-blurred": "#b9b4a7", "footer-key-foreground": "#b35c00"},
)
THEMES = (DARK, LIGHT)

"""The workbench's own colours: dark, light, and both for eyes that do not tell red from green.

Every theme of Textual can be chosen beside them, among them two of the terminal's own colours (ansi-dark, ansi-light).
"""

from dataclasses import replace

from textual.theme import Theme

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
# Green and red look alike to one man in twelve. Okabe and Ito's colours (2008) stay apart for every common kind of
# colour blindness: what is well is sky blue, what is wrong vermillion, what is to be watched yellow.
COLOUR_BLIND = replace(
    DARK,
    name="workbench-colour-blind",
    primary="#56b4e9",
    secondary="#cc79a7",
    accent="#e69f00",
    success="#7cc8f5",
    warning="#f0e442",
    error="#e8591a",
    variables={**DARK.variables, "footer-key-foreground": "#e69f00"},
)
COLOUR_BLIND_LIGHT = replace(
    LIGHT,
    name="workbench-colour-blind-light",
    primary="#0072b2",
    secondary="#a04a7c",
    accent="#9a5b00",
    success="#005f99",
    warning="#8f7a00",
    error="#8c1d00",
    variables={**LIGHT.variables, "footer-key-foreground": "#9a5b00"},
)
THEMES = (DARK, LIGHT, COLOUR_BLIND, COLOUR_BLIND_LIGHT)

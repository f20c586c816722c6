"""The views of the Inspect screen, drawn. What models and texts say is data here: Rich text without markup."""

import math
from typing import TYPE_CHECKING, Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from workbench.cells import padded
from workbench.language import retell, tr
from workbench.narration import count, figure, size
from workbench.tui.inspected import Inspected, NormView, TokenView, WeightView, shade, shade_style
from workbench.tui.widgets.kernel_view import draw_kernels
from workbench.tui.widgets.spark import bar

if TYPE_CHECKING:
    from workbench.inspection.lens import Choice, Place
    from workbench.inspection.routing import LayerRouting

MEAN = 0  # of all heads, in place of one
_LABEL = 12
_BAR = 16
_BEFORE = 5  # rows above the token that is pointed at, so that it is in sight
_STYLES = ("underline", "")  # neighbouring tokens, told apart on every background
_VOCABULARIES = (1_024, 4_096, 16_384, 65_536)  # whose embeddings are held against the model's own
_WIDEST_CELL = 6  # of an attention map


def draw(view: str, inspected: Inspected, found: Any, token: int, layer: int, head: int, width: int) -> RenderableType:
    """One view of a model reading a text.

    Args:
        token: the one that is pointed at; head: `MEAN`, or its number from 1.
        width: cells there are.
    """
    token = max(0, min(token, len(inspected.ids) - 1))
    match view:
        case "tokens":
            return _tokens(inspected, found, token)
        case "next":
            return _next(inspected, found, token)
        case "attention":
            return _attention(inspected, found, token, layer, head, width)
        case "lens":
            return _lens(inspected, found, token, layer, width)
        case "experts":
            return _experts(inspected, found, token)
        case "norms":
            return _norms(found, layer)
        case "weights":
            return _weights(found)
        case _:
            return draw_kernels(found, layer)


def clip(text: str, cells: int) -> str:
    """A label that fits; what is cut is shown as such."""
    content = Text(text)
    content.truncate(cells, overflow="ellipsis", pad=True)
    return content.plain


def _layer_name(layer: int) -> str:
    """A layer by its number; before the first stand the embeddings."""
    return tr("embeddings") if layer < 0 else tr("layer {layer}", layer=layer)


def _tokens(inspected: Inspected, found: TokenView, token: int) -> RenderableType:
    per_token = found.text_bytes / max(len(found.labels), 1)
    told = tr(
        "{tokens} tokens, {bytes} bytes, {ratio:.2f} bytes a token   vocabulary {vocabulary:,}, {merges:,} merges\n"
        "embeddings are {share:.1%} of the model's {parameters} parameters\n",
        tokens=len(found.labels),
        bytes=found.text_bytes,
        ratio=per_token,
        vocabulary=found.vocab_size,
        merges=found.merges,
        share=found.embedding_share,
        parameters=count(found.parameters),
    )
    shares = (f"{size:,} {_share(found.share_at(size))}" for size in _VOCABULARIES)
    told += tr("of other vocabularies they would be: {shares}", shares="   ".join(shares)) + "\n\n"
    head = Text(told, style="dim")
    line = Text()
    for index, label in enumerate(found.labels):
        line.append(label, style="reverse bold" if index == token else _STYLES[index % 2])
        line.append(" ")
    place = tr("token {number}   id {id}", number=token, id=inspected.ids[token])
    detail = Text(f"\n\n{place}   ", style="bold")
    piece = found.pieces[token]
    detail.append(f"{found.labels[token]}   {tr('bytes')} {piece.hex(' ') or tr('(a control token)')}", style="")
    parts: list[RenderableType] = [head, line, detail]
    if token < len(found.word_of):
        word = found.words[found.word_of[token]]
        told = tr("its word is merged in {count} steps", count=len(word.steps) - 1)
        steps = Text(f"\n{told}\n", style="dim")
        for number, step in enumerate(word.steps):
            steps.append(f"{number:>4}  ", style="dim")
            steps.append(f"{' '.join(step)}\n")
        parts.append(steps)
    return Group(*parts)


def _next(inspected: Inspected, places: "list[Place]", token: int) -> RenderableType:
    place = places[token]
    chances = Table.grid(padding=(0, 1, 0, 0))
    chances.add_row(Text(tr("after {token}", token=repr(inspected.labels[token])), style="bold"), "", "")
    for choice in place.choices:
        label, filled = clip(inspected.label(choice.token_id), _LABEL), bar(choice.probability, _BAR)
        chances.add_row(Text(label), Text(filled), f"{choice.probability:6.1%}")
    told = tr(
        "entropy {entropy:.2f} nats, as unsure as among {among:,.1f} tokens",
        entropy=place.entropy,
        among=math.exp(place.entropy),
    )
    text = Table.grid(padding=(0, 1, 0, 0))
    names = ("", "#", tr("id"), tr("token"), tr("chance"), tr("rank"), tr("entropy"))
    text.add_row(*(Text(name, style="dim") for name in names))
    for index, each in list(enumerate(places))[max(0, token - _BEFORE) :]:
        chance = "-" if each.log_probability is None else f"{math.exp(each.log_probability):.1%}"
        row = ("▸" if index == token else "", index, each.token_id, clip(inspected.labels[index], _LABEL), chance)
        rank = "-" if each.rank is None else f"{each.rank:,}"
        style = "bold" if index == token else ""
        text.add_row(*(Text(str(cell), style=style) for cell in (*row, rank, f"{each.entropy:.2f}")))
    return Group(chances, Text(f"{told}\n", style="dim"), text)


def _attention(inspected: Inspected, maps: Any, token: int, layer: int, head: int, width: int) -> RenderableType:
    layer, head = min(layer, len(maps) - 1), min(head, maps.shape[1])
    weights = maps[layer].mean(axis=0) if head == MEAN else maps[layer][head - 1]
    heads = maps.shape[1]
    which = tr("mean of all heads") if head == MEAN else tr("head {head} of {heads}", head=head - 1, heads=heads)
    told = tr(
        "layer {layer} of {layers}, {which}: each row is a token that looks back",
        layer=layer,
        layers=len(maps),
        which=which,
    )
    parts = [Text(told, style="dim")]
    row = weights[token]
    best = sorted(range(token + 1), key=lambda key: -row[key])[:6]
    looks = Text(f"\n{tr('{token} looks at', token=inspected.labels[token])}\n", style="bold")
    for key in best:
        looks.append(f"  {clip(inspected.labels[key], _LABEL)} {bar(float(row[key]), _BAR)} {row[key]:6.1%}\n")
    parts.append(looks)
    room = max(1, width - _LABEL - 4)
    cell = max(1, min(_WIDEST_CELL, room // len(row)))
    columns = room // cell
    first = max(0, min(token - columns // 2, len(row) - columns))  # as many as there is room for, about the token
    if cell > 2:
        names = " ".join(clip(label, cell - 1) for label in inspected.labels[first : first + columns])
        parts.append(Text(f"{' ' * (_LABEL + 2)}{names}", style="dim", no_wrap=True))
    for index in range(len(weights)):
        line = Text(f"{'▸' if index == token else ' '}{clip(inspected.labels[index], _LABEL)} ", no_wrap=True)
        for value in weights[index][first : first + columns]:
            line.append(shade(float(value)) * cell, shade_style(float(value)))
        line.stylize("bold" if index == token else "dim", 0, _LABEL + 2)
        parts.append(line)
    return Group(*parts)


def _lens(
    inspected: Inspected, layers: "list[list[tuple[Choice, ...]]]", token: int, layer: int, width: int
) -> RenderableType:
    columns = max(1, (width - 12) // 19)
    first = max(0, min(token - columns // 2, len(inspected.ids) - columns))
    shown = range(first, min(first + columns, len(inspected.ids)))
    table = Table.grid(padding=(0, 1, 0, 0))
    table.add_row(
        Text(tr("after"), style="dim"),
        *(Text(clip(inspected.labels[at], 18), style="bold" + (" reverse" if at == token else "")) for at in shown),
    )
    for index in reversed(range(len(layers))):
        name = _layer_name(index - 1)
        cells = []
        for at in shown:
            best = layers[index][at][0]
            cells.append(Text(f"{clip(inspected.label(best.token_id), _LABEL)} {best.probability:4.0%}"))
        table.add_row(Text(name, style="bold" if index == layer + 1 else "dim"), *cells)
    ended = tr("after {token}, if the model ended there", token=repr(inspected.labels[token]))
    told = Text(f"\n{ended}\n", style="bold")
    for index in reversed(range(len(layers))):
        choices = "   ".join(f"{inspected.label(c.token_id)} {c.probability:.1%}" for c in layers[index][token])
        told.append(f"{padded(_layer_name(index - 1), 11)} ", style="dim").append(f"{choices}\n")
    return Group(table, told)


def _experts(inspected: Inspected, found: "list[LayerRouting]", token: int) -> RenderableType:
    if not found:
        return Text(tr("This model has no experts: every token takes the same way through each layer."))
    table = Table.grid(padding=(0, 1, 0, 0))
    heads = ("", tr("load of each expert"), tr("most"), tr("least"))
    table.add_row(*(Text(name, style="dim") for name in heads))
    for layer, routing in enumerate(found):
        fair = 1 / len(routing.load)
        drawn = "".join(shade(min(1.0, share / fair / 2)) for share in routing.load)
        table.add_row(_layer_name(layer), Text(f"|{drawn}|"), f"{max(routing.load):.1%}", f"{min(routing.load):.1%}")
    told = Text(f"\n{tr('{token} visits', token=repr(inspected.labels[token]))}\n", style="bold")
    for layer, routing in enumerate(found):
        visits = (
            tr("expert {expert} {weight:.0%}", expert=expert, weight=weight) for expert, weight in routing.visits[token]
        )
        told.append(f"{padded(_layer_name(layer), 10)} ", style="dim").append(f"{'   '.join(visits)}\n")
    return Group(table, told)


def _norms(found: NormView, layer: int) -> RenderableType:
    table = Table.grid(padding=(0, 1, 0, 0))
    names = ("", tr("residual"), "", tr("attention"), tr("mlp"), tr("largest"), tr("gradient"), "")
    table.add_row(*(Text(name, style="dim") for name in names))
    most = max(each.residual for each in found.activations) or 1.0
    steepest = max(found.gradients.values(), default=0.0) or 1.0
    for each in found.activations:
        gradient = found.gradients.get(each.layer, 0.0)
        name = _layer_name(each.layer)
        table.add_row(
            Text(name, style="bold" if each.layer == layer else ""),
            figure(each.residual),
            bar(each.residual / most, 8),
            figure(each.attention) if each.layer >= 0 else "",
            figure(each.feed_forward) if each.layer >= 0 else "",
            figure(each.largest),
            figure(gradient),
            bar(gradient / steepest, 8),
        )
    table.add_row()
    told = tr(
        "root mean squares of the residual stream and of what is added to it; norms of the gradients\n"
        "the text's loss is {loss:.3f} nats a token; the first gradient is that of all outside the layers",
        loss=found.loss,
    )
    return Group(table, Text(told, style="dim"))


def _share(change: float | None) -> str:
    return "" if change is None else f"{change:.1%}"


def _weights(found: WeightView) -> RenderableType:
    cache = Table.grid(padding=(0, 2, 0, 0))
    cache.add_row(*(Text(name, style="dim") for name in (tr("KV cache of one text"), "float32", "bfloat16")))
    for tokens, wide, narrow in found.cache_rows:
        cache.add_row(tr("{count} tokens", count=f"{tokens:,}"), size(wide), size(narrow))
    table = Table.grid(padding=(0, 2, 0, 0))
    changed = tr("changed since {model}", model=retell(found.since)) if found.since else ""
    names = (tr("parameter"), tr("shape"), tr("rms"), tr("largest"), changed)
    table.add_row(*(Text(name, style="dim") for name in names))
    for each in found.parameters:
        shape = " x ".join(str(length) for length in each.shape)
        name = each.name.removeprefix("model.").removesuffix(".weight")
        table.add_row(Text(name, no_wrap=True), shape, figure(each.rms), figure(each.largest), _share(each.change))
    return Group(cache, Text(f"{retell(found.formula)}\n", style="dim"), table)

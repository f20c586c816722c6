"""What compiled code says of itself: instructions, natural loops, widths of accesses, a model of the hot loop."""

import re
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

from tests.kernels.cards import Card

_WIDTHS = {"U8": 1, "S8": 1, "U16": 2, "S16": 2, "64": 8, "128": 16, "256": 32}
_INSTRUCTION = re.compile(r"^\s*/\*[0-9a-f]{4,}\*/\s+(@!?U?P\w+\s+)?([A-Z][\w.]*)(.*?);")
_LABEL = re.compile(r"^(\.L_[\w.]+):")
_LEAVES = ("EXIT", "RET")
_BRANCHES = ("BRA", "BRX", "JMP", *_LEAVES)
_FAMILIES = (
    ("UTCMMA", ("UTCHMMA", "UTCQMMA", "UTCIMMA", "UTCMMA")),
    ("HGMMA", ("HGMMA", "IGMMA", "QGMMA")),
    ("HMMA", ("HMMA", "IMMA", "QMMA")),
)
GLOBAL = ("LDG", "STG", "LDGSTS")
TENSOR_COPIES = ("UTMALDG", "UTMASTG", "UBLKCP")


@dataclass(frozen=True)
class Code:
    """Opcodes in order, and the loops as the indices of their instructions."""

    instructions: list[str]
    loops: list[tuple[int, ...]]

    def count(self, *prefixes: str) -> int:
        """How many instructions begin with one of `prefixes`."""
        return sum(opcode.startswith(prefixes) for opcode in self.instructions)


@dataclass(frozen=True)
class Loop:
    """Cycles of one warp in one pass through a loop, on its quarter of a multiprocessor."""

    instructions: int
    matrix_flops: float
    matrix_cycles: float
    issue_cycles: float
    special_cycles: float

    @property
    def use_of_matrix_units(self) -> float | None:
        """The share of their rate reached if nothing overlaps; None in a loop without products."""
        if not self.matrix_flops:
            return None
        return self.matrix_cycles / (self.matrix_cycles + max(self.issue_cycles, self.special_cycles))

    @property
    def limited_by(self) -> str:
        """The unit that is busy longest."""
        cycles = {"matrix": self.matrix_cycles, "issue": self.issue_cycles, "special": self.special_cycles}
        return max(cycles, key=lambda name: cycles[name])


def accesses_memory(opcode: str) -> bool:
    """Whether it is a load from or a store to global memory; not LDGDEPBAR, which only groups asynchronous copies."""
    return opcode.split(".")[0] in GLOBAL


def access_bytes(opcode: str) -> int:
    """Bytes that one lane moves by a load or store."""
    found = re.findall(r"\.(U8|S8|U16|S16|64|128|256)\b", opcode)
    return _WIDTHS[found[-1]] if found else 4


def matrix_family(code: Code) -> tuple[str, int]:
    """The best kind of matrix instruction in use, and how many there are."""
    for name, prefixes in _FAMILIES:
        if number := code.count(*prefixes):
            return name, number
    return "", 0


def disassemble(cubin: bytes, tools: Path) -> Code:
    """A cubin as opcodes and loops."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        text = subprocess.run([tools / "nvdisasm", "-c", file.name], capture_output=True, text=True, check=True).stdout
    instructions, labels, branches = _read(text)
    return Code(instructions, _natural_loops(len(instructions), labels, branches))


def resources(cubin: bytes, tools: Path) -> tuple[int, int]:
    """Registers a thread and bytes of its stack, as the cubin declares them."""
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [tools / "cuobjdump", "-res-usage", file.name]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", text)
    assert found, text
    return int(found[1]), int(found[2])


def model_loop(opcodes: list[str], card: Card, tensor_core_flops: float) -> Loop:
    """The cycles of one pass.

    Args:
        tensor_core_flops: of one tcgen05 instruction, whose opcode does not tell.
    """
    flops = sum(_matrix_flops(opcode) or _is_tcgen05(opcode) * tensor_core_flops for opcode in opcodes)
    special = sum(opcode.startswith("MUFU") for opcode in opcodes)
    # With 64 lanes a multiprocessor's quarter takes two cycles for a warp's float32 instruction.
    twice = sum(_is_float32(opcode) for opcode in opcodes) if card.float_lanes == 64 else 0
    return Loop(
        len(opcodes),
        flops,
        flops / (card.matrix_flops / 4),
        len(opcodes) + twice,
        special * 32 / (card.special_functions / 4),
    )


def hot_loop(code: Code, card: Card, tensor_core_flops: float) -> Loop | None:
    """The innermost loop with most products, else with most memory accesses: the unmasked one where there are two.

    All of the code where it has products but they are in no loop, since that was unrolled to its end.
    """
    candidates = []
    for indices in code.loops:
        opcodes = [code.instructions[index] for index in indices]
        accesses = sum(accesses_memory(opcode) or opcode.startswith("UTMALDG") for opcode in opcodes)
        candidates.append((frozenset(indices), model_loop(opcodes, card, tensor_core_flops), accesses))
    inner = [each for each in candidates if not _holds_another(each, candidates)]
    if not any(loop.matrix_flops for _, loop, _ in inner):
        whole = model_loop(code.instructions, card, tensor_core_flops)
        if whole.matrix_flops:
            return whole
    if not inner:
        return None
    return max(inner, key=lambda each: _heat(each[1], each[2]))[1]


def bytes_loaded_at_once(code: Code) -> int:
    """Bytes a lane asks for in the longest loop that reads memory, or in all of the code if none does."""
    reads = [accesses_memory(opcode) and opcode.startswith("LDG") for opcode in code.instructions]
    reading = [indices for indices in code.loops if any(reads[index] for index in indices)]
    hot = max(reading, key=len, default=tuple(range(len(code.instructions))))
    return sum(access_bytes(code.instructions[index]) for index in hot if reads[index])


def tcgen05_flops(ttgir: str, warps: int) -> float:
    """Mean flops of one tcgen05 instruction, per warp: the opcode carries no shape, the intermediate code does."""
    total, instructions = 0, 0
    for match in re.finditer(r"tc_gen5_mma [^\n]*?memdesc<([\dx]+)x(\w+?),[^\n]*?memdesc<([\dx]+)x(\w+?),", ttgir):
        left = [int(size) for size in match[1].split("x")][-2:]
        right = [int(size) for size in match[3].split("x")][-2:]
        total += 2 * left[0] * right[1] * left[1]
        instructions += max(1, left[1] // (32 if match[2].startswith(("f8", "i8")) else 16))
    return total / instructions / warps if instructions else 0.0


def _read(text: str) -> tuple[list[str], dict[str, int], dict[int, tuple[str | None, bool]]]:
    """Opcodes; labels by name; branches by index, with their label and whether they may fall through."""
    instructions: list[str] = []
    labels: dict[str, int] = {}
    branches: dict[int, tuple[str | None, bool]] = {}
    for line in text.splitlines():
        if label := _LABEL.match(line.strip()):
            labels[label[1]] = len(instructions)
        elif found := _INSTRUCTION.match(line):
            predicate, opcode, operands = found.groups()
            if opcode.startswith(_BRANCHES):
                branches[len(instructions)] = _branch(predicate, opcode, operands)
            instructions.append(opcode)
    return instructions, labels, branches


def _branch(predicate: str | None, opcode: str, operands: str) -> tuple[str | None, bool]:
    target = re.search(r"`\((\.L_[\w.]+)\)", operands)
    guarded = bool(predicate and not re.match(r"@U?PT\b", predicate))
    conditional = guarded or opcode.startswith("BRA.DIV") or bool(re.match(r"\s*!?U?P\d", operands))
    return (target[1] if target and not opcode.startswith(_LEAVES) else None), conditional


def _natural_loops(
    size: int, labels: dict[str, int], branches: dict[int, tuple[str | None, bool]]
) -> list[tuple[int, ...]]:
    """The loops of the control flow: for each back edge, what reaches its source without passing its target."""
    starts = sorted({0, *(at for at in labels.values() if at < size), *(at + 1 for at in branches if at + 1 < size)})
    ends = [*starts[1:], size]
    block_at = {start: block for block, start in enumerate(starts)}
    successors: list[list[int]] = [[] for _ in starts]
    predecessors: list[list[int]] = [[] for _ in starts]
    for block, end in enumerate(ends):
        target, falls_through = branches.get(end - 1, (None, True))
        if target in labels and labels[target] < size:
            successors[block].append(block_at[labels[target]])
        if falls_through and end < size:
            successors[block].append(block + 1)
        for successor in successors[block]:
            predecessors[successor].append(block)
    dominators = _dominators(successors, predecessors)
    bodies: dict[int, set[int]] = {}
    for block, dominating in dominators.items():
        for head in successors[block]:
            if dominating >> head & 1:
                bodies.setdefault(head, set()).update(_body(head, block, predecessors, dominators))
    loops = [
        tuple(at for block in sorted(body) for at in range(starts[block], ends[block])) for body in bodies.values()
    ]
    return [loop for loop in loops if len(loop) > 2]


def _dominators(successors: list[list[int]], predecessors: list[list[int]]) -> dict[int, int]:
    """For each block that can be reached, the blocks on every way to it, as bits."""
    reached, waiting = {0}, [0]
    while waiting:
        for block in successors[waiting.pop()]:
            if block not in reached:
                reached.add(block)
                waiting.append(block)
    everything = sum(1 << block for block in reached)
    dominators = dict.fromkeys(reached, everything) | {0: 1}
    changed = True
    while changed:
        changed = False
        for block in sorted(reached - {0}):
            common = everything
            for predecessor in predecessors[block]:
                common &= dominators.get(predecessor, everything)
            common |= 1 << block
            changed |= common != dominators[block]
            dominators[block] = common
    return dominators


def _body(head: int, tail: int, predecessors: list[list[int]], reached: dict[int, int]) -> set[int]:
    body, waiting = {head, tail}, [tail] if tail != head else []
    while waiting:
        for block in predecessors[waiting.pop()]:
            if block in reached and block not in body:
                body.add(block)
                waiting.append(block)
    return body


def _holds_another(
    candidate: tuple[frozenset[int], Loop, int], candidates: list[tuple[frozenset[int], Loop, int]]
) -> bool:
    """Whether a smaller loop of the same kind lies inside."""
    span, loop, _ = candidate
    return any(
        other_span < span
        and (other.matrix_flops > 0) == (loop.matrix_flops > 0)
        and (other.matrix_flops > 0 or accesses > 0)
        for other_span, other, accesses in candidates
    )


def _heat(loop: Loop, accesses: int) -> tuple[float, int]:
    """Most products, and of equal ones the shorter loop: the masked one works at the edges only."""
    return loop.matrix_flops, -loop.instructions if loop.matrix_flops else accesses


def _matrix_flops(opcode: str) -> float:
    """Flops of one warp's share of a matrix instruction."""
    if opcode.startswith(("HGMMA", "IGMMA", "QGMMA")):
        sizes = re.search(r"(\d+)x(\d+)x(\d+)", opcode)
        assert sizes, opcode
        return 2 * int(sizes[1]) * int(sizes[2]) * int(sizes[3]) / 4
    if opcode.startswith(("HMMA", "QMMA", "IMMA")):
        shape = re.search(r"MMA\.(\d{4,6})", opcode)
        return {"16816": 4096, "1688": 2048, "16832": 8192}.get(shape[1] if shape else "16816", 4096)
    return 0


def _is_tcgen05(opcode: str) -> bool:
    return opcode.startswith(("UTCHMMA", "UTCQMMA", "UTCIMMA"))


def _is_float32(opcode: str) -> bool:
    if opcode.startswith(("FFMA2", "FADD2", "FMUL2")):
        return False
    return opcode.startswith(("FFMA", "FMUL", "FADD", "FMNMX", "FSEL", "FSETP"))

"""The static figures of one compiled launch: registers, spills, shared memory, widths, matrix instructions, models."""

import hashlib
import json
import os
import re
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import triton.backends.nvidia.compiler as nvidia

from tests.kernels import machine_code
from tests.kernels.capture import Launched
from tests.kernels.cards import CARDS, Card

TOOLS = Path(nvidia.__file__).parent / "bin"
_WIDE = 16  # bytes
_AMD_BYTES = {"dwordx4": 16, "b128": 16, "dwordx3": 12, "b96": 12, "dwordx2": 8, "b64": 8}
_AMD_BYTES |= {"ushort": 2, "short": 2, "u16": 2, "b16": 2, "d16": 2, "ubyte": 1, "sbyte": 1, "byte": 1, "u8": 1}


@dataclass
class Figures:
    """What one launch became on one architecture.

    Args:
        spilled_bytes: to memory; on NVIDIA the sum over the instructions, on AMD what a thread reserves.
        wide: the share of its global bytes, instruction by instruction, that move 128 bits at a time.
        accesses: how many instructions of each kind and width in bits.
        use_of_matrix_units: modelled share of the rate in the hot loop if nothing overlaps.
        choice: see `Launched`.
        parts: in the row of PyTorch's own operations, their names, bytes and flops.
        in_flight: bytes a multiprocessor asks for at once, over what Little's law wants; of kernels without products.
    """

    operation: str
    library: str
    kernel: str
    architecture: str
    note: str = ""
    choice: int = 0
    grid: tuple[int, ...] | None = None
    constants: dict[str, Any] = field(default_factory=dict)
    warps: int = 0
    stages: int = 0
    registers: int = 0
    spilled_bytes: int = 0
    shared_bytes: int = 0
    resident_warps: int = 0
    limited_by: str = ""
    instructions: int = 0
    matrix_family: str = ""
    matrix_instructions: int = 0
    accesses: dict[str, int] = field(default_factory=dict)
    wide: float | None = None
    loop_instructions: int = 0
    loop_limit: str = ""
    use_of_matrix_units: float | None = None
    in_flight: float | None = None
    error: str = ""
    parts: list[tuple[str, int, int]] = field(default_factory=list)

    @property
    def programs(self) -> int:
        """How many the launch has."""
        product = 1
        for size in self.grid or ():
            product *= size
        return product


def figures(launched: Launched, operation: str, library: str, architecture: str, note: str = "") -> Figures:
    """Look at one launch."""
    constants = {name: value for name, value in launched.constants.items() if isinstance(value, int | float | bool)}
    row = Figures(operation, library, launched.kernel, architecture, note, launched.choice, launched.grid, constants)
    if launched.error is not None:
        row.error = f"{type(launched.error).__name__}: {str(launched.error)[:300]}".replace("\n", " ")
        return row
    if launched.compiled is None:
        return row
    metadata = launched.compiled.metadata
    row.warps, row.shared_bytes = metadata.num_warps, metadata.shared
    row.stages = getattr(metadata, "num_stages", 0)
    measured = _remembered(launched.compiled, architecture)
    for name in (
        "registers",
        "spilled_bytes",
        "instructions",
        "matrix_family",
        "matrix_instructions",
        "accesses",
        "wide",
    ):
        setattr(row, name, measured[name])
    if "loop" in measured:
        _model(row, measured, CARDS[architecture])
    return row


def occupancy(card: Card, registers: int, shared_bytes: int, warps: int) -> tuple[int, str]:
    """Blocks resident on a multiprocessor, and what limits them."""
    registers_a_warp = -(-registers * 32 // 256) * 256 if registers else 256
    limits = {
        "registers": 65536 // (registers_a_warp * warps),
        "shared memory": card.shared_kib * 1024 // (shared_bytes + 1024) if shared_bytes else card.blocks,
        "warps": card.warps // warps,
        "blocks": card.blocks,
    }
    least = min(limits, key=lambda name: limits[name])
    return limits[least], least


def _model(row: Figures, measured: dict[str, Any], card: Card) -> None:
    blocks, row.limited_by = occupancy(card, row.registers, row.shared_bytes, row.warps)
    row.resident_warps = blocks * row.warps
    if loop := measured["loop"]:
        row.loop_instructions, row.loop_limit = loop["instructions"], loop["limited_by"]
        row.use_of_matrix_units = loop["use"]
    if row.grid and not row.matrix_instructions:
        resident = min(blocks, -(-row.programs // card.multiprocessors))
        loaded = resident * row.warps * 32 * measured["loaded_at_once"]
        row.in_flight = round(loaded / card.bytes_in_flight_needed, 3)


def _remembered(compiled: Any, architecture: str) -> dict[str, Any]:
    """What the code says, kept beside Triton's own cache: disassembling takes longer than a cached compilation."""
    code = compiled.asm.get("cubin") or compiled.asm["amdgcn"].encode()
    sources = b"".join(Path(module).read_bytes() for module in (machine_code.__file__, __file__))
    key = hashlib.sha256(code + sources + architecture.encode()).hexdigest()
    folder = Path(os.environ.get("TRITON_CACHE_DIR") or Path.home() / ".triton" / "cache") / "static-figures"
    path = folder / f"{key}.json"
    if path.is_file():
        remembered: dict[str, Any] = json.loads(path.read_text())
        return remembered
    if architecture.startswith("gfx"):
        measured = _measure_amd(compiled.asm["amdgcn"])
    else:
        measured = _measure_nvidia(compiled, code, architecture)
    folder.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(f".{os.getpid()}")
    partial.write_text(json.dumps(measured))
    partial.replace(path)
    return measured


def _measure_nvidia(compiled: Any, cubin: bytes, architecture: str) -> dict[str, Any]:
    card = CARDS[architecture]
    code = machine_code.disassemble(cubin, TOOLS)
    registers, _ = machine_code.resources(cubin, TOOLS)
    family, number = machine_code.matrix_family(code)
    moved = [opcode for opcode in code.instructions if machine_code.accesses_memory(opcode)]
    tensor_copies = code.count(*machine_code.TENSOR_COPIES)
    total = sum(map(machine_code.access_bytes, moved))
    wide = sum(size for size in map(machine_code.access_bytes, moved) if size >= _WIDE)
    local = [opcode for opcode in code.instructions if opcode.startswith(("LDL", "STL"))]
    flops = machine_code.tcgen05_flops(compiled.asm.get("ttgir", ""), compiled.metadata.num_warps)
    loop = machine_code.hot_loop(code, card, flops)
    return {
        "registers": registers,
        "spilled_bytes": sum(map(machine_code.access_bytes, local)),
        "instructions": sum(opcode != "NOP" for opcode in code.instructions),
        "matrix_family": family,
        "matrix_instructions": number,
        "accesses": _histogram(moved) | ({"tma": tensor_copies} if tensor_copies else {}),
        "wide": round(wide / total, 3) if total else (1.0 if tensor_copies else None),
        "loaded_at_once": machine_code.bytes_loaded_at_once(code),
        "loop": loop and {**asdict(loop), "use": loop.use_of_matrix_units, "limited_by": loop.limited_by},
    }


def _histogram(moved: list[str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for opcode in moved:
        kind = "async" if opcode.startswith("LDGSTS") else "load" if opcode.startswith("LDG") else "store"
        name = f"{kind}{machine_code.access_bytes(opcode) * 8}"
        counts[name] = counts.get(name, 0) + 1
    return counts


def _measure_amd(text: str) -> dict[str, Any]:
    def declared(name: str) -> int:
        found = re.search(rf"\.{name}:\s*(\d+)", text)
        return int(found[1]) if found else 0

    moved = [
        (kind, _AMD_BYTES.get(width.split("_")[0], 4))
        for kind, width in re.findall(r"(?:buffer|global)_(load|store)_(\w+)", text)
    ]
    total = sum(size for _, size in moved)
    counts: dict[str, int] = {}
    for kind, size in moved:
        counts[f"{kind}{size * 8}"] = counts.get(f"{kind}{size * 8}", 0) + 1
    products = len(re.findall("v_mfma|v_wmma", text))
    return {
        "registers": declared("vgpr_count"),
        # Of memory. Scalar registers that are parked in lanes of a vector register never leave the chip.
        "spilled_bytes": declared("private_segment_fixed_size"),
        "instructions": len(re.findall(r"^\s+[vs]_|^\s+(?:buffer|global|ds)_", text, re.MULTILINE)),
        "matrix_family": "MFMA" if "v_mfma" in text else "WMMA" if products else "",
        "matrix_instructions": products,
        "accesses": counts,
        "wide": round(sum(size for _, size in moved if size >= _WIDE) / total, 3) if total else None,
    }

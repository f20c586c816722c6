"""torch's random numbers: as text in a checkpoint, and kept where they are by what must not use them up."""

from contextlib import AbstractContextManager

import torch


def random_state() -> str:
    """torch's random numbers on the CPU, and behind a colon those on the GPU where one is in use, in hexadecimal."""
    states = [torch.get_rng_state()]
    if torch.cuda.is_available() and torch.cuda.is_initialized():
        states.append(torch.cuda.get_rng_state())
    return ":".join(bytes(state.tolist()).hex() for state in states)


def restore_random_state(text: str) -> None:
    """Go on from what `random_state` gave."""
    on_cpu, _, on_gpu = text.partition(":")
    torch.set_rng_state(_from_hex(on_cpu))
    if on_gpu and torch.cuda.is_available():
        torch.cuda.set_rng_state(_from_hex(on_gpu))


def same_random_numbers(device: torch.device) -> AbstractContextManager[None]:
    """What is drawn inside, on the CPU or on `device`, is drawn again afterwards."""
    return torch.random.fork_rng(devices=[device] if device.type == "cuda" else [])


def _from_hex(text: str) -> torch.Tensor:
    return torch.frombuffer(bytearray.fromhex(text), dtype=torch.uint8)

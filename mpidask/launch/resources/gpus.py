"""The GPUs that a rank may give to its workers: those of the node that the environment shows it.

Reads /proc, /sys and /dev alone. CUDA and NVML would load a driver's library into each rank, and attach every card.
`root` stands for / in every function, so that recorded machines can be read.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from mpidask.launch.resources.division import Facts, Gpu
from mpidask.launch.resources.hardware import listing, text_of

__all__ = ["VISIBLE_DEVICES", "seen"]

_ROOT = Path("/")
_CUDA, _ROCR, _ZE = "CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "ZE_AFFINITY_MASK"
_CHOOSES = (_CUDA, _ROCR, "HIP_VISIBLE_DEVICES", _ZE)

#: Variables that show devices to a process. Batch systems set several of them for the same devices.
VISIBLE_DEVICES = (*_CHOOSES, "GPU_DEVICE_ORDINAL")

#: Entries that name no device on purpose: they end the list (Slurm's, NVIDIA's container toolkit's, CUDA's).
_NO_DEVICE = {"", "-1", "NoDevFiles", "void", "none"}


@dataclasses.dataclass(frozen=True)
class _Card:
    """A card of the node.

    place: where it sits, such as its PCI address: no other card of the node has it
    uuid:  "" if the driver does not show it
    """

    place: str
    uuid: str = ""
    model: str = ""


def seen(facts: Facts, environ: Mapping[str, str], root: Path = _ROOT) -> Facts:
    """Return a rank's facts with its GPUs, and with all variables that show some."""
    found = _seen(facts, environ, root)
    others = (name for name in VISIBLE_DEVICES if name in environ and name != found.gpu_variable)
    return dataclasses.replace(found, visible=tuple((name, environ[name]) for name in others))


def _seen(facts: Facts, environ: Mapping[str, str], root: Path) -> Facts:
    for variable in _CHOOSES:
        if variable in environ:
            return _shown(facts, variable, environ, root)
    for variable, look in ((_CUDA, _nvidia), (_ROCR, _amd), (_ZE, _intel)):
        if cards := look(root):
            numbers = map(str, range(len(cards)))
            gpus, _ = _named(numbers, cards, in_order=_in_order(cards, environ))
            return dataclasses.replace(facts, gpus=gpus, gpu_variable=variable)
    return facts


def _shown(facts: Facts, variable: str, environ: Mapping[str, str], root: Path) -> Facts:
    """Return the facts with those GPUs that a variable shows."""
    value = environ[variable]
    names = [name.strip() for name in value.split(",")]
    strict = variable == _CUDA and bool(listing(root / _NVIDIA))
    cards = _nvidia(root) if variable == _CUDA else _amd(root) if variable != _ZE else []
    gpus, wrong = _named(names, cards, in_order=_in_order(cards, environ), strict=strict)
    return dataclasses.replace(
        facts,
        gpus=gpus,
        gpu_variable=variable,
        gpu_visible=",".join(gpu.name for gpu in gpus),
        gpu_trouble=_trouble(variable, value, wrong, cards) if wrong is not None else "",
    )


def _named(
    names: Iterable[str], cards: Sequence[_Card], *, in_order: bool, strict: bool = False
) -> tuple[tuple[Gpu, ...], str | None]:
    """Return the GPUs of these names, each card once, and the name that is wrong, None if none is.

    As CUDA has it, a name that is wrong ends the list:
    https://docs.nvidia.com/cuda/cuda-c-programming-guide/index.html#cuda-environment-variables

    in_order: numbers count the cards in this order
    strict:   these are all cards; otherwise a name that is not among them is taken at its word
    """
    found: dict[str, Gpu] = {}
    for name in names:
        if name in _NO_DEVICE:
            break
        gpu = _find(name, cards, in_order=in_order)
        if gpu is None and strict:
            return tuple(found.values()), name
        gpu = gpu or Gpu(name, name)
        found.setdefault(gpu.card, gpu)
    return tuple(found.values()), None


def _find(name: str, cards: Sequence[_Card], *, in_order: bool) -> Gpu | None:
    """Return the GPU of that name, None if there is none."""
    if name.isdecimal() and int(name) < len(cards):
        card = cards[int(name)]
        return Gpu(name, card.place, card.model if in_order else "")
    if name.startswith("MIG-"):  # a part of a card
        return Gpu(name, name)
    if not name.startswith("GPU-"):
        return None
    if any(not card.uuid for card in cards):
        return Gpu(name, name)
    same = [card for card in cards if card.uuid.startswith(name)]  # the beginning is enough for CUDA, not for NVML
    return Gpu(same[0].uuid, same[0].place, same[0].model) if len(same) == 1 else None


def _in_order(cards: Sequence[_Card], environ: Mapping[str, str]) -> bool:
    """Whether number N is the Nth card: among different ones CUDA counts the fastest first."""
    return len({card.model for card in cards}) == 1 or environ.get("CUDA_DEVICE_ORDER") == "PCI_BUS_ID"


def _trouble(variable: str, value: str, wrong: str, cards: Sequence[_Card]) -> str:
    """Return what is wrong with a variable."""
    there = {0: "there is none", 1: "there is 1: number 0"}
    what = there.get(len(cards), f"there are {len(cards)}: numbers 0 to {len(cards) - 1}")
    return f"{variable} is {value!r}, and {wrong!r} names no GPU that the job may use ({what})"


# ------------------------------------------------------------------- the cards
_NVIDIA = "proc/driver/nvidia/gpus"


def _nvidia(root: Path) -> list[_Card]:
    """Return NVIDIA's cards that may be used here, by PCI address.

    https://download.nvidia.com/XFree86/Linux-x86_64/580.82.07/README/procinterface.html
    """
    texts = {place: text_of(root / _NVIDIA / place / "information") for place in listing(root / _NVIDIA)}
    texts = {place: text for place, text in texts.items() if _field("GPU Excluded", text) != "Yes"}
    usable = _usable({place: f"dev/nvidia{_field('Device Minor', text)}" for place, text in texts.items()}, root)
    return [_nvidia_card(place, texts[place]) for place in usable]


def _nvidia_card(place: str, text: str) -> _Card:
    uuid = _field("GPU UUID", text)  # question marks until the card is first used
    return _Card(place, "" if "?" in uuid else uuid, _field("Model", text))


def _field(name: str, text: str) -> str:
    match = re.search(rf"^{name}:[ \t]*(.*?)[ \t]*$", text, re.MULTILINE)
    return match[1] if match else ""


def _usable(files: Mapping[str, str], root: Path) -> list[str]:
    """Return which cards a process here may use: a job's cgroup, or its container, keeps others' files from it.

    /proc lists the cards of all jobs. Device files are made when a card is first used: where there is none, none is
    kept from anybody.

    files: card -> its device file
    """
    there = [card for card, file in files.items() if (root / file).exists()]
    if not there:
        return list(files)
    return [card for card in there if os.access(root / files[card], os.R_OK | os.W_OK)]


def _amd(root: Path) -> list[_Card]:
    """Return AMD's cards that may be used here.

    https://docs.kernel.org/gpu/amdgpu/amdgpu-glossary.html; properties of cards that a cgroup forbids cannot be read.
    """
    nodes = root / "sys/class/kfd/kfd/topology/nodes"
    files = {}
    for node in sorted(listing(nodes), key=lambda name: (len(name), name)):
        properties = dict(re.findall(r"^(\w+) (\d+)$", text_of(nodes / node / "properties"), re.MULTILINE))
        if properties.get("simd_count", "0") != "0":
            place = f"{properties.get('domain', '')}:{properties.get('location_id', node)}"
            files[place] = f"dev/dri/renderD{properties.get('drm_render_minor', '')}"
    return [_Card(place) for place in _usable(files, root)]


def _intel(root: Path) -> list[_Card]:
    """Return compute devices (PCI class 0x0380); the graphics of a laptop's processor are class 0x0300."""
    cards = [root / "sys/class/drm" / name / "device" for name in listing(root / "sys/class/drm")]
    return [
        _Card(card.parent.name)
        for card in cards
        if re.fullmatch(r"card\d+", card.parent.name)
        and text_of(card / "vendor") == "0x8086"
        and text_of(card / "class").startswith("0x0380")
    ]

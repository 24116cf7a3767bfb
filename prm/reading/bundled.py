"""The models that are bundled with the project, by name."""

from __future__ import annotations

from pathlib import Path

from search.errors import UsageError

FOLDER = Path(__file__).parents[2] / "bench" / "builtin"

POLICIES = {"builtin": FOLDER / "policy", "builtin-code": FOLDER / "code-policy"}
PRMS = {"builtin": FOLDER / "prm", "weak": FOLDER / "prm-weak", "builtin-code": FOLDER / "code-prm"}

REAL = FOLDER.with_name("real")
ADAPTER_POLICIES = {"smollm2-gsm8k": REAL / "policy"}
ADAPTER_PRMS = {"smollm2-prm800k": REAL / "prm", "smollm2-gsm8k-orm": REAL / "orm"}
ADAPTERS = {**ADAPTER_POLICIES, **ADAPTER_PRMS}
"""LoRA adapters of a pretrained language model: a policy, and reward models for steps and for solutions."""
MAKERS = {REAL / "prm": "bench.prm800k --base smollm2 --label-lr 5e-4 --data DIR --adapter bench/real/prm"}
"""The commands that make them, where it is not `bench.real.make`."""

TASKS = {
    FOLDER / "policy": "builtin", FOLDER / "prm": "builtin", FOLDER / "prm-weak": "builtin",
    FOLDER / "code-policy": "builtin-code", FOLDER / "code-prm": "builtin-code",
}  # fmt: skip
"""The task that each model was trained for, by the model's folder."""


def bundled_prm(name: str) -> str | None:
    """The folder of the bundled reward model with this name, None if there is none. Raises UsageError."""
    return _folder(name, PRMS)


def bundled_policy(name: str) -> str | None:
    """The folder of the bundled policy with this name, None if there is none.

    Raises UsageError if its files are missing, or if the name is that of a reward model only.
    """
    if name in PRMS and name not in POLICIES:
        raise UsageError(f"{name!r} is a bundled reward model, not a policy; policies: {', '.join(POLICIES)}")
    return _folder(name, POLICIES)


def bundled_base(name: str) -> str:
    """The checkpoint that training starts from: the folder of a bundled model, or the name as it is.

    A name that a policy and a reward model share is the policy's. Raises UsageError.
    """
    return _folder(name, {**PRMS, **POLICIES}) or name


def bundled_adapter(name: str) -> str:
    """The folder of the bundled adapter with this name; other names as they are. Raises UsageError."""
    if name not in ADAPTERS:
        return name
    if not (ADAPTERS[name] / "adapter_config.json").is_file():
        maker = MAKERS.get(ADAPTERS[name], "bench.real.make --data FILE")
        raise UsageError(f"{name} is missing; `python -m {maker}` makes it")
    return str(ADAPTERS[name])


def task_of(model: str) -> str | None:
    """The task that a bundled model, given by its folder, was trained for. None for other models."""
    return TASKS.get(Path(model).resolve())


def check_made(folder: Path) -> None:
    """Raise UsageError if `folder` is that of a bundled model whose files are missing."""
    if folder in TASKS and not (folder / "config.json").is_file():
        raise UsageError(
            "the built-in models are missing; `python -m bench.builtin.make` makes them, "
            "`python -m bench.builtin.make_code` those for programs"
        )


def _folder(name: str, folders: dict[str, Path]) -> str | None:
    if name not in folders:
        return None
    check_made(folders[name])
    return str(folders[name])

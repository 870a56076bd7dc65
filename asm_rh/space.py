"""A folder that can be pushed as a Hugging Face Space as it is: the page, the library, a model, and a README that starts it."""

import re
import shutil
from pathlib import Path

from .checkpoint import check_new, find, read_config
from .hub import FILES as MODEL_FILES
from .words import shown

ROOT = Path(__file__).resolve().parent.parent
FILES, FOLDERS, MODEL_FILE = ("app.py", "requirements.txt", "packages.txt", "LICENSE"), ("app", "asm_rh"), "model.txt"
LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc")
BODY = """
# {name}

Speak, upload or play a sound: the page tells {labels}, live or from a file, shows what every block of the model did, and lets
you switch it off. The weights are `{model}`; see the tab *About*.
"""


def assemble(folder, model: str) -> list[Path]:
    """Writes the Space for a model (folder, shipped name or Hub id) into a new or empty folder; gives the files.

    Weights on this machine are copied into it, those of the Hub are named to be fetched when the Space is built. Raises FileExistsError
    for a folder that is not empty, ValueError where the page is not at hand.
    """
    folder = check_new(folder)
    if not all((ROOT / name).exists() for name in (*FILES, *FOLDERS)):
        raise ValueError("the page is not part of the installed package: run this in a clone of the project")
    found = find(model)
    own, local = found.folder, found.repo is None
    name = own.name if local else model
    folder.mkdir(parents=True, exist_ok=True)
    for each in FILES:
        shutil.copyfile(ROOT / each, folder / each)
    for each in FOLDERS:
        shutil.copytree(ROOT / each, folder / each, ignore=LEFT_OUT)
    if local:
        _copy_model(own, folder / "checkpoints" / name)
    (folder / MODEL_FILE).write_text(name + "\n", encoding="utf-8")
    (folder / "README.md").write_text(readme(name, read_config(own).labels, local), encoding="utf-8")
    return sorted(path for path in folder.rglob("*") if path.is_file())


def _copy_model(own, target):
    target.mkdir(parents=True)
    for name in MODEL_FILES:
        if (own / name).is_file():
            shutil.copyfile(own / name, target / name)


def readme(name: str, labels, local: bool) -> str:
    """The Space's README: the project's own front matter with this model's name, and a few words."""
    front = re.match(r"---\n.*?\n---\n", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL).group()
    front = re.sub(r"^title: .*$", f"title: {name.rsplit('/', 1)[-1][:50]}", front, flags=re.MULTILINE)
    if not local:
        front = front.replace("\n---\n", f"\nmodels: [{name}]\npreload_from_hub: [\"{name} config.json,model.safetensors\"]\n---\n", 1)
    listed = [shown(label) for label in labels]
    told = ", ".join(listed[:12]) + (f" and {len(listed) - 12} more" if len(listed) > 12 else "")
    return front + BODY.format(name=name.rsplit("/", 1)[-1], labels=told, model=name)

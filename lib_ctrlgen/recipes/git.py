"""Runs the `git` program for the repository of one recipe.

Each call names the repository and its folder, and ignores the user's and the system's configuration, hooks
and GIT_ variables. So neither a hook nor a program that a configuration names is run.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.errors import HostError

from .names import GIT_DIR

SECONDS = 60
PLAIN_FILE = "100"  # the mode of a file in a tree begins with it; links and repositories have others
ADVICE = "recipes keep their history with git: install it (https://git-scm.com), or name the program in GIT"
SETTINGS = {
    "core.hooksPath": os.devnull,
    "core.fsmonitor": "false",
    "core.autocrlf": "false",
    "core.quotePath": "false",
    "core.attributesFile": os.devnull,
    "core.excludesFile": os.devnull,
    "commit.gpgSign": "false",
    "core.compression": "1",  # pictures are compressed already
    "gc.auto": "0",
    "user.name": "CtrlGen",
    "user.email": "ctrlgen@localhost",
}


@dataclass(frozen=True)
class Repository:
    """The git repository in a recipe's folder; `author` is who makes commits, empty for CtrlGen itself."""

    folder: Path
    author: str = ""

    @property
    def git_dir(self) -> Path:
        """The folder that git writes."""
        return self.folder / GIT_DIR

    def run(self, *words: str, data: bytes = b"") -> bytes:
        """The output of a git command. Raises HostError with git's message when it fails."""
        done = self.attempt(*words, data=data)
        if done.returncode:
            message = " ".join(done.stderr.decode("utf-8", "replace").split())
            raise HostError(f"git {words[0]} failed in {self.folder}: {message or done.returncode}")
        return done.stdout

    def text(self, *words: str) -> str:
        """The output of a git command as text. Raises HostError."""
        return self.run(*words).decode("utf-8", "replace")

    def attempt(self, *words: str, data: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        """A finished git command, whatever its exit code. Raises HostError if git cannot be run."""
        whole = self.folder.absolute()  # git runs in the folder, where a relative path would mean another one
        places = [f"--git-dir={whole / GIT_DIR}", f"--work-tree={whole}"]
        who = {"user.name": self.author} if self.author else {}
        settings = [word for name, value in (SETTINGS | who).items() for word in ("-c", f"{name}={value}")]
        command = [git_program(), *places, *settings, *words]
        options = {"input": data, "capture_output": True, "cwd": self.folder, "timeout": SECONDS}
        try:
            return subprocess.run(command, check=False, env=self.environment(), **options)  # type: ignore[call-overload, no-any-return]
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            raise HostError(f"cannot run git in {self.folder}: {error}") from error

    def environment(self) -> dict[str, str]:
        """The environment of git: that of this process without GIT_ variables and without a home folder."""
        kept = {name: value for name, value in os.environ.items() if not name.upper().startswith("GIT_")}
        nowhere = str(self.git_dir.absolute())  # it contains no .gitconfig
        own = {"HOME": nowhere, "XDG_CONFIG_HOME": nowhere, "GIT_CONFIG_GLOBAL": os.devnull}
        return {**kept, **own, "GIT_CONFIG_NOSYSTEM": "1", "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

    def init(self, branch: str) -> None:
        """Make a repository without git's templates, on a branch that has no version yet."""
        self.run("init", "--quiet", "--template=")
        self.run("symbolic-ref", "HEAD", f"refs/heads/{branch}")

    def blobs(self, commit: str, names: Sequence[str]) -> dict[str, bytes]:
        """The content of files of a commit, in one call of git."""
        asked = "".join(f"{commit}:{name}\n" for name in names).encode()
        output, found, place = self.run("cat-file", "--batch", data=asked), {}, 0
        for name in names:
            head_end = output.index(b"\n", place)
            size = int(output[place:head_end].split()[2])
            found[name] = output[head_end + 1 : head_end + 1 + size]
            place = head_end + size + 2
        return found

    def sizes(self, commit: str) -> Mapping[str, int]:
        """The size in bytes of every plain file of a commit, by its path."""
        rows = (row.partition("\t") for row in self.text("ls-tree", "-r", "-l", "-z", commit).split("\0"))
        return {name: int(head.split()[3]) for head, _, name in rows if head.startswith(PLAIN_FILE)}


def git_program() -> str:
    """The path of the git program, by the variable GIT as the WebUI reads it. Raises HostError."""
    found = shutil.which(os.environ.get("GIT") or "git")
    if found is None:
        raise HostError(ADVICE)
    return found

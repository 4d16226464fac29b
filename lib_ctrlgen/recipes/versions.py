"""One recipe's folder: its versions and variants, each a commit and a branch of its git repository.

What counts is the repository. The plain files beside it are those of the newest version of the current
variant, for people and for `ctrlgen run`.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from lib_ctrlgen.errors import HostError, RequestError
from lib_ctrlgen.files import remove_parts, save_bytes

from .content import FOLDER, RECIPE, WEBUI, Files, Recipe, is_file
from .git import Repository
from .names import MAIN, VARIANT, VERSION, branch_of, same_name, unknown, variant_of, version_id
from .reading import check_sizes, read_recipe

MARK = "ctrlgen-changing"  # a file in .git while the plain files are being changed
BY_HAND = "Changed in the folder"
ROW = "%H%x00%cI%x00%an%x00%s"
CREATOR = "%an"
LONGEST_MESSAGE = 200
PLACES = (RECIPE, WEBUI, FOLDER, "result.png", "result.jpeg", "result.webp")


@dataclass(frozen=True, kw_only=True)
class Version:
    """A version of a recipe: its hash, when it was saved (ISO 8601), the words saved with it, and by whom."""

    id: str
    saved: str
    message: str
    author: str = ""


@dataclass(frozen=True)
class RecipeFolder:
    """The folder of a recipe; `author` is who changes it. Methods that change it need the library's lock."""

    folder: Path
    author: str = ""

    @property
    def git(self) -> Repository:
        """The repository in the folder."""
        return Repository(self.folder, self.author)

    @property
    def variant(self) -> str:
        """The current variant."""
        return variant_of(self.git.text("symbolic-ref", "--short", "HEAD").strip())

    def variants(self) -> list[str]:
        """The names of all variants."""
        rows = self.git.text("for-each-ref", "--format=%(refname:lstrip=2)", "refs/heads").splitlines()
        return sorted(variant_of(row) for row in rows)

    def history(self, variant: str = "") -> list[Version]:
        """The versions of a variant, by default the current one, the newest first."""
        rows = self.git.text("log", f"--format={ROW}", self.commit(variant=variant), "--").splitlines()
        return [_version(row) for row in rows]

    def newest(self) -> Version:
        """The newest version of the current variant."""
        return self.described("HEAD")

    def described(self, commit: str) -> Version:
        """The version of a commit."""
        return _version(self.git.text("log", "-1", f"--format={ROW}", commit, "--").rstrip("\n"))

    def creator(self) -> str:
        """Who saved the first version."""
        rows = self.git.text("log", "--max-parents=0", f"--format={CREATOR}", "HEAD", "--").splitlines()
        return rows[-1]

    def commit(self, version: str = "", variant: str = "") -> str:
        """The whole hash of a version, or of the newest one of a variant. Raises RequestError."""
        if not version:
            reference = self._branch(variant) if variant else "HEAD"
            return self.git.text("rev-parse", "--verify", reference).strip()
        wanted = version_id(version)
        found = self.git.attempt("rev-parse", "--verify", "--quiet", f"{wanted}^{{commit}}")
        commit = found.stdout.decode().strip()
        if found.returncode or not self.git.text("branch", "--contains", commit):
            raise RequestError(VERSION, f"{self.folder.name!r} has no version {version}; see its history")
        return commit

    def _branch(self, variant: str) -> str:
        branch = branch_of(variant)
        if variant_of(branch) not in self.variants():
            raise RequestError(VARIANT, unknown(variant, self.variants(), "variant"))
        return f"refs/heads/{branch}"

    def files(self, commit: str) -> dict[str, bytes]:
        """The files of a version. Raises RequestError if they are too large; others are left out."""
        sizes = {name: size for name, size in self.git.sizes(commit).items() if is_file(name)}
        check_sizes(sizes)
        return self.git.blobs(commit, list(sizes))

    def read(self, version: str = "", variant: str = "") -> Recipe:
        """A version of the recipe, by default the newest one. Raises RequestError."""
        return read_recipe(self.files(self.commit(version, variant)))

    def save(self, files: Files, message: str) -> Version:
        """Save files as a new version of the current variant; the same files make no new version."""
        with self.changing():
            for name in self._plain_files():
                if name not in files:
                    (self.folder / name).unlink(missing_ok=True)
            for name, data in files.items():
                save_bytes(data, self.folder / name)
            self._commit(message)
        return self.newest()

    def restore(self, version: str) -> Version:
        """Make an old version the newest one of the current variant; no version is lost."""
        commit = self.commit(version)
        with self.changing():
            self.git.run("read-tree", "--reset", "-u", commit)
            self._commit(f"Restored version {commit[:8]}")
        return self.newest()

    def new_variant(self, name: str, version: str = "") -> None:
        """Make a variant that begins with a version, and switch to it. Raises RequestError."""
        branch = branch_of(name)
        if known := same_name(variant_of(branch), self.variants()):
            raise RequestError(VARIANT, f"there is a variant {known!r} already")
        with self.changing():
            self.git.run("update-ref", f"refs/heads/{branch}", self.commit(version))
        self.switch(name)

    def switch(self, name: str) -> None:
        """Make a variant the current one, with its plain files. Raises RequestError."""
        reference = self._branch(name)
        with self.changing():
            self.git.run("read-tree", "--reset", "-u", reference)
            self.git.run("symbolic-ref", "HEAD", reference)

    def start(self, files: Files, message: str) -> None:
        """Make the repository of a new recipe, with its first version."""
        self.git.init(branch_of(MAIN))
        for name, data in files.items():
            save_bytes(data, self.folder / name)
        self._commit(message)

    def _commit(self, message: str) -> None:
        """Commit the recipe's own files, if they differ from the newest version."""
        self.git.run("add", "--force", "--all", "--", *self._plain_files())
        if self.git.attempt("diff", "--cached", "--quiet", "--no-ext-diff").returncode:
            words = " ".join(message.split())[:LONGEST_MESSAGE] or "Saved"
            self.git.run("commit", "--quiet", "--no-verify", "-m", words)

    def _plain_files(self) -> list[str]:
        """The names of the recipe's files in the folder and in the index."""
        here = [path.name for path in self.folder.iterdir() if path.is_file()]
        here += [f"{FOLDER}/{path.name}" for path in (self.folder / FOLDER).glob("*") if path.is_file()]
        known = self.git.text("ls-files", "-z").split("\0")
        return sorted({name for name in (*here, *known) if is_file(name)})

    @contextmanager
    def changing(self) -> Iterator[None]:
        """A change of the plain files. One that was interrupted is undone at the next change.

        Changes that a person made in the folder become a version of their own first.
        """
        mark = self.git.git_dir / MARK
        if mark.exists():
            self._undo()
        elif self.git.text("status", "--porcelain", "--untracked-files=all", "--", *PLACES).strip():
            self._commit(BY_HAND)
        mark.touch()
        try:
            yield
        except BaseException:
            with suppress(HostError):
                self._undo()
                mark.unlink(missing_ok=True)
            raise
        mark.unlink(missing_ok=True)

    def _undo(self) -> None:
        """Bring the plain files back to the newest version of the current variant."""
        for lock in self.git.git_dir.rglob("*.lock"):  # of a git program that was killed
            lock.unlink(missing_ok=True)
        remove_parts(self.folder)
        self.git.run("reset", "--quiet", "--hard", "HEAD")
        known = set(self.git.text("ls-files", "-z").split("\0"))
        for name in self._plain_files():
            if name not in known:
                (self.folder / name).unlink(missing_ok=True)


def _version(row: str) -> Version:
    commit, saved, author, message = row.split("\0", 3)
    return Version(id=commit, saved=saved, message=message, author=author)

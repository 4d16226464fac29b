"""The users of a server: their file, their tokens, and the command that adds them."""

import os
import stat
from pathlib import Path

import pytest

from lib_ctrlgen.cli.main import main
from lib_ctrlgen.errors import HostError
from lib_ctrlgen.serve.users import UsersFile, hash_of


@pytest.fixture
def users(tmp_path: Path) -> UsersFile:
    return UsersFile(tmp_path / "deep" / "users.yaml")


def test_a_token_is_shown_once_and_kept_as_a_hash(users: UsersFile) -> None:
    token = users.add("anna")
    assert len(token) >= 43  # 256 bits
    text = users.path.read_text()
    assert token not in text
    assert hash_of(token) in text
    found = users.user_of(token)
    assert found is not None
    assert (found.name, found.role, found.is_admin) == ("anna", "user", False)
    for wrong in ("", token[:-1], token + "a", hash_of(token), "ü"):
        assert users.user_of(wrong) is None


def test_another_token_and_a_removed_user_act_at_once(users: UsersFile) -> None:
    served = UsersFile(users.path)  # as a running server has it
    old, bert = users.add("anna"), users.add("bert", "admin")
    assert served.user_of(old)
    with pytest.raises(HostError, match="--new-token"):
        users.add("anna")
    new = users.add("anna", replace=True)
    assert served.user_of(old) is None
    assert served.user_of(new)
    users.remove("bert")
    assert served.user_of(bert) is None
    with pytest.raises(HostError, match="no user 'bert'"):
        users.remove("bert")


@pytest.mark.skipif(os.name != "posix", reason="Windows has no such modes")
def test_the_file_is_the_owners_alone(users: UsersFile) -> None:
    before = os.umask(0)
    try:
        users.add("anna")
    finally:
        os.umask(before)
    assert stat.S_IMODE(users.path.stat().st_mode) == 0o600
    users.path.chmod(0o640)
    with pytest.raises(HostError, match="chmod 600"):
        users.entries()


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("users: [anna]", "users"),
        ("users: {anna: {token_sha256: abc}}", "token_sha256"),
        (f"users: {{anna: {{token_sha256: '{'0' * 64}', role: chef}}}}", "role"),
        (f"users: {{../anna: {{token_sha256: '{'0' * 64}'}}}}", "'../anna' is no name"),
        ("users: {", "not YAML"),
        ("\xff", "users.yaml"),
    ],
)
def test_a_wrong_file_is_an_error_that_names_it(users: UsersFile, text: str, reason: str) -> None:
    users.add("anna")
    users.path.write_bytes(text.encode("latin-1"))
    with pytest.raises(HostError, match=r"users\.yaml") as caught:
        users.entries()
    assert reason in str(caught.value)


def test_the_command_adds_and_removes_users(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["serve", "--folder", str(tmp_path)]
    assert main([*folder, "--add-user", "anna", "--admin"]) == 0
    token, said = capsys.readouterr()
    found = UsersFile(tmp_path / "users.yaml").user_of(token.strip())
    assert found is not None
    assert found.is_admin
    assert "only now" in said
    for wrong in (["--add-user", "anna"], ["--add-user", "../x"], ["--admin"], ["--remove-user", "nobody"]):
        assert main([*folder, *wrong]) == 2
    assert main([*folder, "--remove-user", "anna"]) == 0
    assert UsersFile(tmp_path / "users.yaml").entries() == {}

"""A server with three users and fast fake engines, asked over REST without a network."""

from pathlib import Path
from typing import Any

from fastapi.testclient import TestClient

from lib_ctrlgen.serve.access import Access
from lib_ctrlgen.serve.app import create_app
from lib_ctrlgen.serve.users import UsersFile
from tests.support.serve_jobs import FakeModels, content_of, wait_for


class Team:
    """A server with three users."""

    def __init__(self, service: Any, folder: Path) -> None:
        self.service, self.users = service, UsersFile(folder / "users.yaml")
        roles = {"anna": "user", "bert": "user", "chef": "admin"}
        self.tokens = {name: self.users.add(name, role) for name, role in roles.items()}  # type: ignore[arg-type]
        self.http = TestClient(create_app(service, Access(self.users), FakeModels()), follow_redirects=False)

    def ask(self, method: str, path: str, user: str = "anna", **options: Any) -> Any:
        headers = {"Authorization": f"Bearer {self.tokens[user]}", **options.pop("headers", {})}
        return self.http.request(method, path, headers=headers, **options)

    def post(self, user: str = "anna", **fields: Any) -> Any:
        return self.ask("POST", "/jobs", user, json=content_of(**fields))

    def done(self, user: str = "anna", **fields: Any) -> dict[str, Any]:
        return self.ended(self.post(user, **fields), user)

    def ended(self, posted: Any, user: str = "anna") -> dict[str, Any]:
        """The job of an answer of a POST, when it has ended."""
        assert posted.status_code == 201, posted.text
        job = posted.json()["id"]
        wait_for(lambda: self.state(job) not in ("queued", "running"))
        return dict(self.ask("GET", f"/jobs/{job}", user).json())

    def state(self, job: str) -> str:
        return str(self.service.store.require(job).state)


def error_of(answer: Any, code: int) -> tuple[str, str]:
    assert answer.status_code == code, answer.text
    detail = answer.json()["detail"]
    return detail["path"], detail["message"]

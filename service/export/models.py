"""What an export is made of."""

from pydantic import BaseModel

from service.accounts.models import AccountView, SessionRecord
from service.categories.models import CategoryView
from service.tasks.models import TaskView


class Export(BaseModel):
    """All data of an account."""

    account: AccountView
    sessions: list[SessionRecord]
    categories: list[CategoryView]
    tasks: list[TaskView]

"""New Relic's agent in its developer mode, in which it talks to nobody."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import Any

from ..stack import Part

_transactions: list[Any] = []
_HANDLER = re.compile(r"[\w.]+:\w*ASGIHandler\b")


def start() -> None:
    """Start the agent before Django is imported, and keep what it is told of requests."""
    os.environ.update(
        NEW_RELIC_DEVELOPER_MODE="true",
        NEW_RELIC_LICENSE_KEY="0" * 40,
        NEW_RELIC_APP_NAME="project",
        NEW_RELIC_STARTUP_TIMEOUT="20",
        NEW_RELIC_LOG="/dev/null",
    )
    import newrelic.agent
    from newrelic.api.application import Application

    def keep(wrapped: Any, instance: Any, args: Any, kwargs: Any) -> Any:
        _transactions.append(args[0])
        return wrapped(*args, **kwargs)

    newrelic.agent.initialize()
    newrelic.agent.wrap_function_wrapper(Application, "record_transaction", keep)
    newrelic.agent.register_application(timeout=20)


def mark(tag: str) -> None:
    """Put an attribute on the transaction, and make a trace below it."""
    import newrelic.agent

    newrelic.agent.add_custom_attribute("mark", tag)
    with newrelic.agent.FunctionTrace(f"mark {tag}"):
        pass


def _walk(node: Any) -> Iterator[list[str]]:
    """Return the names of all below a node of a trace, each with that of its parent."""
    for child in node.children:
        yield [_name(child), _name(node)]
        yield from _walk(child)


def _name(node: Any) -> str:
    """Return the name of a node; the handler's class is named in it, and is another one."""
    name = getattr(node, "name", None) or getattr(node, "sql", "")
    return f"{type(node).__name__} {_HANDLER.sub('ASGIHandler', str(name))}"


def recorded() -> dict[str, list[Any]]:
    """Return the transactions, and what the trace of each has in it."""
    transactions = [
        {
            "path": _HANDLER.sub("ASGIHandler", transaction.path),
            "uri": transaction.request_uri,
            "attributes": sorted(
                [item.name, str(item.value)]
                for item in (*transaction.user_attributes, *transaction.agent_attributes)
                # The script that the agent puts into pages has a time in it.
                if item.name != "response.headers.contentLength"
            ),
            "errors": [[error.type, error.message] for error in transaction.errors],
        }
        for transaction in _transactions
    ]
    traces = [
        [transaction.request_uri, *names]
        for transaction in _transactions
        for names in _walk(transaction.root)
    ]
    return {"transactions": transactions, "traces": traces}


PART = Part(start=start, mark=mark, recorded=recorded)

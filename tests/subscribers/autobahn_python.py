"""The package autobahn (autobahn-python) against a server: tests/wire/foreign_subscribers.rs says what it has to print."""

import sys
from urllib.parse import quote

from autobahn.asyncio.component import Component, run

url, way, token = sys.argv[1:4]
state = {"next": 0, "floods": 0}


def say(*words):
    print(*words, flush=True)


transport = {
    "type": "websocket",
    "url": f"{url}?token={quote(token, safe='')}" if way == "url" else url,
    "max_retries": 100,
    "initial_retry_delay": 0.2,
    "max_retry_delay": 0.5,
}
ticket = {"ticket": {"authid": "me", "ticket": token}}
component = Component(
    transports=[transport],
    realm="any",
    authentication=ticket if way == "ticket" else None,
    is_fatal=lambda error: getattr(error, "error", "") == "wamp.error.authentication_denied",
)


@component.on_join
async def joined(session, _details):
    say("open")
    try:
        await session.subscribe(lambda *_: None, "denied")
    except Exception as error:
        say("denied", error.error)

    def news(n):
        if n != state["next"]:
            say("broken", n, "instead of", state["next"])
        state["next"] = n + 1
        if state["next"] % 10000 == 0:
            say("heard", state["next"])

    await session.subscribe(news, "news")
    say("subscribed")

    async def flooded(_):
        state["floods"] += 1
        if state["floods"] == 100:
            await flood.unsubscribe()
            say("unsubscribed")

    flood = await session.subscribe(flooded, "flood")
    say("flooding")


@component.on_leave
def left(_session, details):
    say("closed", "left", details.reason)


run([component], log_level="critical")

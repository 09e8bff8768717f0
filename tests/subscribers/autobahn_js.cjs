// The package autobahn (autobahn-js) against a server: tests/wire/foreign_subscribers.rs says what it has to print.
"use strict";
const WebSocket = require("ws");
// Node ends for an `error` that nobody listens to, and autobahn listens to none of `ws`.
globalThis.WebSocket = class extends WebSocket {
  constructor(...what) {
    super(...what);
    this.on("error", () => {});
  }
};
const autobahn = require("autobahn");

const [url, way, token] = process.argv.slice(2);
const say = (...words) => console.log(...words);
const ticket = way === "ticket" ? { authmethods: ["ticket"], authid: "me", onchallenge: () => token } : {};
const connection = new autobahn.Connection({
  url: way === "url" ? `${url}?token=${encodeURIComponent(token)}` : url,
  realm: "any",
  initial_retry_delay: 0.2,
  max_retry_delay: 0.5,
  max_retries: 100,
  on_user_error: (error, what) => say("broken", what, error),
  on_internal_error: (error, what) => say("broken", what, error),
  ...ticket,
});

let next = 0;
connection.onopen = async (session) => {
  say("open");
  await session.subscribe("denied", () => {}).catch((error) => say("denied", error.error));
  await session.subscribe("news", ([n]) => {
    if (n !== next) say("broken", `${n} instead of ${next}`);
    next = n + 1;
    if (next % 10000 === 0) say("heard", next);
  });
  say("subscribed");
  let floods = 0;
  const flood = await session.subscribe("flood", async () => {
    floods += 1;
    if (floods !== 100) return;
    await session.unsubscribe(flood);
    say("unsubscribed");
  });
  say("flooding");
};
connection.onclose = (reason, details) => {
  say("closed", reason, details.reason ?? "");
  // Comes back unless the server has taken leave.
  return false;
};
connection.open();

// The package wampy against a server: tests/wire/foreign_subscribers.rs says what it has to print.
"use strict";
const WebSocket = require("ws");
const { Wampy } = require("wampy");

const [url, way, token] = process.argv.slice(2);
const say = (...words) => console.log(...words);
const ticket = way === "ticket" ? { authmethods: ["ticket"], authid: "me", onChallenge: () => token } : {};
const client = new Wampy(way === "url" ? `${url}?token=${encodeURIComponent(token)}` : url, {
  realm: "any",
  ws: WebSocket,
  uriValidation: "loose",
  reconnectInterval: 300,
  maxRetries: 100,
  onReconnectSuccess: () => say("open"),
  onClose: () => say("closed"),
  ...ticket,
});

let next = 0;
let floods = 0;

const live = async () => {
  try {
    await client.connect();
  } catch (error) {
    say("closed", "refused", error.errorUri);
    process.exit(0);
  }
  say("open");
  await client.subscribe("denied", () => {}).catch((error) => say("denied", error.errorUri));
  await client.subscribe("news", ({ argsList: [n] }) => {
    if (n !== next) say("broken", `${n} instead of ${next}`);
    next = n + 1;
    if (next % 10000 === 0) say("heard", next);
  });
  say("subscribed");
  await client.subscribe("flood", async () => {
    floods += 1;
    if (floods !== 100) return;
    await client.unsubscribe("flood");
    say("unsubscribed");
  });
  say("flooding");
};
live();

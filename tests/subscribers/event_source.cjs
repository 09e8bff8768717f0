// The package eventsource, which is the EventSource of browsers for Node, against a server:
// tests/wire/foreign_subscribers.rs says what it has to print.
"use strict";
const { EventSource } = require("eventsource");

const [url, , token] = process.argv.slice(2);
const say = (...words) => console.log(...words);
const source = new EventSource(`${url}?token=${encodeURIComponent(token)}&topic=news`);
let next = 0;
source.onopen = () => {
  say("open");
  say("subscribed");
};
source.onmessage = ({ data }) => {
  const event = JSON.parse(data);
  if (event.topic !== "news" || event.data !== next) say("broken", `${data} instead of ${next}`);
  next = event.data + 1;
  if (next % 10000 === 0) say("heard", next);
};
source.onerror = ({ code }) => {
  if (source.readyState === EventSource.CLOSED) say("closed", "refused", code);
};

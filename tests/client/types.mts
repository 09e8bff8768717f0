// What newswire.d.ts lets a page write, and what not. Never run: tests/tools/client.rs has it checked, with
// the types beside it.

import { ab, connect, type Connection, type Denial, type Gap } from "./newswire.mjs";

const push: Connection = connect({ url: "/push/", token: async () => "token", retryDelay: 500 });
connect({ url: new URL("wss://example.com/"), token: "token", ticket: true });
const show = (data: { n: number }, topic: string) => console.log(topic.length, data.n.toFixed());
const unsubscribe: () => void = await push.subscribe("topic", show);
push.subscribe("topic", (data) => console.log(data.n)).catch((denial: Denial) => console.log(denial.topic, denial.reason));
push.subscribe("topic", show, { last: 10 }).then((end) => end());
push.addEventListener("gap", ({ detail }) => load(detail));
const load = async ({ topic, reason }: Gap) => console.log(topic.length, reason.length);
push.addEventListener("open", () => unsubscribe());
push.addEventListener("denied", ({ detail }) => console.log(detail.topic.length, detail.reason.length));
push.unsubscribe("topic", show);
push.unsubscribe("topic");
push.addEventListener("waiting", ({ detail }) => console.log(detail.delay.toFixed(), detail.code?.toFixed()));
push.addEventListener("closed", ({ detail }) => console.log(detail.reason.length), { once: true });
await push.ready;
if (push.state === "open") push.close();

// @ts-expect-error: where?
connect({ token: "token" });
// @ts-expect-error: how?
connect({ url: "/push/", ticket: "token" });
// @ts-expect-error: it is a promise of that
const atOnce: () => void = push.subscribe("topic", show);
// @ts-expect-error: how many?
push.subscribe("topic", show, { last: true });
// @ts-expect-error: an event of no state
push.addEventListener("opened", (event: CustomEvent) => event.detail);
// @ts-expect-error: nobody else says so
push.state = "closed";

const session = new ab.Session("ws://h/", () => {
	session.prefix("ev", "http://example.com/ev#");
	session.subscribe("ev:a", (topic, event) => console.log(topic.length, event.n));
	session.unsubscribe("ev:a");
	session.publish("ev:a", { n: 1 }, true);
	session.call("ev:rpc", 1).catch((error) => console.log(error));
	const id: string | null = session.sessionid();
	console.log(id, session.resolve("ev:a").length, session.shrink("http://example.com/ev#a").length);
	session.close();
}, (code, reason) => console.log(code === ab.CONNECTION_LOST, reason.length), { skipSubprotocolCheck: true });

ab.connect("ws://h/", (session) => session.close(), (code, reason, retry) => retry && retry.retries > 3, { maxRetries: 5 });
// @ts-expect-error: nobody to tell
ab.connect("ws://h/");

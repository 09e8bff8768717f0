// What newswire.js does, seen from a page: with sockets, streams, timers and dice of the test's own, so that
// nothing is waited for and every pause is known. Run by tests/tools/client.rs, on the source and on what is served;
// NEWSWIRE_JS names the file.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const text = readFileSync(process.env.NEWSWIRE_JS ?? "src/web/newswire.js", "utf8");

// What newswire answers with a 403 to who asks for a topic that the token does not allow.
const DENIED = JSON.stringify({
	error: "the token does not allow one of the topics",
	hint: "ask for fewer topics, or get a token that allows them",
});

// The client in a world of its own; `random` is what every throw of the dice gives.
function world({ random = 0.5, ab, server = "newswire/0.1.0" } = {}) {
	const sockets = [], timers = [], errors = [], listeners = [], streams = [], warnings = [];
	const listens = { addEventListener: (type, listener) => listeners.push({ type, listener }) };
	const clock = { now: 0 };
	const page = { ...listens, document: { ...listens, hidden: false } };
	class WebSocket {
		sent = [];
		isClosed = false;
		answered = 0;
		constructor(url, protocols) {
			Object.assign(this, { url: String(url), protocols });
			sockets.push(this);
		}
		send(message) { this.sent.push(message); }
		close() { this.isClosed = true; }
		hear(...message) { this.onmessage({ data: JSON.stringify(message) }); }
		// Takes what it has sent since the last time.
		take() { return this.sent.splice(0).map((message) => JSON.parse(message)); }
		greet() {
			if (this.protocols[0] === "wamp") this.hear(0, `id${sockets.length}`, 1, server);
			else this.hear(2, 1, { agent: server, roles: { broker: { features: {} } } });
		}
		open(notice) {
			this.onopen();
			this.greet();
			this.grant(notice);
		}
		// Answers each SUBSCRIBE: a topic's subscription has the number of its first letter. An older server gives no
		// notice.
		grant(notice) {
			for (const [type, request, , topic] of this.sent.map((message) => JSON.parse(message))) {
				if (type !== 32 || request <= this.answered) continue;
				this.answered = request;
				this.hear(33, request, topic.charCodeAt());
				if (notice) this.notice(topic, notice);
			}
		}
		notice(topic, details) { this.hear(36, topic.charCodeAt(), 1, details); }
		event(topic, data, x_id) {
			if (this.protocols[0] === "wamp") this.hear(8, topic, data);
			else this.hear(36, topic.charCodeAt(), 1, { x_id }, [data]);
		}
		end(code = 1006, reason = "") { this.onclose?.({ code, reason, wasClean: code !== 1006 }); }
	}
	// A stream waits for the answer that a test gives with `answer`, which brings `text`; then more comes.
	function fetch(url, { headers, signal }) {
		return new Promise((resolve, reject) => {
			const encoder = new TextEncoder();
			const stream = { url, headers, signal, isCancelled: false, fail: reject };
			stream.answer = (status, text = status === 403 ? DENIED : "") => {
				const source = {
					start: (controller) => { stream.controller = controller; },
					cancel: () => { stream.isCancelled = true; },
				};
				resolve(new Response(new ReadableStream(source), { status }));
				if (text) stream.hear(text);
				if (status === 403) stream.controller.close();
				return rest();
			};
			stream.hear = (text) => {
				if (text) stream.controller.enqueue(encoder.encode(text));
				return rest();
			};
			stream.event = (topic, data, id) => {
				return stream.hear(`${id ? `id: ${id}\n` : ""}data: ${JSON.stringify({ topic, data })}\n\n`);
			};
			stream.notice = (notice) => {
				const id = notice.id ? `id: ${notice.id}\n` : "";
				return stream.hear(`event: newswire\n${id}data: ${JSON.stringify(notice)}\n\n`);
			};
			stream.end = () => { stream.controller.close(); return rest(); };
			signal.addEventListener("abort", () => {
				reject(signal.reason);
				try { stream.controller?.error(signal.reason); } catch {} // it has ended
			});
			streams.push(stream);
		});
	}
	const scope = {
		WebSocket,
		fetch,
		console: { ...console, warn: (text) => warnings.push(text) },
		setTimeout: (run, delay) => timers.push({ run, delay, isDue: true }),
		clearTimeout: (number) => { if (number) timers[number - 1].isDue = false; },
		Date: { now: () => clock.now },
		queueMicrotask: (run) => Promise.resolve().then(run).catch((error) => errors.push(error)),
		Math: Object.create(Math, { random: { value: () => random } }),
		globalThis: page,
		ab,
	};
	const make = new Function(...Object.keys(scope), `${text}; return { ab, connect: newswire.connect };`);
	return {
		...make(...Object.values(scope)),
		sockets, timers, errors, streams, warnings, clock,
		last: () => sockets.at(-1),
		stream: () => streams.at(-1),
		// The timers that will come: in milliseconds.
		due: () => timers.filter((timer) => timer.isDue).map((timer) => timer.delay),
		// Something happens to the page.
		happen(type, hidden = false) {
			page.document.hidden = hidden;
			const those = listeners.filter((one) => one.type === type);
			assert.equal(those.length, 1, type);
			those[0].listener({ type });
		},
		// Lets the last pause pass, if it has not been called off.
		async pass() {
			const timer = timers.at(-1);
			assert.ok(timer.isDue, "nothing is due");
			timer.isDue = false;
			timer.run();
			await rest();
		},
		// Lets the one pause pass that is this long.
		async passes(delay) {
			const those = timers.filter((timer) => timer.isDue && timer.delay === delay);
			assert.equal(those.length, 1, `${delay} of ${timers.map((timer) => timer.delay)}`);
			those[0].isDue = false;
			those[0].run();
			await rest();
		},
	};
}

// Everything that was promised has happened; what comes through a stream takes some turns.
async function rest() {
	for (let turns = 0; turns < 5; turns += 1) await new Promise((resolve) => setImmediate(resolve));
}

function states(push) {
	const seen = [];
	for (const state of ["connecting", "open", "waiting", "closed"]) {
		push.addEventListener(state, ({ detail }) => {
			assert.equal(push.state, state);
			seen.push(detail ? { state, ...detail } : state);
		});
	}
	return seen;
}

async function connected(options = {}, dice = {}) {
	const w = world(dice);
	const push = w.connect({ url: "ws://h/", token: "t", ...options });
	await rest();
	w.last().open();
	return { w, push };
}

// A server that is down: no WebSocket, and no stream.
async function refuse(w) {
	w.last().end();
	await rest();
	if (w.streams.length && !w.stream().signal.aborted) {
		w.stream().fail(new TypeError("fetch failed"));
		await rest();
	}
}

test("pauses double up to a bound, and begin anew after a connection", async () => {
	const { w, push } = await connected();
	const pauses = [];
	for (let i = 0; i < 8; i += 1) {
		await refuse(w);
		assert.equal(push.state, "waiting");
		pauses.push(w.timers.findLast((timer) => timer.isDue).delay);
		await w.pass();
	}
	assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 15000, 15000, 15000]);
	w.last().open();
	w.last().end();
	assert.equal(w.timers.at(-1).delay, 500);
});

test("pauses are drawn between none and the whole bound", async () => {
	for (const [random, first, second] of [[0, 0, 0], [0.999, 99.9, 199.8]]) {
		const { w } = await connected({ retryDelay: 100, retryDelayMax: 200 }, { random });
		for (const delay of [first, second, second]) {
			await refuse(w);
			assert.equal(w.timers.at(-1).delay.toFixed(1), delay.toFixed(1));
			await w.pass();
		}
	}
});

test("a page over a limit is not back at once, again and again", async () => {
	const { w } = await connected();
	for (const delay of [500, 1000, 2000]) {
		w.last().end(1008, "too many subscriptions");
		assert.equal(w.timers.at(-1).delay, delay);
		await w.pass();
		w.last().open();
	}
});

// The options of a SUBSCRIBE that is the first of its topic.
const NEW = { x_last: 0 };

// What a socket has sent, and not its HELLO.
const said = (socket) => socket.take().filter(([type]) => type !== 1).map(([type, , ...more]) => [type, ...more]);

test("it introduces itself, and asks for no more than it understands", async () => {
	const { w } = await connected();
	const [hello] = w.last().take();
	assert.deepEqual(hello.slice(0, 2), [1, "newswire"]);
	assert.deepEqual(hello[2].authmethods, []);
	assert.deepEqual(hello[2].roles, { subscriber: { features: { subscription_revocation: true } } });
	assert.deepEqual(w.last().protocols, ["wamp.2.json"]);
});

test("each connection is subscribed to what is wanted then", async () => {
	const w = world();
	const push = w.connect({ url: "ws://h/" });
	const heard = [];
	push.subscribe("a", (data, topic) => heard.push(["first", topic, data]));
	push.subscribe("a", (data) => heard.push(["second", data]));
	const b = push.subscribe("b", () => {});
	await rest();
	assert.deepEqual(w.last().sent, []);
	w.last().open();
	assert.deepEqual(said(w.last()), [[32, NEW, "a"], [32, NEW, "b"]]);
	const end = await b;
	push.subscribe("c", () => {});
	end();
	end();
	assert.deepEqual(said(w.last()), [[32, NEW, "c"], [34, 98]]);

	w.last().end();
	push.subscribe("d", () => {});
	push.subscribe("e", () => {});
	push.unsubscribe("e");
	await w.pass();
	w.last().open();
	assert.deepEqual(said(w.last()), [[32, NEW, "a"], [32, NEW, "c"], [32, NEW, "d"]]);
	w.last().event("a", { n: 1 });
	w.last().event("unknown", 1);
	await rest();
	assert.deepEqual(heard, [["first", "a", { n: 1 }], ["second", { n: 1 }]]);
	// Arguments may be a list without any.
	w.last().hear(36, 97, 1, {}, []);
	await rest();
	assert.deepEqual(heard.slice(2), [["first", "a", undefined], ["second", undefined]]);
});

test("a subscription is fulfilled when the server has it, and the connection is open when it has all", async () => {
	const w = world();
	const push = w.connect({ url: "ws://h/" });
	const done = [];
	for (const topic of ["a", "b"]) push.subscribe(topic, () => {}).then(() => done.push(topic));
	await rest();
	w.last().onopen();
	w.last().greet();
	push.subscribe("c", () => {}).then(() => done.push("c"));
	await rest();
	assert.deepEqual([done, push.state], [[], "connecting"]);
	w.last().hear(33, 2, 7);
	await rest();
	assert.deepEqual([done, push.state], [["b"], "connecting"]);
	w.last().hear(33, 1, 8);
	w.last().hear(33, 3, 9);
	await rest();
	assert.deepEqual([done, push.state], [["b", "a", "c"], "open"]);
	push.subscribe("a", () => {}).then(() => done.push("a again"));
	await rest();
	assert.equal(done.at(-1), "a again");
});

test("handlers of a topic share its subscription, and the last one ends it", async () => {
	const { w, push } = await connected();
	let heard = 0;
	const count = () => { heard += 1; };
	push.subscribe("a", count);
	push.subscribe("a", count);
	push.subscribe("a", () => { heard += 10; });
	w.last().grant();
	w.last().event("a", 1);
	await rest();
	assert.equal(heard, 11, "the same handler counts once");
	push.unsubscribe("a", count);
	w.last().event("a", 1);
	await rest();
	assert.equal(heard, 21);
	assert.deepEqual(said(w.last()), [[32, NEW, "a"]]);
	push.unsubscribe("a");
	push.unsubscribe("a");
	push.unsubscribe("never", count);
	w.last().event("a", 1);
	await rest();
	assert.equal(heard, 21);
	assert.deepEqual(said(w.last()), [[34, 97]]);
});

test("a subscription that is not wanted any more when it comes is ended then", async () => {
	const { w, push } = await connected();
	const early = push.subscribe("a", () => {});
	push.unsubscribe("a");
	await assert.rejects(early, { topic: "a", reason: "unsubscribed" });
	w.last().grant();
	assert.deepEqual(said(w.last()), [[32, NEW, "a"], [34, 97]]);
	// Wanted again before the first answer: nothing is ended.
	push.subscribe("b", () => {});
	push.unsubscribe("b");
	const heard = [];
	const again = push.subscribe("b", (data) => heard.push(data));
	w.last().grant();
	w.last().event("b", 1);
	await again;
	assert.deepEqual([said(w.last()), heard], [[[32, NEW, "b"], [32, NEW, "b"]], [1]]);
});

test("a denied subscription is over, and is told three times, once", async () => {
	const w = world();
	const push = w.connect({ url: "ws://h/" });
	const denied = [];
	push.addEventListener("denied", ({ detail }) => denied.push(detail));
	const a = push.subscribe("a", () => {});
	push.subscribe("b", () => {});
	await rest();
	w.last().onopen();
	w.last().greet();
	w.last().hear(8, 32, 1, {}, "wamp.error.not_authorized");
	w.last().hear(33, 2, 98);
	assert.equal(push.state, "open");
	const because = { topic: "a", reason: "wamp.error.not_authorized" };
	await assert.rejects(a, (error) => {
		assert.ok(error instanceof Error);
		assert.equal(error.message, "a: wamp.error.not_authorized");
		assert.deepEqual({ ...error }, because);
		return true;
	});
	assert.deepEqual(denied, [because]);
	assert.equal(w.warnings.length, 1);
	// The server ends one that it has granted: at the next connection, or in this one.
	w.last().end();
	await w.pass();
	assert.deepEqual(said(w.last()), []);
	w.last().onopen();
	w.last().greet();
	assert.deepEqual(said(w.last()), [[32, NEW, "b"]]);
	w.last().hear(8, 32, 1, {}, "wamp.error.not_authorized");
	assert.deepEqual(denied.slice(1), [{ topic: "b", reason: "wamp.error.not_authorized" }]);
	const c = push.subscribe("c", () => {});
	w.last().grant();
	await c;
	w.last().hear(35, 0, { subscription: 99, reason: "wamp.error.not_authorized" });
	w.last().hear(35, 0, { subscription: 99, reason: "wamp.error.not_authorized" });
	assert.deepEqual(denied.slice(2), [{ topic: "c", reason: "wamp.error.not_authorized" }]);
	push.subscribe("c", () => {});
	push.unsubscribe("c");
	assert.deepEqual(said(w.last()), [[32, NEW, "c"], [32, NEW, "c"]]);
	// The answers to other requests are none to a SUBSCRIBE.
	w.last().hear(35, 9);
	w.last().hear(8, 34, 1, {}, "wamp.error.no_such_subscription");
	assert.deepEqual([denied.length, push.state], [3, "open"]);
});

test("what is subscribed when it closes is rejected, and so is what comes later", async () => {
	const { w, push } = await connected();
	const one = push.subscribe("a", () => {});
	push.close();
	await assert.rejects(one, { topic: "a", reason: "closed" });
	await assert.rejects(push.subscribe("b", () => {}), { topic: "b", reason: "closed" });
	assert.deepEqual(said(w.last()), [[32, NEW, "a"]]);
});

test("the token is a ticket if the page wants that", async () => {
	const w = world();
	let asked = 0;
	const push = w.connect({ url: "ws://h/?lang=en", ticket: true, token: () => `token ${asked += 1}` });
	await rest();
	assert.equal(w.last().url, "ws://h/?lang=en");
	w.last().onopen();
	assert.deepEqual(w.last().take()[0][2].authmethods, ["ticket"]);
	w.last().hear(4, "ticket", {});
	assert.deepEqual(w.last().take(), [[5, "token 1", {}]]);
	w.last().greet();
	assert.equal(push.state, "open");
	// A server that asks only for what it was offered.
	const without = world();
	without.connect({ url: "ws://h/", ticket: true });
	await rest();
	without.last().onopen();
	assert.deepEqual(without.last().take()[0][2].authmethods, []);
});

test("a ticket that is refused is no longer valid", async () => {
	for (const reason of ["wamp.error.authentication_denied", "wamp.error.no_matching_auth_method"]) {
		for (const token of ["t", () => "t"]) {
			const w = world();
			const push = w.connect({ url: "ws://h/", ticket: true, token });
			const seen = states(push);
			await rest();
			w.last().onopen();
			w.last().hear(4, "ticket", {});
			w.last().hear(3, { message: "the token is not good" }, reason);
			w.last().end(1008, "the token is not good");
			const { state, code } = seen.at(-1);
			assert.deepEqual([state, code], [token === "t" ? "closed" : "waiting", 3000]);
			assert.deepEqual(w.streams, []);
		}
	}
	// Another ABORT says nothing of the token.
	const w = world();
	const push = w.connect({ url: "ws://h/", ticket: true, token: "t" });
	await rest();
	w.last().onopen();
	w.last().hear(3, {}, "wamp.close.killed");
	w.last().end(1008, "disconnected by an administrator");
	assert.equal(push.state, "waiting");
});

test("the token is asked for before each attempt", async () => {
	const w = world();
	let asked = 0;
	const push = w.connect({ url: "ws://h/", token: async () => `token ${asked += 1}` });
	await rest();
	assert.equal(w.last().url, "ws://h/?token=token%201");
	w.last().end();
	await w.pass();
	assert.equal(w.last().url, "ws://h/?token=token%202");
	w.last().open();
	w.last().end(3000, "token no longer valid");
	assert.equal(push.state, "waiting");
	await w.pass();
	assert.equal(w.last().url, "ws://h/?token=token%203");
});

test("a token that cannot be had is a failure like another", async () => {
	const w = world();
	let token = () => { throw new Error("no session"); };
	const push = w.connect({ url: "ws://h/", token: () => token() });
	const seen = states(push);
	await rest();
	assert.deepEqual(w.sockets, []);
	assert.deepEqual(seen, [{ state: "waiting", code: undefined, reason: "Error: no session", delay: 500 }]);
	token = () => Promise.reject("offline");
	await w.pass();
	assert.deepEqual(seen.at(-1), { state: "waiting", code: undefined, reason: "offline", delay: 1000 });
	token = () => "good";
	await w.pass();
	assert.equal(w.last().url, "ws://h/?token=good");
});

test("a fixed token that is valid no longer ends it", async () => {
	const { w, push } = await connected();
	const seen = states(push);
	w.last().end(3000, "token no longer valid");
	assert.deepEqual(seen, [{ state: "closed", code: 3000, reason: "token no longer valid" }]);
	assert.deepEqual(w.due(), []);
});

test("addresses", async () => {
	const token = "b64+with/every=sign==";
	const encoded = "token=b64%2Bwith%2Fevery%3Dsign%3D%3D";
	for (const [url, expected] of [
		["ws://h:1/p", `ws://h:1/p?${encoded}`],
		["wss://h", `wss://h/?${encoded}`],
		["ws://h/?a=%2B+1&b", `ws://h/?a=%2B+1&b&${encoded}`],
		["ws://h/?", `ws://h/?&${encoded}`],
		["https://h/p#part", `wss://h/p?${encoded}`],
		["http://h/p", `ws://h/p?${encoded}`],
	]) {
		const w = world();
		w.connect({ url, token });
		await rest();
		assert.equal(w.last().url, expected);
		assert.deepEqual(w.last().protocols, ["wamp.2.json"]);
	}
	const w = world();
	w.connect({ url: new URL("ws://h/?token=x") });
	await rest();
	assert.equal(w.last().url, "ws://h/?token=x");
	assert.throws(() => w.connect({ url: "no address" }), TypeError);
});

test("states, and the promise of the first connection", async () => {
	const w = world();
	const push = w.connect({ url: "ws://h/" });
	assert.equal(push.state, "connecting");
	const seen = states(push);
	await rest();
	w.last().onopen();
	assert.equal(push.state, "connecting", "open is what the server has greeted");
	w.last().greet();
	await push.ready;
	w.last().end(1001, "going down");
	await w.pass();
	w.last().open();
	push.close();
	assert.deepEqual(seen, [
		"open",
		{ state: "waiting", code: 1001, reason: "going down", delay: 500 },
		"connecting",
		"open",
		{ state: "closed", code: 1000, reason: "" },
	]);
	await push.ready;
});

test("closed is for good, wherever it was", async () => {
	// While the token is asked for.
	let tell;
	let w = world();
	let push = w.connect({ url: "ws://h/", token: () => new Promise((resolve) => { tell = resolve; }) });
	await rest();
	push.close();
	tell("late");
	await assert.rejects(push.ready, (ended) => ended.code === 1000);
	await rest();
	assert.deepEqual([w.sockets, w.due()], [[], []]);
	// At once.
	w = world();
	push = w.connect({ url: "ws://h/" });
	push.close();
	await rest();
	assert.deepEqual([push.state, w.sockets, w.due()], ["closed", [], []]);
	// While it connects.
	w = world();
	push = w.connect({ url: "ws://h/" });
	await rest();
	push.close();
	assert.ok(w.last().isClosed);
	assert.deepEqual(w.due(), []);
	w.last().end();
	assert.deepEqual([push.state, w.due()], ["closed", []]);
	// While it is open.
	({ w, push } = await connected());
	push.subscribe("a", () => {});
	push.close();
	assert.ok(w.last().isClosed);
	assert.deepEqual(w.due(), []);
	w.last().end(1000);
	push.unsubscribe("a");
	push.close();
	assert.deepEqual([push.state, w.due()], ["closed", []]);
	// While it waits; by whoever hears that it does, too.
	for (const isAtOnce of [true, false]) {
		({ w, push } = await connected());
		if (isAtOnce) push.addEventListener("waiting", () => push.close());
		w.last().end();
		push.close();
		assert.equal(push.state, "closed");
		assert.deepEqual(w.due(), []);
		// And nothing wakes it up.
		w.happen("online");
		assert.deepEqual([w.sockets.length, w.due()], [1, []]);
	}
});

test("what a handler throws is the page's, and no other handler's", async () => {
	const { w, push } = await connected();
	const heard = [];
	push.subscribe("a", () => { throw new Error("mine"); });
	push.subscribe("a", (n) => heard.push(n));
	w.last().grant();
	w.last().event("a", 1);
	w.last().event("a", 2);
	await rest();
	assert.deepEqual(heard, [1, 2]);
	assert.deepEqual(w.errors.map((error) => error.message), ["mine", "mine"]);
});

// What the page hears of topics, and when it has to load its state anew; and when it is open, all in one order.
function follow(push, ...topics) {
	const told = [];
	for (const state of ["open", "waiting"]) push.addEventListener(state, () => told.push(state));
	push.addEventListener("gap", ({ detail }) => told.push(["gap", detail.topic, detail.reason]));
	for (const topic of topics) push.subscribe(topic, (data) => told.push([topic, data]));
	return told;
}

// A page that follows these topics on a server that keeps events, and has heard none.
async function followed(...topics) {
	const { w, push } = await connected();
	const told = follow(push, ...topics);
	w.last().grant(firstNotice("abcdefgh-10"));
	return { w, push, told };
}

// What the server says to who comes for the first time.
const firstNotice = (x_id) => ({ x_recovered: false, x_id, x_reason: "none" });

// The connection ends, and the next one asks for its topics: their options.
async function again(w) {
	w.last().end();
	await w.pass();
	w.last().onopen();
	w.last().greet();
	return said(w.last()).map(([, options]) => options);
}

// The server has the nth subscription.
const granted = (w, n, topic) => w.last().hear(33, n, topic.charCodeAt());

test("a page that comes back asks for what it has missed, of each topic from where that is", async () => {
	const { w, told } = await followed("a", "b", "c");
	w.last().event("a", 1, "abcdefgh-11");
	w.last().event("b", 2, "abcdefgh-100");
	w.last().event("b", 3, "abcdefgh-200");
	w.last().event("a", 4, "abcdefgh-1000");
	const since = ["abcdefgh-1000", "abcdefgh-200", "abcdefgh-10"];
	const asked = since.map((x_since) => ({ x_since, x_last: 0 }));
	assert.deepEqual(await again(w), asked);
	// Ended before the first answer, between two, and between an answer and its notice: nothing is lost.
	assert.deepEqual(await again(w), asked);
	granted(w, 1, "a");
	w.last().notice("a", { x_recovered: true, x_id: since[0] });
	w.last().event("a", 5, "abcdefgh-1001");
	granted(w, 2, "b");
	asked[0].x_since = "abcdefgh-1001";
	assert.deepEqual(await again(w), asked);
	await rest();
	told.splice(0);
	for (const [n, topic] of [[1, "a"], [2, "b"], [3, "c"]]) {
		granted(w, n, topic);
		w.last().notice(topic, { x_recovered: true, x_id: asked[n - 1].x_since });
	}
	// It is open when it is known what was recovered.
	assert.deepEqual(told, ["open"]);
	w.last().event("b", 6, "abcdefgh-1002");
	w.last().event("c", 7, "abcdefgh-1003");
	await rest();
	assert.deepEqual(told, ["open", ["b", 6], ["c", 7]]);
});

test("it is open no sooner than it is known what was recovered", async () => {
	const { w, push, told } = await followed("a", "b");
	await again(w);
	granted(w, 1, "a");
	w.last().notice("a", { x_recovered: true, x_id: "abcdefgh-10" });
	w.last().event("a", 1, "abcdefgh-11");
	await rest();
	granted(w, 2, "b");
	assert.equal(push.state, "connecting");
	w.last().notice("b", { x_recovered: false, x_id: "abcdefgh-11", x_reason: "floor" });
	assert.equal(push.state, "open");
	assert.deepEqual(told, ["waiting", ["a", 1], ["gap", "b", "floor"], "open"]);
});

test("what was not recovered is a gap, once, with the server's reason", async () => {
	for (const reason of ["epoch", "floor", "unknown", "none"]) {
		const { w, told } = await followed("a");
		assert.deepEqual(told, [], "the first time there is none");
		assert.deepEqual(await again(w), [{ x_since: "abcdefgh-10", x_last: 0 }]);
		w.last().grant({ x_recovered: false, x_id: "zzzzzzzz-5", x_reason: reason });
		assert.deepEqual(told, ["waiting"]);
		granted(w, 1, "a");
		w.last().notice("a", { x_recovered: false, x_id: "zzzzzzzz-5", x_reason: reason });
		w.last().event("a", 1, "zzzzzzzz-6");
		await rest();
		assert.deepEqual(told, ["waiting", ["gap", "a", reason], "open", ["a", 1]]);
		assert.deepEqual(await again(w), [{ x_since: "zzzzzzzz-6", x_last: 0 }]);
	}
});

test("a server that knows no position yet has none to come back to", async () => {
	const { w, told } = await followed("a");
	await again(w);
	granted(w, 1, "a");
	w.last().notice("a", { x_recovered: false, x_reason: "unknown" });
	assert.deepEqual(told.splice(0), ["waiting", ["gap", "a", "unknown"], "open"]);
	for (let times = 0; times < 2; times += 1) {
		assert.deepEqual(await again(w), [NEW]);
		granted(w, 1, "a");
		w.last().notice("a", firstNotice());
		assert.deepEqual(told.splice(0), ["waiting", ["gap", "a", "none"], "open"]);
	}
	w.last().event("a", 1, "zzzzzzzz-1");
	assert.deepEqual(await again(w), [{ x_since: "zzzzzzzz-1", x_last: 0 }]);
});

test("what the server loses is a gap, and the connection stays", async () => {
	const { w, push, told } = await followed("a", "b");
	for (const reason of ["slow", "upstream", "history"]) w.last().notice("b", { x_gap: reason });
	w.last().event("b", 1, "abcdefgh-11");
	w.last().hear(36, 99, 1, { x_gap: "slow" });
	await rest();
	assert.deepEqual(told, [["gap", "b", "slow"], ["gap", "b", "upstream"], ["gap", "b", "history"], ["b", 1]]);
	assert.equal(push.state, "open");
	assert.deepEqual((await again(w)).map(({ x_since }) => x_since), ["abcdefgh-10", "abcdefgh-11"]);
});

test("a notice reaches no handler, nor does another event without arguments", async () => {
	const { w, told } = await followed("a");
	w.last().notice("a", { x_gap: "slow" });
	w.last().notice("a", {});
	w.last().notice("b", { x_recovered: false });
	await again(w);
	w.last().hear(33, 1, 97);
	w.last().notice("a", { x_recovered: true, x_id: "abcdefgh-10" });
	await rest();
	assert.deepEqual(told.filter(([topic]) => topic === "a"), []);
});

test("another run of the server counts anew", async () => {
	const { w } = await followed("a");
	for (const [id, since] of [
		["abcdefgh-9", "abcdefgh-10"],
		["abcdefgh-100", "abcdefgh-100"],
		["abcdefgh-99", "abcdefgh-100"],
		["zzzzzzzz-3", "zzzzzzzz-3"],
		["zzzzzzzz-2", "zzzzzzzz-3"],
		["zzzzzzzz-20", "zzzzzzzz-20"],
		[undefined, "zzzzzzzz-20"],
		["abcdefgh-4", "abcdefgh-4"],
	]) {
		w.last().event("a", 1, id);
		assert.deepEqual(await again(w), [{ x_since: since, x_last: 0 }], id);
		granted(w, 1, "a");
		w.last().notice("a", { x_recovered: true, x_id: since });
	}
});

test("the newest events come first, where the page asks for them", async () => {
	const { w, push } = await connected();
	const told = follow(push);
	push.subscribe("a", (data) => told.push(data), { last: 2 });
	push.subscribe("a", () => {}, { last: 5 }); // it is there
	assert.deepEqual(said(w.last()), [[32, { x_last: 2 }, "a"]]);
	granted(w, 1, "a");
	w.last().notice("a", firstNotice("abcdefgh-10"));
	w.last().event("a", 1, "abcdefgh-3");
	w.last().event("a", 2, "abcdefgh-4");
	await rest();
	assert.deepEqual(told.splice(0), [1, 2]);
	assert.deepEqual(await again(w), [{ x_since: "abcdefgh-10", x_last: 2 }]);
	granted(w, 1, "a");
	w.last().notice("a", { x_recovered: false, x_id: "zzzzzzzz-9", x_reason: "epoch" });
	w.last().event("a", 3, "zzzzzzzz-7");
	await rest();
	assert.deepEqual(told, ["waiting", ["gap", "a", "epoch"], "open", 3]);
	assert.deepEqual(await again(w), [{ x_since: "zzzzzzzz-9", x_last: 2 }]);
});

test("of a server that knows no ids, nothing is known after a reconnect", async () => {
	const { w, push } = await connected();
	const told = follow(push, "a", "b");
	w.last().grant();
	w.last().event("a", 1);
	await rest();
	assert.deepEqual(told.splice(0), [["a", 1]]);
	for (let times = 0; times < 2; times += 1) {
		assert.deepEqual(await again(w), [NEW, NEW]);
		granted(w, 1, "a");
		granted(w, 2, "b");
		assert.deepEqual(told.splice(0), ["waiting", ["gap", "a", "none"], ["gap", "b", "none"], "open"]);
	}
	// One that the server never had is new.
	push.subscribe("c", () => {});
	assert.deepEqual(await again(w), [NEW, NEW, NEW]);
	for (const [n, topic] of [[3, "c"], [1, "a"], [2, "b"]]) granted(w, n, topic);
	assert.deepEqual(told, ["waiting", ["gap", "a", "none"], ["gap", "b", "none"], "open"]);
});

test("the next message tells that a server gives no notice", async () => {
	for (const [next, heard] of [
		[["event", "b", 1], [["b", 1]]],
		[["event", "a", 2], [["a", 2]]],
		[["hear", 50, 2 ** 52 + 1, {}], []],
		[["notice", "a", {}], []],
		[["notice", "c", { x_recovered: true, x_id: "abcdefgh-1" }], []],
	]) {
		const { w, push, told } = await followed("a", "b");
		await again(w);
		// The answer for the second tells of the first; and what comes then, of the second.
		granted(w, 2, "b");
		assert.deepEqual([told.splice(0), push.state], [["waiting"], "connecting"]);
		granted(w, 1, "a");
		assert.deepEqual([told.splice(0), push.state], [[["gap", "b", "none"]], "connecting"]);
		const [how, ...what] = next;
		w.last()[how](...what);
		await rest();
		assert.deepEqual(told.splice(0), [["gap", "a", "none"], "open", ...heard]);
		// From here on it is a server that knows no ids.
		assert.deepEqual(await again(w), [NEW, NEW]);
	}
});

test("a topic that is ended before its notice comes is in nobody's way", async () => {
	let { w, push, told } = await followed("a", "b");
	await again(w);
	granted(w, 1, "a");
	w.last().notice("a", { x_recovered: true, x_id: "abcdefgh-10" });
	granted(w, 2, "b");
	push.unsubscribe("b");
	w.last().notice("b", { x_recovered: false, x_id: "zzzzzzzz-1", x_reason: "epoch" });
	assert.deepEqual(told, ["waiting", "open"]);
	// Wanted again, it is new.
	({ w, push, told } = await followed("a"));
	await again(w);
	granted(w, 1, "a");
	push.unsubscribe("a");
	push.subscribe("a", (data) => told.push(data));
	w.last().notice("a", { x_recovered: false, x_id: "zzzzzzzz-1", x_reason: "epoch" });
	assert.deepEqual([said(w.last()), told], [[[34, 97], [32, NEW, "a"]], ["waiting"]]);
	w.last().hear(35, 2);
	granted(w, 3, "a");
	w.last().notice("a", firstNotice("zzzzzzzz-2"));
	w.last().event("a", 1, "zzzzzzzz-3");
	await rest();
	assert.deepEqual(told, ["waiting", "open", 1]);
	assert.deepEqual(await again(w), [{ x_since: "zzzzzzzz-3", x_last: 0 }]);
});

test("a topic that is wanted twice before the first answer brings its newest events once", async () => {
	const { w, push } = await connected();
	const told = [];
	push.subscribe("a", () => {}, { last: 1 });
	push.unsubscribe("a");
	const one = push.subscribe("a", (data) => told.push(data), { last: 1 });
	one.then(() => told.push("granted"));
	for (const request of [1, 2]) {
		w.last().hear(33, request, 97);
		await rest();
		w.last().notice("a", firstNotice("abcdefgh-9"));
		w.last().event("a", request, "abcdefgh-9");
		await rest();
	}
	assert.deepEqual(told, ["granted", 2]);
});

test("a page may do as it likes when there is a gap", async () => {
	// It closes.
	let { w, push, told } = await followed("a", "b");
	push.addEventListener("gap", () => push.close());
	await again(w);
	granted(w, 1, "a");
	w.last().notice("a", { x_recovered: false, x_id: "zzzzzzzz-1", x_reason: "epoch" });
	assert.deepEqual([told, push.state, w.due()], [["waiting", ["gap", "a", "epoch"]], "closed", []]);
	// It begins anew with the topic, of a server with ids and of one without.
	for (const notice of [{ x_recovered: false, x_id: "zzzzzzzz-1", x_reason: "epoch" }, undefined]) {
		({ w, push } = await connected());
		push.subscribe("a", () => {});
		w.last().grant(notice && firstNotice("abcdefgh-10"));
		let anew;
		push.addEventListener("gap", () => {
			push.unsubscribe("a");
			anew = push.subscribe("a", () => {}, { last: 3 });
		});
		await again(w);
		let isThere = false;
		granted(w, 1, "a");
		if (notice) w.last().notice("a", notice);
		anew.then(() => { isThere = true; });
		await rest();
		assert.deepEqual([isThere, push.state], [false, "connecting"]);
		assert.deepEqual(said(w.last()), [[34, 97], [32, { x_last: 3 }, "a"]]);
		granted(w, 3, "a");
		await anew;
		assert.equal(push.state, "open");
	}
});

// The numbers of its questions, whether it is still there.
const asked = (socket) => socket.sent.map((text) => JSON.parse(text))
	.filter(([type, , , procedure]) => type === 48 && procedure === "newswire:alive")
	.map(([, number]) => number);
const first = 2 ** 52 + 1;

test("after silence it asks, and ends a path that does not answer", async () => {
	const { w, push } = await connected();
	const seen = states(push), socket = w.last();
	push.subscribe("a", () => {});
	socket.grant();
	// The first tick after the greeting is not silence yet.
	for (const delay of [25000, 25000, 25000]) {
		assert.deepEqual([asked(socket), w.due()], [[], [delay]]);
		socket.event("a", 1);
		await w.pass();
	}
	assert.deepEqual(w.due(), [25000]);
	await w.pass();
	assert.deepEqual(JSON.parse(socket.sent.at(-1)), [48, first, {}, "newswire:alive"]);
	// An answer, and as much silence again.
	socket.hear(50, first, {});
	assert.deepEqual(w.due(), [10000]);
	await w.pass();
	assert.deepEqual([asked(socket), w.due()], [[first], [25000]]);
	await w.pass();
	assert.deepEqual(asked(socket), [first, first + 1]);
	// None.
	assert.deepEqual(w.due(), [10000]);
	await w.pass();
	assert.deepEqual([push.state, w.due()], ["open", [10000]]);
	await w.pass();
	assert.deepEqual(seen, [{ state: "waiting", code: 1006, reason: "no answer", delay: 500 }]);
	assert.ok(socket.isClosed);
	assert.deepEqual(w.due(), [500]);
	await w.pass();
	w.last().open();
	assert.deepEqual([push.state, said(w.last())], ["open", [[32, NEW, "a"]]]);
});

test("a question is open until its own answer comes, and whatever comes buys time", async () => {
	const { w, push } = await connected();
	w.happen("online");
	const socket = w.last();
	// What a frozen page is handed first: messages that came before the path died.
	for (const old of [[36, 1, 1, {}, [1]], [50, first - 1, {}], [33, 1, 1], [36, 1, 2, {}, [2]]]) {
		await w.pass();
		socket.hear(...old);
		assert.deepEqual([push.state, w.due()], ["open", [2500]]);
	}
	await w.pass();
	await w.pass();
	assert.equal(push.state, "waiting");
});

test("ab.Session asks in its own words, and a refusal is an answer", async () => {
	const { w, said } = session();
	w.last().open();
	w.happen("online");
	assert.deepEqual(w.last().take(), [[2, "alive-1", "newswire:alive"]]);
	w.last().hear(4, "alive-1", "newswire:alive", "You are not allowed to make calls");
	await w.pass();
	assert.deepEqual([said, w.due()], [["open"], [25000]]);
	w.happen("online");
	w.last().hear(3, "alive-2", null);
	await w.pass();
	assert.deepEqual([said, w.due()], [["open"], [25000]]);
});

test("a page that is seen again, or has its network back, asks at once", async () => {
	const { w, push } = await connected();
	const socket = w.last();
	w.happen("visibilitychange", true);
	w.happen("pageshow", true);
	assert.deepEqual(asked(socket), []);
	// The network is back for a page in the background, too.
	w.happen("online", true);
	assert.deepEqual([asked(socket), w.due()], [[first], [2500]]);
	socket.hear(50, first, {});
	w.happen("visibilitychange");
	w.happen("pageshow");
	assert.deepEqual([asked(socket), w.due()], [[first, first + 1, first + 2], [2500]]);
	// Only the last one's answer counts.
	socket.hear(50, first + 1, {});
	await w.pass();
	await w.pass();
	assert.equal(push.state, "waiting");
	assert.ok(socket.isClosed);
});

test("a page that waits comes back sooner when the network does", async () => {
	const { w, push } = await connected();
	for (let i = 0; i < 5; i += 1) {
		await refuse(w);
		if (i < 4) await w.pass();
	}
	assert.deepEqual([push.state, w.due()], ["waiting", [8000]]);
	w.happen("visibilitychange", true);
	assert.deepEqual(w.due(), [8000]);
	w.happen("online");
	assert.deepEqual([push.state, w.due()], ["waiting", [500]]);
	await w.pass();
	assert.equal(push.state, "connecting");
	// While it connects there is nobody to ask, and no second attempt.
	w.happen("online");
	await rest();
	assert.deepEqual([w.sockets.length, w.last().sent, w.due()], [6, [], [25000]]);
});

test("an attempt that comes to nothing is given up", async () => {
	for (const isUpgraded of [false, true]) {
		const w = world();
		const push = w.connect({ url: "ws://h/" });
		await rest();
		if (isUpgraded) w.last().onopen();
		for (const delay of [25000, 10000, 10000]) {
			assert.deepEqual([push.state, w.due()], ["connecting", [delay]]);
			await w.pass();
		}
		assert.deepEqual([push.state, w.last().isClosed, asked(w.last())], ["waiting", true, []]);
	}
});

test("a greeting that comes late is in time", async () => {
	const w = world();
	const push = w.connect({ url: "ws://h/" });
	await rest();
	await w.pass();
	await w.pass();
	w.last().open();
	await w.pass();
	assert.deepEqual([push.state, asked(w.last()), w.due()], ["open", [], [25000]]);
});

test("no two pages ask at the same moment", async () => {
	for (const [random, delay] of [[0, 20000], [0.999, 29990]]) {
		const { w } = await connected({}, { random });
		assert.deepEqual(w.due(), [delay]);
	}
});

test("another server is asked nothing", async () => {
	for (const server of ["Ratchet/0.4", "newswires", null]) {
		const { w, push } = await connected({}, { server });
		assert.deepEqual(w.due(), []);
		w.happen("online");
		assert.deepEqual([push.state, said(w.last()), w.due()], ["open", [], []]);
		const v1 = world({ server });
		new v1.ab.Session("ws://h/");
		v1.last().open();
		v1.happen("online");
		assert.deepEqual([v1.last().sent, v1.due()], [[], []]);
	}
});

test("ab.Session and ab.connect end a path that does not answer", async () => {
	const { w, said } = session();
	w.last().open();
	for (let ticks = 0; ticks < 4; ticks += 1) await w.pass();
	assert.deepEqual(said, ["open", [1, "WS-1006: no answer"]]);
	assert.deepEqual([w.sockets.length, w.due(), w.last().isClosed], [1, [], true]);
	const again = hanging();
	again.w.last().open();
	again.w.happen("online");
	await again.w.pass();
	await again.w.pass();
	assert.deepEqual(again.said.at(-1), [6, { delay: 5000, retries: 1, maxretries: 10 }]);
	await again.w.pass();
	again.w.last().open();
	assert.equal(again.said.at(-1), "id2");
});

function session(...more) {
	const w = world();
	const said = [];
	const s = new w.ab.Session("ws://h/?token=1", () => said.push("open"), (...end) => said.push(end.slice(0, 2)), ...more);
	return { w, said, s };
}

test("ab.Session opens with the server's greeting and hears its topics", async () => {
	const { w, said, s } = session({ skipSubprotocolCheck: true });
	assert.equal(w.last().url, "ws://h/?token=1");
	assert.deepEqual(w.last().protocols, ["wamp"]);
	assert.throws(() => s.subscribe("a", () => {}), /not connected/);
	w.last().onopen();
	assert.deepEqual([said, s.sessionid()], [[], null]);
	w.last().hear(0, "abc", 1, "newswire");
	assert.deepEqual([said, s.sessionid()], [["open"], "abc"]);

	const heard = [];
	const first = (topic, event) => heard.push(["first", topic, event]);
	const second = (topic, event) => heard.push(["second", topic, event]);
	s.prefix("ev", "http://example.com/ev#");
	s.subscribe("ev:a", first);
	s.subscribe("http://example.com/ev#a", second);
	assert.throws(() => s.subscribe("ev:a", first), /already subscribed/);
	s.subscribe("plain", first);
	w.last().hear(8, "http://example.com/ev#a", null);
	await rest();
	assert.deepEqual(heard.splice(0), [
		["first", "http://example.com/ev#a", null],
		["second", "http://example.com/ev#a", null],
	]);
	s.unsubscribe("ev:a", first);
	assert.throws(() => s.unsubscribe("ev:a", first), /not subscribed/);
	w.last().hear(8, "http://example.com/ev#a", 2);
	await rest();
	assert.deepEqual(heard.splice(0), [["second", "http://example.com/ev#a", 2]]);
	s.unsubscribe("ev:a");
	assert.throws(() => s.unsubscribe("ev:a"), /not subscribed/);
	assert.deepEqual(w.last().sent, [
		'[1,"ev","http://example.com/ev#"]',
		'[5,"ev:a"]',
		'[5,"plain"]',
		'[6,"ev:a"]',
	]);
});

test("ab.Session knows prefixes in both directions", () => {
	const { w, s } = session();
	w.last().open();
	s.prefix("ev", "http://example.com/ev#");
	assert.equal(s.resolve("ev:a:b"), "http://example.com/ev#a:b");
	assert.equal(s.resolve("http://b"), "http://b");
	assert.equal(s.resolve("plain"), "plain");
	assert.equal(s.shrink("http://example.com/ev#a"), "ev:a");
	assert.equal(s.shrink("http://b"), "http://b");
});

test("ab.Session tells why it ended, and stays so", () => {
	const cases = [
		[true, 1000, [0, "WS-1000: bye"]],
		[true, 3000, [0, "WS-3000: bye"]],
		[true, 1006, [1, "WS-1006: bye"]],
		[false, 1006, [3, "WS-1006: bye"]],
	];
	for (const [wasOpen, code, expected] of cases) {
		const { w, said, s } = session();
		if (wasOpen) w.last().open();
		w.last().end(code, "bye");
		assert.deepEqual(said, wasOpen ? ["open", expected] : [expected]);
		assert.deepEqual([w.sockets.length, w.due()], [1, []]);
		assert.throws(() => s.subscribe("a", () => {}), /not connected/);
	}
});

test("ab.Session publishes in vain, and calls are refused", async () => {
	const { w, s } = session();
	w.last().open();
	s.publish("a", { n: 1 }, true);
	assert.deepEqual(w.last().sent, ['[7,"a",{"n":1},true]']);
	await assert.rejects(s.call("http://x/rpc", 1), (error) => error.uri === "http://x/rpc");
	s.close();
	assert.ok(w.last().isClosed);
});

function hanging(options, answer) {
	const w = world();
	const said = [];
	w.ab.connect("ws://h/", (s) => said.push(s.sessionid()), (code, reason, retry) => {
		said.push([code, retry]);
		return answer;
	}, options);
	return { w, said };
}

test("ab.connect comes back every 5 s, ten times in a row", async () => {
	const { w, said } = hanging();
	w.last().open();
	for (let round = 0; round < 2; round += 1) {
		for (let retries = 1; retries <= 10; retries += 1) {
			w.last().end();
			assert.deepEqual(said.at(-1), [retries === 1 ? 6 : 5, { delay: 5000, retries, maxretries: 10 }]);
			assert.equal(w.timers.at(-1).delay, 5000);
			await w.pass();
		}
		if (round === 0) w.last().open();
	}
	assert.deepEqual(said.filter((what) => typeof what === "string"), ["id1", "id11"]);
	w.last().end();
	assert.deepEqual(said.at(-1), [2, undefined]);
	assert.equal(w.timers.filter((timer) => timer.delay === 5000).length, 20);
	assert.deepEqual(w.due(), []);
});

test("ab.connect has its options", async () => {
	const { w, said } = hanging({ maxRetries: 1, retryDelay: 7, skipSubprotocolCheck: true });
	w.last().open();
	w.last().end();
	assert.deepEqual(said.at(-1), [6, { delay: 7, retries: 1, maxretries: 1 }]);
	await w.pass();
	w.last().end();
	assert.deepEqual(said.at(-1), [2, undefined]);
});

test("ab.connect does not come back after a clean end, to a wrong address, or against the page's will", () => {
	const clean = hanging();
	clean.w.last().open();
	clean.w.last().end(1001);
	assert.deepEqual(clean.said, ["id1", [0, undefined]]);
	const wrong = hanging();
	wrong.w.last().end();
	assert.deepEqual(wrong.said, [[3, undefined]]);
	const unwanted = hanging({}, true);
	unwanted.w.last().open();
	unwanted.w.last().end();
	assert.deepEqual(unwanted.said, ["id1", [6, { delay: 5000, retries: 1, maxretries: 10 }], [2, undefined]]);
	for (const { w } of [clean, wrong, unwanted]) assert.deepEqual(w.due(), []);
	const silent = world();
	silent.ab.connect("ws://h/", () => {});
	silent.last().end();
});

test("a page's own ab stays", () => {
	const ab = { version: () => "another" };
	assert.equal(world({ ab }).ab, ab);
	const names = Object.keys(world().ab).filter((name) => name.startsWith("CONNECTION_"));
	assert.deepEqual(names.map((name) => world().ab[name]), [0, 1, 2, 3, 4, 5, 6]);
	world().ab.debug(true, true);
	assert.match(world().ab.version(), /^0\.8\./);
});

// A page whose second attempt has failed, and that asks for a stream.
async function suspect(options = {}, topics = ["a"]) {
	const w = world();
	const push = w.connect({ url: "ws://h/p", token: "t", ...options });
	const seen = states(push);
	for (const topic of topics) push.subscribe(topic, () => {});
	await rest();
	w.last().end();
	await w.pass();
	assert.deepEqual(w.streams, []);
	w.last().end();
	await rest();
	return { w, push, seen };
}

// A page behind a proxy that refuses WebSockets, which asks for the stream that it will listen to.
async function behind(...how) {
	const one = await suspect(...how);
	await flows(one.w);
	return one;
}

const RETRY = "retry: 3412\n\n";

// The stream would be open, and the WebSocket that has to fail before fails.
async function flows(w) {
	const [sockets, streams] = [w.sockets.length, w.streams.length];
	await w.stream().answer(200, RETRY);
	assert.ok(w.stream().signal.aborted);
	assert.deepEqual([w.sockets.length, w.streams.length], [sockets + 1, streams]);
	w.last().end();
	await rest();
	assert.equal(w.streams.length, streams + 1);
}

test("behind a proxy that refuses WebSockets it listens to a stream", async () => {
	const { w, push, seen } = await behind();
	assert.equal(w.streams.length, 2);
	assert.equal(w.stream().url, "http://h/p?topic=a&token=t");
	assert.deepEqual(w.stream().headers, { Accept: "text/event-stream" });
	const heard = [];
	const once = push.subscribe("a", (data, topic) => heard.push([topic, data]));
	await w.stream().answer(200, "retry: 34");
	assert.equal(push.state, "connecting");
	await w.stream().hear("12\n\n");
	assert.equal(push.state, "open");
	const end = await once;
	await push.ready;
	// Cut anywhere; a comment; a line separator of JavaScript, which is none of the stream's; what nobody wanted.
	const events = [["a", { text: "\u2028 data: é" }], ["a", 2], ["b", 3]];
	const text = events.map(([topic, data]) => `data: ${JSON.stringify({ topic, data })}\n\n:\n\n`).join("");
	for (const byte of text.split("")) await w.stream().hear(byte);
	assert.deepEqual(heard, events.slice(0, 2));
	end();
	await w.stream().event("a", 4);
	assert.equal(heard.length, 2);
	// The next attempt is a WebSocket again, and a stream at once when that fails.
	await w.stream().end();
	assert.deepEqual(seen.at(-1), { state: "waiting", code: 1006, reason: "the stream has ended", delay: 500 });
	await w.passes(500);
	assert.deepEqual([w.sockets.length, w.streams.length], [4, 2]);
	w.last().end();
	await rest();
	assert.equal(w.streams.length, 3);
	await w.stream().answer(200, RETRY);
	assert.deepEqual([push.state, w.sockets.length], ["open", 4], "it knows the proxy");
	push.close();
	assert.ok(w.stream().signal.aborted);
	await rest();
	assert.deepEqual([push.state, w.due()], ["closed", []]);
});

test("a server that comes back between the two gets a WebSocket", async () => {
	const { w, push, seen } = await suspect();
	await w.stream().answer(200, RETRY);
	assert.ok(w.stream().signal.aborted);
	w.last().open();
	assert.deepEqual([push.state, w.sockets.length, w.streams.length], ["open", 3, 1]);
	assert.deepEqual(seen.slice(-2), ["connecting", "open"]);
	// A network without the proxy, and later one with it.
	const other = await behind();
	await other.w.stream().answer(200, RETRY);
	await other.w.stream().end();
	await other.w.passes(500);
	other.w.last().open();
	for (let attempts = 0; attempts < 3; attempts += 1) {
		other.w.last().end();
		await rest();
		if (attempts < 2) await other.w.pass();
	}
	await flows(other.w);
	// A server that was down in the meantime is another beginning.
	other.w.stream().fail(new TypeError("fetch failed"));
	await rest();
	await other.w.pass();
	other.w.last().end();
	await rest();
	await flows(other.w);
	// A page that has closed stays so.
	const late = await suspect();
	late.push.close();
	await late.w.stream().answer(200, RETRY);
	assert.deepEqual([late.push.state, late.w.sockets.length, late.w.due()], ["closed", 2, []]);
});

test("a WebSocket that brings something is none that a proxy refuses", async () => {
	const { w, push } = await connected({ ticket: true });
	for (let attempts = 0; attempts < 4; attempts += 1) {
		w.last().end(1013, "auth_unavailable");
		await w.pass();
		w.last().onopen();
		w.last().hear(4, "ticket", {});
	}
	w.last().end();
	assert.deepEqual([push.state, w.streams], ["waiting", []]);
	// Two in a row.
	for (let attempts = 0; attempts < 2; attempts += 1) {
		assert.deepEqual(w.streams, []);
		await w.pass();
		w.last().end();
		await rest();
	}
	assert.equal(w.streams.length, 1);
});

test("other topics need another stream, and the page is told that there was a gap", async () => {
	const { w, push, seen } = await behind();
	await w.stream().answer(200, RETRY);
	const done = [];
	for (const topic of ["b", "a", "c d&"]) push.subscribe(topic, () => {}).then(() => done.push(topic));
	push.unsubscribe("none");
	await rest();
	assert.deepEqual([done, w.streams.length], [["a"], 2], "it has a");
	await w.passes(50);
	assert.deepEqual([w.streams.length, w.sockets.length], [3, 3]);
	assert.ok(w.streams[1].signal.aborted);
	assert.equal(w.stream().url, "http://h/p?topic=a&topic=b&topic=c%20d%26&token=t");
	await w.stream().answer(200, RETRY);
	assert.deepEqual(done, ["a", "b", "c d&"]);
	assert.deepEqual(seen.slice(-3), ["open", "connecting", "open"]);
	// One topic less needs none, and it is still there for who wants it again.
	push.unsubscribe("b");
	const heard = [];
	await w.stream().event("b", 1);
	await push.subscribe("b", (data) => heard.push(data));
	await w.stream().event("b", 2);
	assert.deepEqual([heard, w.due()], [[2], [150000]]);
});

test("a topic that comes while a stream is asked for makes no second link", async () => {
	// The WebSocket that follows has it.
	const { w, push } = await suspect();
	push.subscribe("b", () => {});
	assert.ok(w.due().includes(50));
	await w.stream().answer(200, RETRY);
	w.last().open();
	assert.deepEqual([push.state, said(w.last()).map(([, , topic]) => topic)], ["open", ["a", "b"]]);
	assert.deepEqual(w.due(), [25000]);
	// The stream that follows a denial has it.
	const other = await behind({}, ["a", "x"]);
	other.push.subscribe("b", () => {});
	await other.w.stream().answer(403);
	await other.w.stream().answer(200);
	await other.w.stream().answer(403);
	assert.equal(other.w.stream().url, "http://h/p?topic=a&topic=b&token=t");
	assert.deepEqual(other.w.due(), [150000]);
});

test("a page that closes when it is open hears no more of the same read", async () => {
	const { w, push } = await behind();
	const heard = [];
	push.subscribe("a", (data) => heard.push(data));
	push.addEventListener("open", () => push.close());
	await w.stream().answer(200, `${RETRY}data: {"topic":"a","data":1}\n\n`);
	assert.deepEqual([push.state, heard, w.due()], ["closed", [], []]);
});

test("a stream without a topic is open, too", async () => {
	for (const status of [200, 403]) {
		const { w, push } = await behind({}, []);
		assert.equal(w.stream().url, "http://h/p?topic=newswire%3Aalive&token=t");
		await w.stream().answer(status, status === 200 ? RETRY : DENIED);
		assert.deepEqual([push.state, w.streams.length], ["open", 2]);
		const one = push.subscribe("a", () => {});
		await w.passes(50);
		assert.equal(w.stream().url, "http://h/p?topic=a&token=t");
		await w.stream().answer(200, RETRY);
		await one;
	}
});

test("a stream that is refused for a topic tells which", async () => {
	const { w, push } = await behind({}, ["a", "b", "c"]);
	const denied = [];
	push.addEventListener("denied", ({ detail }) => denied.push(detail.topic));
	const [a, b] = ["a", "b"].map((topic) => push.subscribe(topic, () => {}));
	await w.stream().answer(403);
	for (const [topic, status] of [["a", 200], ["b", 403], ["c", 200]]) {
		assert.equal(w.stream().url, `http://h/p?topic=${topic}&token=t`);
		await w.stream().answer(status);
	}
	await assert.rejects(b, { topic: "b", reason: "wamp.error.not_authorized" });
	assert.equal(w.streams.filter((stream) => stream.isCancelled).length, 2, "what is granted");
	assert.equal(w.stream().url, "http://h/p?topic=a&topic=c&token=t");
	await w.stream().answer(200, RETRY);
	await a;
	assert.deepEqual([denied, push.state], [["b"], "open"]);
	// A page that closes then stays closed.
	const closing = await behind({}, ["a"]);
	closing.push.addEventListener("denied", () => closing.push.close());
	await closing.w.stream().answer(403);
	await closing.w.stream().answer(403);
	assert.deepEqual([closing.push.state, closing.w.due()], ["closed", []]);
	// What refuses them all together, and none alone, is not asked in a circle.
	const other = await behind({}, ["a"]);
	await other.w.stream().answer(403);
	await other.w.stream().answer(200);
	assert.deepEqual([other.push.state, other.seen.at(-1).reason], ["waiting", "HTTP 403"]);
});

test("a stream says when the token is not valid, or there is no place", async () => {
	let { push, w, seen } = await behind();
	await w.stream().answer(401);
	assert.deepEqual(seen.at(-1), { state: "closed", code: 3000, reason: "HTTP 401" });
	assert.deepEqual(w.due(), []);
	({ push, w, seen } = await behind({ token: async () => "t" }));
	await w.stream().answer(401);
	assert.equal(push.state, "waiting");
	assert.equal(seen.at(-1).code, 3000);
	({ push, w, seen } = await behind());
	await w.stream().answer(503);
	assert.deepEqual([seen.at(-1).reason, seen.at(-1).delay], ["HTTP 503", 1000]);
	({ push, w, seen } = await behind());
	const one = push.subscribe("b", () => {});
	await w.stream().answer(200, "retry: 5000\n\n");
	assert.deepEqual([seen.at(-1).reason, seen.at(-1).delay], ["try again later", 1000]);
	assert.ok(!seen.includes("open"));
	push.close();
	await assert.rejects(one, { reason: "closed" });
});

test("only newswire denies a topic", async () => {
	const texts = ["<h1>403 Forbidden</h1>", JSON.stringify({ error: "pages of this origin may not connect" })];
	for (const text of texts) {
		// Something in front of it refuses all topics, one of them, or a page without topics.
		let { w, push, seen } = await behind({}, ["a", "b"]);
		const failure = { state: "waiting", code: 1006, reason: "HTTP 403", delay: 1000 };
		push.addEventListener("denied", ({ detail }) => assert.fail(detail.topic));
		await w.stream().answer(403, text);
		assert.deepEqual(seen.at(-1), failure);
		assert.ok(w.stream().signal.aborted);
		await w.passes(1000);
		w.last().open();
		assert.deepEqual([push.state, said(w.last()).map(([, , topic]) => topic)], ["open", ["a", "b"]]);

		({ w, push, seen } = await behind({}, ["a", "b"]));
		push.addEventListener("denied", ({ detail }) => assert.fail(detail.topic));
		await w.stream().answer(403);
		await w.stream().answer(403, text);
		await w.stream().answer(200);
		assert.deepEqual(seen.at(-1), failure);

		({ w, push, seen } = await behind({}, []));
		await w.stream().answer(403, text);
		assert.deepEqual(seen.at(-1), failure);
	}
});

test("a page without topics asks again whether the server is there", async () => {
	for (const [status, token, state] of [[502, "t", "waiting"], [401, "t", "closed"], [401, () => "t", "waiting"]]) {
		const { w, push, seen } = await behind({ token }, []);
		await w.stream().answer(403);
		const before = seen.length;
		for (let streams = 3; streams < 6; streams += 1) {
			assert.deepEqual([push.state, w.due()], ["open", [25000]]);
			await w.passes(25000);
			assert.deepEqual([w.streams.length, w.stream().url], [streams, "http://h/p?topic=newswire%3Aalive&token=t"]);
			await w.stream().answer(403);
		}
		assert.equal(seen.length, before, "nothing has changed");
		await w.passes(25000);
		await w.stream().answer(status);
		assert.deepEqual([push.state, seen.at(-1).reason], [state, `HTTP ${status}`]);
	}
	// A token that allows it now; a path that is dead; a topic; the end.
	let { w, push, seen } = await behind({}, []);
	await w.stream().answer(403);
	await w.passes(25000);
	await w.stream().answer(200, RETRY);
	assert.deepEqual([push.state, seen.filter((state) => state === "open").length, w.due()], ["open", 1, [150000]]);
	({ w, push, seen } = await behind({}, []));
	await w.stream().answer(403);
	await w.passes(25000);
	await w.passes(150000);
	assert.deepEqual(seen.at(-1), { state: "waiting", code: 1006, reason: "no answer", delay: 500 });
	({ w, push, seen } = await behind({}, []));
	push.addEventListener("open", () => push.subscribe("a", () => {}), { once: true });
	await w.stream().answer(403);
	assert.deepEqual(w.due(), [50]);
	await w.passes(50);
	assert.equal(w.stream().url, "http://h/p?topic=a&token=t");
	({ w, push, seen } = await behind({}, []));
	push.subscribe("a", () => {});
	await w.stream().answer(403);
	assert.deepEqual(w.due(), [50]);
	({ w, push, seen } = await behind({}, []));
	await w.stream().answer(403);
	push.close();
	assert.deepEqual([push.state, w.due()], ["closed", []]);
});

test("a stream that is given up holds no connection", async () => {
	for (const [status, text] of [[400, "{}"], [503, "{}"], [200, "retry: 5000\n\n"], [200, "data: no JSON\n\n"]]) {
		const { w, push } = await behind();
		await w.stream().answer(status, text);
		assert.deepEqual([push.state, w.stream().signal.aborted], ["waiting", true], text);
	}
});

test("a ticket is in no address of a stream, either", async () => {
	const { w } = await behind({ ticket: true });
	assert.equal(w.stream().url, "http://h/p?topic=a");
	assert.deepEqual(w.stream().headers, { Accept: "text/event-stream", Authorization: "Bearer t" });
});

test("a stream that falls silent ends", async () => {
	const { w, seen } = await behind();
	await w.stream().answer(200, RETRY);
	const timers = w.timers.length;
	await w.stream().hear(":\n\n");
	assert.deepEqual([w.due(), w.timers.length], [[150000], timers + 1], "a comment buys time");
	await w.passes(150000);
	assert.deepEqual(seen.at(-1), { state: "waiting", code: 1006, reason: "no answer", delay: 500 });
	assert.deepEqual(w.due(), [500]);
});

test("a page that is seen again, or has its network back, leaves a stream that brings nothing", async () => {
	for (const type of ["visibilitychange", "pageshow", "online"]) {
		const { w, push, seen } = await behind();
		await w.stream().answer(200, RETRY);
		w.clock.now += 30000;
		w.happen(type);
		await w.stream().hear(":\n\n");
		w.clock.now += 30000;
		w.happen(type);
		await rest();
		assert.deepEqual([push.state, w.due()], ["open", [150000]], "a comment buys time");
		w.clock.now += 1;
		w.happen("visibilitychange", true);
		assert.ok(!w.stream().signal.aborted);
		w.happen(type);
		await rest();
		assert.deepEqual(seen.at(-1), { state: "waiting", code: 1006, reason: "no answer", delay: 500 });
		assert.deepEqual([w.stream().signal.aborted, w.due()], [true, [500]]);
	}
	// One that has ended is asked no more.
	const { w, push, seen } = await behind();
	await w.stream().answer(200, RETRY);
	await w.stream().end();
	await w.pass();
	w.last().open();
	w.clock.now += 40000;
	w.happen("online");
	await rest();
	assert.deepEqual([push.state, seen.at(-1)], ["open", "open"]);
});

// A page that listens to a stream of a server that keeps events.
async function streaming(...topics) {
	const { w, push } = await behind({}, topics);
	const told = follow(push, ...topics);
	await w.stream().answer(200, RETRY);
	await w.stream().notice({ recovered: false, id: "abcdefgh-10", reason: "none" });
	assert.deepEqual(told.splice(0), ["open"]);
	return { w, push, told };
}

// The stream ends, and the next one is asked for.
async function nextStream(w) {
	await w.stream().end();
	await w.pass();
	w.last().end();
	await rest();
	return new URL(w.stream().url).searchParams.get("last_event_id");
}

test("a stream goes on where the one before has ended", async () => {
	const { w, push, told } = await streaming("a", "b");
	assert.equal(await nextStream(w), "abcdefgh-10");
	assert.equal(w.stream().url, "http://h/p?topic=a&topic=b&last_event_id=abcdefgh-10&token=t");
	await w.stream().answer(200, RETRY);
	assert.equal(push.state, "connecting");
	await w.stream().notice({ recovered: true, id: "abcdefgh-10" });
	await w.stream().event("b", 1, "abcdefgh-11");
	await w.stream().event("a", 2, "abcdefgh-12");
	assert.deepEqual(told.splice(0), ["waiting", "open", ["b", 1], ["a", 2]]);
	assert.equal(await nextStream(w), "abcdefgh-12");
	// Ended before the notice; and between an id and its event.
	await w.stream().answer(200, RETRY);
	assert.equal(await nextStream(w), "abcdefgh-12");
	await flows(w); // it never was open
	await w.stream().answer(200, RETRY);
	await w.stream().notice({ recovered: true, id: "abcdefgh-12" });
	await w.stream().hear("id: abcdefgh-13\n");
	assert.equal(await nextStream(w), "abcdefgh-12");
	assert.deepEqual(told, ["waiting", "waiting", "open", "waiting"]);
});

test("a stream that only tells whether the server is there is not listened to", async () => {
	const { w, push } = await suspect();
	const told = follow(push);
	let isThere = false;
	push.subscribe("a", (data) => told.push(data)).then(() => { isThere = true; });
	const notice = { recovered: false, id: "abcdefgh-1", reason: "none" };
	const text = `event: newswire\nid: ${notice.id}\ndata: ${JSON.stringify(notice)}\n\n`;
	await w.stream().answer(200, `${RETRY}${text}id: abcdefgh-2\ndata: {"topic":"a","data":1}\n\n`);
	assert.deepEqual([told, isThere, push.state], [[], false, "connecting"]);
	w.last().onopen();
	w.last().greet();
	assert.deepEqual(said(w.last()), [[32, NEW, "a"]]);
});

test("what a stream says besides its events reaches no handler", async () => {
	const { w, told } = await streaming("a");
	await w.stream().hear('event: newswire\ndata: {"topic":"a","data":1}\n\n');
	await w.stream().notice({ recovered: true, id: "abcdefgh-10", topic: "a" });
	assert.deepEqual(told, []);
	// Events of the server's own topics have no id.
	await w.stream().event("a", 2);
	assert.deepEqual(told, [["a", 2]]);
	assert.equal(await nextStream(w), "abcdefgh-10");
});

test("a stream that is not recovered is a gap of each of its topics", async () => {
	for (const reason of ["epoch", "floor", "unknown", "none"]) {
		const { w, told } = await streaming("a", "b");
		await nextStream(w);
		await w.stream().answer(200, RETRY);
		await w.stream().notice({ recovered: false, id: "zzzzzzzz-2", reason });
		await w.stream().event("a", 1, "zzzzzzzz-3");
		const gaps = [["gap", "a", reason], ["gap", "b", reason]];
		assert.deepEqual(told.splice(0), ["waiting", ...gaps, "open", ["a", 1]]);
		assert.equal(await nextStream(w), "zzzzzzzz-3");
		// One that knows no position yet.
		await w.stream().answer(200, RETRY);
		await w.stream().notice({ recovered: false, reason });
		assert.deepEqual(told.splice(0), ["waiting", ...gaps, "open"]);
		assert.equal(await nextStream(w), null);
		await w.stream().answer(200, RETRY);
		await w.stream().notice({ recovered: false, id: "zzzzzzzz-9", reason: "none" });
		assert.deepEqual(told, ["waiting", ["gap", "a", "none"], ["gap", "b", "none"], "open"]);
		assert.equal(await nextStream(w), "zzzzzzzz-9");
	}
});

test("a new topic needs another stream, and no topic loses anything", async () => {
	for (const isRecovered of [true, false]) {
		const { w, push, told } = await streaming("a", "b");
		await w.stream().event("a", 1, "abcdefgh-20");
		const c = push.subscribe("c", (data) => told.push(["c", data]));
		await w.passes(50);
		assert.equal(w.stream().url, "http://h/p?topic=a&topic=b&topic=c&last_event_id=abcdefgh-20&token=t");
		await w.stream().answer(200, RETRY);
		const notice = { recovered: isRecovered, id: isRecovered ? "abcdefgh-20" : "abcdefgh-30", reason: "floor" };
		await w.stream().notice(notice);
		await c;
		const gaps = isRecovered ? [] : [["gap", "a", "floor"], ["gap", "b", "floor"]];
		assert.deepEqual(told, [["a", 1], ...gaps, "open"]);
		// From now on it comes back like the others.
		await nextStream(w);
		await w.stream().answer(200, RETRY);
		await w.stream().notice({ recovered: false, id: "zzzzzzzz-1", reason: "epoch" });
		assert.deepEqual(told.slice(-4), [..."abc"].map((topic) => ["gap", topic, "epoch"]).concat("open"));
	}
});

test("a topic that a stream has already is where the stream is", async () => {
	const { w, push, told } = await streaming("a", "b");
	push.unsubscribe("a");
	await push.subscribe("a", (data) => told.push(["a", data]));
	assert.equal(await nextStream(w), "abcdefgh-10");
	// While the stream is asked for, too.
	push.unsubscribe("b");
	const b = push.subscribe("b", () => {});
	await w.stream().answer(200, RETRY);
	await w.stream().notice({ recovered: false, id: "abcdefgh-90", reason: "floor" });
	await b;
	assert.deepEqual(told, ["waiting", ["gap", "a", "floor"], "open"]);
	assert.equal(await nextStream(w), "abcdefgh-90");
});

test("what a stream loses is a gap of the topic", async () => {
	const { w, told } = await streaming("a", "b");
	for (const [gap, topic] of [["slow", "b"], ["upstream", "a"], ["history", "x"]]) await w.stream().notice({ gap, topic });
	assert.deepEqual(told, [["gap", "b", "slow"], ["gap", "a", "upstream"]]);
	assert.equal(await nextStream(w), "abcdefgh-10", "it has no id");
});

test("a stream of a server that knows no ids has a gap after each end", async () => {
	const { w, push } = await behind();
	const told = follow(push, "a");
	await w.stream().answer(200, RETRY);
	await w.stream().event("a", 1);
	assert.deepEqual(told.splice(0), ["open", ["a", 1]]);
	assert.equal(await nextStream(w), null);
	await w.stream().answer(200, RETRY);
	assert.deepEqual(told, ["waiting", ["gap", "a", "none"], "open"]);
	// Where the one before had them, the next message tells.
	for (const [next, heard] of [[":\n\n", []], ['data: {"topic":"a","data":2}\n\n', [["a", 2]]]]) {
		const { w, push, told } = await streaming("a");
		await nextStream(w);
		await w.stream().answer(200, RETRY);
		assert.equal(push.state, "connecting");
		await w.stream().hear(next);
		assert.deepEqual(told, ["waiting", ["gap", "a", "none"], "open", ...heard]);
		assert.equal(await nextStream(w), null);
	}
});

test("a WebSocket goes on where a stream has ended, and the other way round", async () => {
	const { w, push, told } = await streaming("a", "b");
	await w.stream().event("a", 1, "abcdefgh-12");
	await w.stream().end();
	await w.passes(500);
	w.last().onopen();
	w.last().greet();
	const options = () => said(w.last()).map(([, options]) => options);
	assert.deepEqual(options(), Array(2).fill({ x_since: "abcdefgh-12", x_last: 0 }));
	for (const [n, topic] of [[1, "a"], [2, "b"]]) {
		granted(w, n, topic);
		w.last().notice(topic, { x_recovered: true, x_id: "abcdefgh-12" });
	}
	assert.deepEqual(told, [["a", 1], "waiting", "open"]);

	// Two WebSockets that bring nothing, a stream that would be there, one more.
	async function toStream() {
		w.last().end();
		for (let attempts = 0; attempts < 2; attempts += 1) {
			await w.pass();
			w.last().end();
			await rest();
		}
		await flows(w);
	}
	await toStream();
	assert.equal(new URL(w.stream().url).searchParams.get("last_event_id"), "abcdefgh-12");
	await w.stream().answer(200, RETRY);
	await w.stream().notice({ recovered: true, id: "abcdefgh-12" });
	assert.deepEqual(told.slice(-1), ["open"]);

	// A topic that the server has not had yet is in no other's way.
	await w.stream().end();
	for (const topic of ["b", "a"]) push.unsubscribe(topic);
	follow(push, "c", "a", "b");
	await w.passes(500);
	w.last().onopen();
	w.last().greet();
	for (const [n, topic] of [[2, "a"], [3, "b"]]) {
		granted(w, n, topic);
		w.last().notice(topic, firstNotice("abcdefgh-12"));
	}
	await toStream();
	assert.equal(new URL(w.stream().url).searchParams.get("last_event_id"), "abcdefgh-12");
	await w.stream().answer(200, RETRY);
	await w.stream().notice({ recovered: true, id: "abcdefgh-12" });
	push.unsubscribe("c");

	// A stream has one position: where two topics have two, it has none.
	await w.stream().end();
	await w.passes(500);
	w.last().open({ x_recovered: true, x_id: "abcdefgh-12" });
	w.last().event("a", 2, "abcdefgh-13");
	await rest();
	told.splice(0);
	await toStream();
	assert.equal(new URL(w.stream().url).searchParams.get("last_event_id"), null);
	await w.stream().answer(200, RETRY);
	await w.stream().notice({ recovered: false, id: "abcdefgh-14", reason: "none" });
	assert.deepEqual(told.slice(-3), [["gap", "a", "none"], ["gap", "b", "none"], "open"]);
	assert.equal(await nextStream(w), "abcdefgh-14");
});

test("the newest events come over a stream, and to no topic that has not asked for them", async () => {
	const { w, push } = await suspect({}, []);
	const told = follow(push, "b");
	push.subscribe("a", (data) => told.push(["a", data]), { last: 2 });
	push.subscribe("c", (data) => told.push(["c", data]), { last: 1 });
	await w.passes(50);
	assert.equal(w.stream().url, "http://h/p?topic=b&topic=a&topic=c&last=2&token=t");
	await flows(w);
	await w.stream().answer(200, RETRY);
	const notice = { recovered: false, id: "abcdefgh-10", reason: "none" };
	await w.stream().notice(notice);
	for (const topic of ["a", "b", "c"]) await w.stream().event(topic, 1);
	await w.stream().event("b", 2, "abcdefgh-11");
	assert.deepEqual(told.splice(0), ["open", ["a", 1], ["c", 1], ["b", 2]]);
	// Another stream asks again, for what is not recovered.
	assert.equal(await nextStream(w), "abcdefgh-11");
	assert.ok(w.stream().url.endsWith("&last_event_id=abcdefgh-11&last=2&token=t"));
	await w.stream().answer(200, RETRY);
	await w.stream().notice({ recovered: true, id: "abcdefgh-11" });
	assert.deepEqual(told.splice(0), ["waiting", "open"]);
	// A new topic that asks for its newest: then nothing is recovered, and the page is told.
	for (const topic of ["d", "a"]) {
		if (topic === "a") push.unsubscribe("a");
		push.subscribe(topic, (data) => told.push([topic, data]), { last: 3 });
		await w.passes(50);
		assert.ok(w.stream().url.endsWith("&last=3&token=t"));
		assert.ok(!w.stream().url.includes("last_event_id"));
		await w.stream().answer(200, RETRY);
		await w.stream().notice(notice);
		await w.stream().event(topic, 5);
		const others = topic === "a" ? ["b", "c", "d"] : ["b", "a", "c"];
		assert.deepEqual(told.splice(0), [...others.map((other) => ["gap", other, "none"]), "open", [topic, 5]]);
	}
	// A server without ids has no newest events, and all of its events have none.
	const other = await behind({}, []);
	const heard = follow(other.push, "b");
	other.push.subscribe("a", () => {}, { last: 2 });
	await other.w.passes(50);
	await other.w.stream().answer(200, RETRY);
	await other.w.stream().event("b", 1);
	assert.deepEqual(heard, ["open", ["b", 1]]);
});

test("a page that closes when a stream has a gap stays closed", async () => {
	const { w, push, told } = await streaming("a", "b");
	push.addEventListener("gap", () => push.close());
	await nextStream(w);
	await w.stream().answer(200, RETRY);
	const notice = { recovered: false, id: "zzzzzzzz-2", reason: "epoch" };
	await w.stream().hear(`event: newswire\ndata: ${JSON.stringify(notice)}\n\ndata: {"topic":"a","data":1}\n\n`);
	assert.deepEqual([told, push.state, w.due()], [["waiting", ["gap", "a", "epoch"]], "closed", []]);
});

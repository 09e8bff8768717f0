// What newswire.js does, seen from a page: with sockets, timers and dice of the test's own, so that
// nothing is waited for and every pause is known. Run by tests/tools/client.rs.

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

const text = readFileSync("src/web/newswire.js", "utf8");

// The client in a world of its own; `random` is what every throw of the dice gives.
function world({ random = 0.5, ab, server = "newswire/0.1.0" } = {}) {
	const sockets = [], timers = [], errors = [], listeners = [];
	const listens = { addEventListener: (type, listener) => listeners.push({ type, listener }) };
	const page = { ...listens, document: { ...listens, hidden: false } };
	class WebSocket {
		sent = [];
		isClosed = false;
		constructor(url, protocols) {
			Object.assign(this, { url: String(url), protocols });
			sockets.push(this);
		}
		send(message) { this.sent.push(message); }
		close() { this.isClosed = true; }
		hear(...message) { this.onmessage({ data: JSON.stringify(message) }); }
		open() {
			this.onopen();
			this.hear(0, `id${sockets.length}`, 1, server);
		}
		end(code = 1006, reason = "") { this.onclose({ code, reason, wasClean: code !== 1006 }); }
	}
	const scope = {
		WebSocket,
		setTimeout: (run, delay) => timers.push({ run, delay, isDue: true }),
		clearTimeout: (number) => { if (number) timers[number - 1].isDue = false; },
		queueMicrotask: (run) => Promise.resolve().then(run).catch((error) => errors.push(error)),
		Math: Object.create(Math, { random: { value: () => random } }),
		globalThis: page,
		ab,
	};
	const make = new Function(...Object.keys(scope), `${text}; return { ab, connect: newswire.connect };`);
	return {
		...make(...Object.values(scope)),
		sockets, timers, errors,
		last: () => sockets.at(-1),
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
	};
}

// Everything that was promised has happened.
const rest = () => new Promise((resolve) => setImmediate(resolve));

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

test("pauses double up to a bound, and begin anew after a connection", async () => {
	const { w, push } = await connected();
	const pauses = [];
	for (let i = 0; i < 8; i += 1) {
		w.last().end();
		assert.equal(push.state, "waiting");
		pauses.push(w.timers.at(-1).delay);
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
			w.last().end();
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

test("each connection is subscribed to what is wanted then", async () => {
	const w = world();
	const push = w.connect({ url: "ws://h/" });
	const heard = [];
	push.subscribe("a", (data, topic) => heard.push(["first", topic, data]));
	push.subscribe("a", (data) => heard.push(["second", data]));
	const end = push.subscribe("b", () => {});
	await rest();
	assert.deepEqual(w.last().sent, []);
	w.last().open();
	assert.deepEqual(w.last().sent, ['[5,"a"]', '[5,"b"]']);
	push.subscribe("c", () => {});
	end();
	end();
	assert.deepEqual(w.last().sent.slice(2), ['[5,"c"]', '[6,"b"]']);

	w.last().end();
	push.subscribe("d", () => {});
	const never = push.subscribe("e", () => {});
	never();
	await w.pass();
	w.last().open();
	assert.deepEqual(w.last().sent, ['[5,"a"]', '[5,"c"]', '[5,"d"]']);
	w.last().hear(8, "a", { n: 1 });
	w.last().hear(8, "unknown", 1);
	await rest();
	assert.deepEqual(heard, [["first", "a", { n: 1 }], ["second", { n: 1 }]]);
});

test("the same handler may be given twice, and ends once each", async () => {
	const { w, push } = await connected();
	let heard = 0;
	const count = () => { heard += 1; };
	const [one, two] = [push.subscribe("a", count), push.subscribe("a", count)];
	w.last().hear(8, "a", 1);
	await rest();
	assert.equal(heard, 2);
	one();
	assert.deepEqual(w.last().sent, ['[5,"a"]']);
	two();
	assert.deepEqual(w.last().sent, ['[5,"a"]', '[6,"a"]']);
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
		assert.deepEqual(w.last().protocols, ["wamp"]);
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
	w.last().hear(0, "id", 1, "newswire");
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
	const end = push.subscribe("a", () => {});
	push.close();
	assert.ok(w.last().isClosed);
	assert.deepEqual(w.due(), []);
	w.last().end(1000);
	end();
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
	w.last().hear(8, "a", 1);
	w.last().hear(8, "a", 2);
	await rest();
	assert.deepEqual(heard, [1, 2]);
	assert.deepEqual(w.errors.map((error) => error.message), ["mine", "mine"]);
});

const asked = (socket) => socket.sent.filter((text) => text.startsWith("[2,")).map((text) => JSON.parse(text)[1]);

test("after silence it asks, and ends a path that does not answer", async () => {
	const { w, push } = await connected();
	const seen = states(push), first = w.last();
	const end = push.subscribe("a", () => {});
	// The first tick after the greeting is not silence yet.
	for (const delay of [25000, 25000, 25000]) {
		assert.deepEqual([asked(first), w.due()], [[], [delay]]);
		w.last().hear(8, "a", 1);
		await w.pass();
	}
	assert.deepEqual(w.due(), [25000]);
	await w.pass();
	assert.deepEqual(first.sent.at(-1), '[2,"alive-1","newswire:alive"]');
	// An answer, and as much silence again.
	first.hear(3, "alive-1", null);
	assert.deepEqual(w.due(), [10000]);
	await w.pass();
	assert.deepEqual([asked(first), w.due()], [["alive-1"], [25000]]);
	await w.pass();
	assert.deepEqual(asked(first), ["alive-1", "alive-2"]);
	// None.
	assert.deepEqual(w.due(), [10000]);
	await w.pass();
	assert.deepEqual([push.state, w.due()], ["open", [10000]]);
	await w.pass();
	assert.deepEqual(seen, [{ state: "waiting", code: 1006, reason: "no answer", delay: 500 }]);
	assert.ok(first.isClosed);
	assert.deepEqual(w.due(), [500]);
	await w.pass();
	w.last().open();
	assert.deepEqual([push.state, w.last().sent], ["open", ['[5,"a"]']]);
	end();
});

test("a question is open until its own answer comes, and whatever comes buys time", async () => {
	const { w, push } = await connected();
	w.happen("online");
	const socket = w.last();
	// What a frozen page is handed first: messages that came before the path died.
	for (const old of [[8, "a", 1], [3, "alive-0", null], [4, "alive-0", "newswire:alive", "no"], [8, "a", 2]]) {
		await w.pass();
		socket.hear(...old);
		assert.deepEqual([push.state, w.due()], ["open", [2500]]);
	}
	await w.pass();
	await w.pass();
	assert.equal(push.state, "waiting");
	// A refusal is an answer: from a server of before.
	const before = await connected();
	before.w.happen("online");
	before.w.last().hear(4, "alive-1", "newswire:alive", "You are not allowed to make calls");
	await before.w.pass();
	assert.deepEqual([before.push.state, before.w.due()], ["open", [25000]]);
});

test("a page that is seen again, or has its network back, asks at once", async () => {
	const { w, push } = await connected();
	const socket = w.last();
	w.happen("visibilitychange", true);
	w.happen("pageshow", true);
	assert.deepEqual(asked(socket), []);
	// The network is back for a page in the background, too.
	w.happen("online", true);
	assert.deepEqual([asked(socket), w.due()], [["alive-1"], [2500]]);
	socket.hear(3, "alive-1", null);
	w.happen("visibilitychange");
	w.happen("pageshow");
	assert.deepEqual([asked(socket), w.due()], [["alive-1", "alive-2", "alive-3"], [2500]]);
	// Only the last one's answer counts.
	socket.hear(3, "alive-2", null);
	await w.pass();
	await w.pass();
	assert.equal(push.state, "waiting");
	assert.ok(socket.isClosed);
});

test("a page that waits comes back sooner when the network does", async () => {
	const { w, push } = await connected();
	for (let i = 0; i < 5; i += 1) {
		w.last().end();
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
		assert.deepEqual([push.state, w.last().isClosed, w.last().sent], ["waiting", true, []]);
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
		assert.deepEqual([push.state, w.last().sent, w.due()], ["open", [], []]);
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

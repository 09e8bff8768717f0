// Receives events from newswire. MIT OR Apache-2.0. Its parts: newswire.d.ts
//
// newswire serves newswire.min.js, which src/web/pack makes of this file.

var newswire = (() => {
	const CLOSED = 0, LOST = 1, UNREACHABLE = 3;
	// In milliseconds: a session's shortest tick; and half of the time for an answer, which may come behind
	// a large event on a slow line; the same when the page was woken.
	const TICK = 20000, PATIENCE = 10000, WOKEN = 2500;
	// In milliseconds: a stream that is alive brings something more often (--ping-interval is two minutes at most).
	// A page that is woken knows sooner: most servers send a comment every 25 seconds.
	const SILENCE = 150000, QUIET = 30000;
	// In milliseconds: other topics need another stream, so those of a moment are gathered.
	const GATHER = 50;
	// What a newswire server answers, whatever the token allows; a stream without a topic listens to it.
	const ALIVE = "newswire:alive";
	// What is wrong, in newswire's words. Another 403 is of something in front of it, and says nothing of a topic.
	const DENIED = "the token does not allow one of the topics";

	// Called when the page is shown again, and when the network is back.
	const wakers = new Set();
	function wake({ type }) {
		const { document } = globalThis;
		if (type === "online" || !document?.hidden) for (const waker of [...wakers]) waker();
	}
	for (const type of ["online", "pageshow"]) globalThis.addEventListener?.(type, wake);
	globalThis.document?.addEventListener("visibilitychange", wake);

	// Each on its own: an exception of one handler reaches the page, and the others run.
	function tell(handlers, ...what) {
		handlers?.forEach((handler) => queueMicrotask(() => handler(...what)));
	}

	// One WebSocket, until its end. `question` makes a call with a number. `hear` has a function for each type of
	// message, and `after` is called behind each.
	function Socket(url, protocol, { question, hear, onopen, onend }) {
		let isOpen = false, isWelcome = false, isHeard = false;

		// A connection can die unnoticed, and a page sees no pings. So a session that receives nothing for
		// two ticks asks something, and ends after two more. One tick is not enough: in a page that was
		// frozen, an overdue timer runs before the messages that have come. Each tick has a random length,
		// so that many pages do not ask at once.
		let timer, patience, asked = null, questions = 0, silent = 1;
		function arm() {
			timer = setTimeout(tick, asked ? patience : TICK * (1 + Math.random() / 2));
		}
		function tick() {
			silent += 1;
			if (silent < 2) return arm();
			if (!asked) return ask(PATIENCE);
			end(LOST, { code: 1006, reason: "no answer" });
			socket.close();
		}
		function ask(time) {
			clearTimeout(timer);
			const message = question(questions += 1);
			[patience, silent, asked] = [time, 0, message[1]];
			if (isWelcome) send(...message);
			arm();
		}
		const asks = () => ask(WOKEN);

		const socket = new WebSocket(url, [protocol]);
		socket.onopen = () => {
			isOpen = true;
			onopen?.();
		};
		socket.onclose = (event) => end(event.wasClean ? CLOSED : LOST, event);
		socket.onmessage = ({ data }) => {
			const [type, ...rest] = JSON.parse(data);
			[silent, isHeard] = [0, true];
			if (type === 0 || type === 2) { // WELCOME of WAMP v1, and of v2
				[isWelcome, asked] = [true, null];
				// Other servers end a session that makes a call.
				if (/^newswire\b/.test(rest[2] ?? rest[1].agent)) wakers.add(asks);
				else clearTimeout(timer);
			} else if (rest[0] === asked) { // its answer
				asked = null;
			}
			hear[type]?.(...rest);
			hear.after?.();
		};
		arm();

		function rest() {
			clearTimeout(timer);
			wakers.delete(asks);
		}
		function end(how, event) {
			const code = isOpen ? how : UNREACHABLE;
			isOpen = false;
			socket.onopen = socket.onclose = socket.onmessage = null;
			rest();
			onend(code, event, isHeard);
		}
		function send(...message) {
			if (!isOpen) throw new Error("not connected");
			socket.send(JSON.stringify(message));
		}
		return {
			send,
			close() {
				rest();
				socket.close();
			},
		};
	}

	// A session of WAMP v1.
	function Session(url, onopen, onclose) {
		const prefixes = new Map(), topics = new Map();
		let id = null;
		const { send, close } = Socket(url, "wamp", {
			question: (number) => [2, `alive-${number}`, ALIVE],
			hear: {
				0(session) { // WELCOME
					id = session;
					onopen?.();
				},
				8(topic, event) { // EVENT
					tell(topics.get(topic), topic, event);
				},
			},
			onend: (how, event) => onclose?.(how, `WS-${event.code}: ${event.reason}`),
		});

		function resolve(curie) {
			const [, prefix, rest] = /^([^:]*):(.*)$/s.exec(curie) ?? [];
			return prefixes.has(prefix) ? prefixes.get(prefix) + rest : curie;
		}

		return {
			resolve,
			close,
			shrink(uri) {
				const fit = [...prefixes].find(([, start]) => uri.startsWith(start));
				return fit ? `${fit[0]}:${uri.slice(fit[1].length)}` : uri;
			},
			prefix(prefix, uri) {
				send(1, prefix, uri);
				prefixes.set(prefix, uri);
			},
			subscribe(topic, handler) {
				const uri = resolve(topic), handlers = topics.get(uri) ?? new Set();
				if (handlers.has(handler)) throw new Error(`already subscribed to ${uri}`);
				if (!handlers.size) send(5, topic);
				topics.set(uri, handlers.add(handler));
			},
			unsubscribe(topic, handler) {
				const uri = resolve(topic), handlers = topics.get(uri);
				const isKnown = handler ? handlers?.delete(handler) : handlers;
				if (!isKnown) throw new Error(`not subscribed to ${uri}`);
				if (handler && handlers.size) return;
				topics.delete(uri);
				send(6, topic);
			},
			publish: (...message) => send(7, ...message),
			// The answer that newswire would give.
			call: (uri) => Promise.reject({ uri, desc: "You are not allowed to make calls" }),
			sessionid: () => id,
			log: console.log,
		};
	}

	// What autobahn.js 0.8 calls `ab`.
	const ab = {
		CONNECTION_CLOSED: CLOSED,
		CONNECTION_LOST: LOST,
		CONNECTION_RETRIES_EXCEEDED: 2,
		CONNECTION_UNREACHABLE: UNREACHABLE,
		CONNECTION_UNSUPPORTED: 4,
		CONNECTION_UNREACHABLE_SCHEDULED_RECONNECT: 5,
		CONNECTION_LOST_SCHEDULED_RECONNECT: 6,
		Session,
		log: console.log,
		debug() {}, // the browser shows every frame in its network tab
		version: () => "0.8.2",
		connect(url, onconnect, onhangup = () => {}, { maxRetries = 10, retryDelay = 5000 } = {}) {
			let retries = -1; // never was open
			(function attempt() {
				const session = new Session(url, () => {
					retries = 0;
					onconnect(session);
				}, (code, reason) => {
					// A clean end is intended; a session that never was open has a wrong address.
					if (code === CLOSED || retries < 0) return onhangup(code, reason);
					const next = code === LOST ? 6 : 5;
					const detail = { delay: retryDelay, retries: ++retries, maxretries: maxRetries };
					if (retries > maxRetries || onhangup(next, reason, detail)) onhangup(2, reason);
					else setTimeout(attempt, retryDelay);
				});
			})();
		},
	};

	// Makes one link after another: a session of WAMP v2, or a stream of server-sent events.
	function connect({ url, token, ticket = false, retryDelay = 1000, retryDelayMax = 30000 }) {
		const { href } = Object.assign(new URL(url, globalThis.location?.href), { hash: "" });
		// The topics of each link. Each has its handlers, a promise, and `last`: how many of the newest events the page
		// asks for. `isGranted`: the server has had the subscription, and with the next link it comes back. `id`: all
		// events up to this one have come; there is none where the server gives no ids.
		const wanted = new Map();
		let failures = 0; // how many WebSockets in a row have ended and brought nothing
		let isBlocked = false; // the last one failed although the server was there
		let link = null, timer, tries = 0;

		const self = Object.assign(new EventTarget(), {
			state: "connecting",
			subscribe(topic, handler, { last = 0 } = {}) {
				let one = wanted.get(topic);
				if (!one) {
					one = { handlers: new Set(), last };
					one.promise = new Promise((...ends) => { [one.resolve, one.reject] = ends; });
					wanted.set(topic, one);
					if (self.state === "closed") drop(topic, "closed");
					else link?.add(topic);
				}
				one.handlers.add(handler);
				const promise = one.promise.then(() => () => self.unsubscribe(topic, handler));
				promise.catch(() => {}); // a page need not use it: a denial is also an event, and a warning
				return promise;
			},
			unsubscribe(topic, handler) {
				const handlers = wanted.get(topic)?.handlers;
				handlers?.delete(handler);
				if (handler && handlers?.size) return;
				if (drop(topic, "unsubscribed")) link?.remove(topic);
			},
			close() {
				if (self.state !== "closed") finish(1000, "");
			},
		});
		self.ready = new Promise((resolve, reject) => {
			self.addEventListener("open", resolve);
			self.addEventListener("closed", (event) => reject(event.detail));
		});
		self.ready.catch(() => {}); // a page need not use it

		function dispatch(type, detail) {
			self.dispatchEvent(new CustomEvent(type, { detail }));
		}
		function become(state, detail) {
			self.state = state;
			dispatch(state, detail);
		}
		function finish(code, reason) {
			clearTimeout(timer);
			wakers.delete(hurry);
			link?.close();
			link = null;
			for (const topic of wanted.keys()) drop(topic, "closed");
			become("closed", { code, reason });
		}
		// Ends a subscription, before the server has it or after.
		function drop(topic, reason) {
			wanted.get(topic)?.reject(Object.assign(new Error(`${topic}: ${reason}`), { topic, reason }));
			return wanted.delete(topic);
		}
		function deny(topic, reason) {
			if (!drop(topic, reason)) return;
			console.warn(`newswire: the server ended ${topic}: ${reason}`);
			dispatch("denied", { topic, reason });
		}
		function hear(topic, data) {
			tell(wanted.get(topic)?.handlers, data, topic);
		}
		function grant(one, id) {
			one.id = id;
			one.isGranted = true;
			one.resolve();
		}
		// Events of a topic are lost to the page, unless it has the topic for the first time. "none" is also the server's
		// word for an id that was not named.
		function miss(topic, reason = "none") {
			if (wanted.get(topic)?.isGranted) dispatch("gap", { topic, reason });
		}
		function isLater(id, than = "") {
			const [epoch, number] = id.split("-"), [same, newest] = than.split("-");
			return epoch !== same || +number > newest;
		}

		async function attempt(make) {
			clearTimeout(timer); // of topics that were gathered
			link?.close();
			link = null;
			become("connecting");
			try {
				await null; // the page adds its listeners first
				const value = typeof token === "function" ? await token() : token;
				if (self.state !== "closed") make(value);
			} catch (error) {
				pause(undefined, `${error}`);
			}
		}
		function address(scheme, value, topics = [], since, last) {
			const part = (name, value) => `${name}=${encodeURIComponent(value)}`;
			const parts = topics.map((topic) => part("topic", topic));
			if (since) parts.push(part("last_event_id", since));
			if (last) parts.push(part("last", last));
			if (value && !ticket) parts.push(part("token", value));
			const mark = href.includes("?") ? "&" : "?";
			return href.replace(/^(ws|http)/, scheme) + (parts.length ? mark + parts.join("&") : "");
		}

		function session(value) {
			const requests = [], ids = new Map(); // the topics of requests and of subscriptions
			let due = null, isRefused = false; // how many SUBSCRIBEs have no answer
			// A topic that comes back has a notice right behind its SUBSCRIBED: it tells whether what was missed is
			// recovered. `expected` is the topic whose notice this message should be; `next` that of the next message.
			let expected, next;

			function recover(topic, { x_id, x_recovered, x_reason }) {
				wanted.get(topic).id = x_id;
				if (topic === expected && !x_recovered) miss(topic, x_reason);
				expected = null;
			}
			function add(topic) {
				if (due === null) return; // before WELCOME
				const one = wanted.get(topic);
				due += 1;
				one.request = requests.push(topic);
				send(32, one.request, { x_since: one.id, x_last: one.last }, topic);
			}
			function remove(topic) {
				for (const [id, name] of ids) {
					if (name === topic && ids.delete(id)) send(34, requests.push(topic), id);
				}
			}
			const { send, close } = Socket(address("ws", value), "wamp.2.json", {
				// Above all numbers of requests and subscriptions, with which its answer must not be confused.
				question: (number) => [48, 2 ** 52 + number, {}, ALIVE],
				hear: {
					2() { // WELCOME
						due = 0;
						for (const topic of wanted.keys()) add(topic);
					},
					3(details, reason) { // ABORT
						isRefused = /auth/.test(reason);
					},
					4() { // CHALLENGE
						send(5, value, {});
					},
					8(kind, request, details, reason) { // ERROR
						if (kind !== 32) return;
						due -= 1;
						deny(requests[request - 1], reason);
					},
					33(request, id) { // SUBSCRIBED
						due -= 1;
						const topic = requests[request - 1], one = wanted.get(topic);
						if (!one) return send(34, requests.push(topic), id);
						if (one.request !== request) return; // wanted anew: that SUBSCRIBE has its own answer
						ids.set(id, topic);
						if (one.id) next = topic;
						else miss(topic); // nobody knows from where on
						grant(one, one.id);
					},
					35(request, { subscription, reason } = {}) { // UNSUBSCRIBED, by the server if it tells what
						deny(ids.get(subscription), reason);
						ids.delete(subscription);
					},
					36(id, publication, details, values) { // EVENT, or without arguments a notice
						const topic = ids.get(id), one = wanted.get(topic), { x_id, x_gap } = details;
						if (!one) return;
						if (values) {
							hear(topic, values[0]);
							// The newest events, which the page has asked for, can be older than the notice.
							if (x_id && isLater(x_id, one.id)) one.id = x_id;
						} else if (x_gap) {
							miss(topic, x_gap);
						} else {
							recover(topic, details);
						}
					},
					after() {
						if (wanted.has(expected)) recover(expected, {}); // this server gives no notice
						expected = next;
						next = null;
						if (due === 0 && !expected && self.state === "connecting") become("open");
					},
				},
				onopen: () => send(1, "newswire", {
					authmethods: value && ticket ? ["ticket"] : [],
					roles: { subscriber: { features: { subscription_revocation: true } } },
				}),
				onend(how, { code, reason }, isHeard) {
					failures = isHeard ? 0 : failures + 1;
					if (isHeard) isBlocked = false;
					// A page cannot tell a server that is down from a proxy that refuses WebSockets.
					if (failures > 1 && self.state !== "closed") stream(value);
					else pause(isRefused ? 3000 : code, reason);
				},
			});
			link = { add, remove, close };
		}

		async function stream(value) {
			const isIdle = !wanted.size, topics = isIdle ? [ALIVE] : [...wanted.keys()];
			// A stream has one position for all of its topics. So it begins anew where those that come back differ in
			// theirs, or a new one asks for its newest events, which come only where nothing is recovered.
			const all = [...wanted.values()], last = Math.max(0, ...all.map((one) => one.last));
			const first = all.find((one) => one.isGranted)?.id;
			const since = all.every((one) => one.isGranted ? one.id === first : !one.last) && first;
			const aborter = new AbortController();
			const headers = { Accept: "text/event-stream" };
			if (value && ticket) headers.Authorization = `Bearer ${value}`;
			const get = (...what) => fetch(address("http", value, ...what), { headers, signal: aborter.signal });
			const isDenied = async (answer) => answer.status === 403 && (await answer.text()).includes(DENIED);
			let code = 1006, silence, heard, text = "", fields = {}, isExpected, position;

			// All of its topics are where the stream is.
			function reach(id) {
				position = id;
				for (const one of all) grant(one, id);
			}
			function begin({ recovered, reason, id }) {
				isExpected = false;
				if (!recovered) for (const topic of topics) miss(topic, reason);
				reach(id);
				if (self.state === "connecting") become("open");
			}
			function opened() {
				if (link !== own) return;
				if (!isBlocked) {
					// The server is there, and may have come back after the last WebSocket failed. So the next one tells.
					isBlocked = true;
					clearTimeout(timer);
					aborter.abort();
					session(value);
				} else if (since) {
					isExpected = true; // as the next message: the notice, which tells whether all is recovered
				} else {
					begin({});
				}
			}
			function listen() {
				clearTimeout(silence);
				silence = setTimeout(end, SILENCE);
				heard = Date.now();
			}
			function end() {
				aborter.abort("no answer");
			}
			function check() {
				if (Date.now() - heard > QUIET) end();
			}
			// The topics of a stream share the largest `last`. Such events have no id, and only some have asked for them.
			function take({ retry, event, id, data = "{}" }) {
				// So the server tells a browser that it cannot serve it now.
				if (retry >= 5000) throw "try again later";
				if (retry) return opened();
				const what = JSON.parse(data), { topic, gap } = what;
				if (isExpected) begin(what);
				if (gap) miss(topic, gap);
				else if (!event && (id || !last || !position || wanted.get(topic)?.last)) hear(topic, what.data);
				if (id) reach(id); // that of a notice, too
			}
			const own = link = {
				add(topic) {
					const one = wanted.get(topic);
					if (!topics.includes(topic) || one.last) return wait(GATHER, stream);
					all.push(one);
					if (self.state === "open") grant(one, position);
				},
				remove() {}, // the next stream is without it
				close: () => aborter.abort(),
			};
			try {
				listen();
				wakers.add(check);
				const answer = await get(topics, since, last), { status, body } = answer;
				if (status === 401) code = 3000;
				if (await isDenied(answer)) {
					if (isIdle) { // there is nothing to listen to yet, so it asks again whether the server is there
						if (!wanted.size) {
							clearTimeout(timer);
							timer = setTimeout(() => stream(value), TICK * (1 + Math.random() / 2));
						}
						return opened();
					}
					for (const topic of topics) {
						const alone = await get([topic]);
						if (await isDenied(alone)) deny(topic, "wamp.error.not_authorized");
						else if (!alone.bodyUsed) alone.body?.cancel();
					}
					if (link !== own) return; // the page may close the connection when it hears of a denial
					if (!topics.every((topic) => wanted.has(topic))) return attempt(stream);
				}
				if (status !== 200) throw `HTTP ${status}`;
				const reader = body.pipeThrough(new TextDecoderStream()).getReader();
				for (;;) {
					const { value, done } = await reader.read();
					if (done) throw "the stream has ended";
					listen();
					const lines = (text + value).split("\n");
					text = lines.pop();
					for (const line of lines) {
						const [, name, rest] = /^(\w+): (.*)/s.exec(line) ?? [];
						if (name) fields[name] = rest;
						if (line) continue;
						take(fields);
						fields = {};
						if (link !== own) return;
					}
				}
			} catch (error) {
				if (link !== own) return;
				if (self.state !== "open") isBlocked = false;
				pause(code, `${error}`);
			} finally {
				clearTimeout(silence);
				wakers.delete(check);
				aborter.abort(); // a body that nobody reads holds its connection
			}
		}

		function pause(code, reason) {
			if (self.state === "closed") return;
			link = null;
			// 1008: a limit, which would be reached again at once.
			if (self.state === "open" && code !== 1008) tries = 0;
			// 3000: the token is not valid, and there is no other.
			if (code === 3000 && typeof token !== "function") return finish(code, reason);
			const bound = Math.min(retryDelayMax, retryDelay * 2 ** tries++);
			become("waiting", { code, reason, delay: wait(Math.random() * bound) });
		}
		function wait(delay, make = session) {
			clearTimeout(timer);
			timer = setTimeout(() => attempt(make), delay);
			return delay;
		}
		// After a pause: a whole office may be back at the same moment.
		const hurry = () => { if (self.state === "waiting") wait(Math.random() * retryDelay); };
		wakers.add(hurry);
		attempt(session);
		return self;
	}

	return { ab, connect };
})();

var ab = ab || newswire.ab;

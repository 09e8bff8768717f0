// Receives events from newswire, or another server of WAMP v1. MIT OR Apache-2.0. Its parts: newswire.d.ts
var newswire = (() => {
	const CLOSED = 0, LOST = 1, UNREACHABLE = 3;
	// In milliseconds: a session's shortest tick; and half of the time for an answer, which may come behind
	// a large event on a slow line; the same when the page was woken.
	const TICK = 20000, PATIENCE = 10000, WOKEN = 2500;

	// Called when the page is shown again, and when the network is back.
	const wakers = new Set();
	function wake({ type }) {
		const { document } = globalThis;
		if (type === "online" || !document?.hidden) for (const waker of [...wakers]) waker();
	}
	for (const type of ["online", "pageshow"]) globalThis.addEventListener?.(type, wake);
	globalThis.document?.addEventListener("visibilitychange", wake);

	// One WebSocket, until its end.
	function Session(url, onopen, onclose) {
		const prefixes = new Map(), topics = new Map();
		let id = null, isOpen = false;

		// A connection can die unnoticed, and a page sees no pings. So a session that receives nothing for
		// two ticks asks something, and ends after two more. One tick is not enough: in a page that was
		// frozen, an overdue timer runs before the messages that have come. Each tick has a random length,
		// so that many pages do not ask at once.
		let timer, patience, question = null, questions = 0, silent = 1;
		function arm() {
			timer = setTimeout(tick, question ? patience : TICK * (1 + Math.random() / 2));
		}
		function tick() {
			silent += 1;
			if (silent < 2) return arm();
			if (!question) return ask(PATIENCE);
			end(LOST, { code: 1006, reason: "no answer", wasClean: false });
			socket.close();
		}
		function ask(time) {
			clearTimeout(timer);
			[patience, silent, question] = [time, 0, `alive-${questions += 1}`];
			if (id !== null) send(2, question, "newswire:alive");
			arm();
		}
		const asks = () => ask(WOKEN);
		function rest() {
			clearTimeout(timer);
			wakers.delete(asks);
		}

		const socket = new WebSocket(url, ["wamp"]);
		socket.onopen = () => { isOpen = true; };
		socket.onclose = (event) => end(event.wasClean ? CLOSED : LOST, event);
		socket.onmessage = ({ data }) => {
			const [type, first, event, server] = JSON.parse(data);
			silent = 0;
			if (type === 0) { // WELCOME
				[id, question] = [first, null];
				// Other servers end a session that makes a call.
				if (/^newswire\b/.test(server)) wakers.add(asks);
				else rest();
				onopen?.();
			} else if (type === 8) { // EVENT
				// Each on its own: an exception of one handler reaches the page, and the others run.
				topics.get(first)?.forEach((handler) => queueMicrotask(() => handler(first, event)));
			} else if (first === question) { // CALLRESULT, or CALLERROR
				question = null;
			}
		};
		arm();

		function end(how, event) {
			const code = isOpen ? how : UNREACHABLE;
			isOpen = false;
			socket.onopen = socket.onclose = socket.onmessage = null;
			rest();
			onclose?.(code, `WS-${event.code}: ${event.reason}`, event);
		}
		function send(...message) {
			if (!isOpen) throw new Error("not connected");
			socket.send(JSON.stringify(message));
		}
		function resolve(curie) {
			const [, prefix, rest] = /^([^:]*):(.*)$/s.exec(curie) ?? [];
			return prefixes.has(prefix) ? prefixes.get(prefix) + rest : curie;
		}

		return {
			resolve,
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
			close() {
				rest();
				socket.close();
			},
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

	// Makes one session after another.
	function connect({ url, token, retryDelay = 1000, retryDelayMax = 30000 }) {
		const base = new URL(url, globalThis.location?.href);
		base.protocol = base.protocol.replace("http", "ws");
		base.hash = "";
		const wanted = new Set(); // subscriptions of each session
		let session, timer, tries = 0;

		const self = Object.assign(new EventTarget(), {
			state: "connecting",
			subscribe(topic, handler) {
				const one = [topic, (uri, event) => handler(event, uri)];
				wanted.add(one);
				if (self.state === "open") session.subscribe(...one);
				return () => {
					if (wanted.delete(one) && self.state === "open") session.unsubscribe(...one);
				};
			},
			close() {
				clearTimeout(timer);
				if (self.state !== "closed") become("closed", { code: 1000, reason: "" });
				session?.close();
			},
		});
		self.ready = new Promise((resolve, reject) => {
			self.addEventListener("open", resolve);
			self.addEventListener("closed", (event) => reject(event.detail));
		});
		self.ready.catch(() => {}); // a page need not use it

		function become(state, detail) {
			self.state = state;
			if (state === "closed") wakers.delete(hurry);
			self.dispatchEvent(new CustomEvent(state, { detail }));
		}
		async function attempt() {
			become("connecting");
			try {
				await null; // the page adds its listeners first
				const value = typeof token === "function" ? await token() : token;
				if (self.state === "closed") return;
				const mark = base.href.includes("?") ? "&" : "?";
				const target = value ? `${base}${mark}token=${encodeURIComponent(value)}` : base;
				session = new Session(target, () => {
					for (const one of wanted) session.subscribe(...one);
					become("open");
				}, (why, text, event) => pause(event));
			} catch (error) {
				pause({ reason: `${error}` });
			}
		}
		function pause({ code, reason }) {
			if (self.state === "closed") return;
			// 1008: a limit, which would be reached again at once.
			if (self.state === "open" && code !== 1008) tries = 0;
			// 3000: the token is no longer valid, and there is no other.
			if (code === 3000 && typeof token !== "function") return become("closed", { code, reason });
			become("waiting", { code, reason, delay: wait(retryDelay * 2 ** tries++) });
		}
		function wait(longest) {
			const delay = Math.random() * Math.min(retryDelayMax, longest);
			clearTimeout(timer);
			timer = setTimeout(attempt, delay);
			return delay;
		}
		// After a pause: a whole office may be back at the same moment.
		const hurry = () => { if (self.state === "waiting") wait(retryDelay); };
		wakers.add(hurry);
		attempt();
		return self;
	}

	return { ab, connect };
})();

var ab = ab || newswire.ab;

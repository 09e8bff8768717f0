// The types of newswire.js, and what its parts do. Beside a copy of newswire.mjs, name this file
// newswire.d.mts.

/** The state of a {@link Connection}. */
export type State =
	/** The token is being fetched, and then a WebSocket is being opened, or a stream of server-sent events. */
	| "connecting"
	/**
	 * The server has answered each subscription that there is, and has told whether what was missed is recovered;
	 * messages or answers arrive. One case has no connection: a stream takes the place of the WebSocket, there is no
	 * topic yet, and the token does not allow `newswire:alive`. Then the client asks every 20 to 30 seconds whether the
	 * server is there and takes the token.
	 */
	| "open"
	/** There is no connection; the next attempt comes after a pause. */
	| "waiting"
	/** The connection is closed and will not be opened again. */
	| "closed";

export interface Options {
	/**
	 * `wss://…`, `ws://…`, or a path such as `/push/` that the page's own server passes on to newswire. A query
	 * is kept.
	 */
	url: string | URL;
	/**
	 * The token, unencoded; or a function that returns it and is called before each attempt. An attempt waits
	 * for the function, so give a `fetch` in it a deadline: `{ signal: AbortSignal.timeout(10_000) }`.
	 */
	token?: string | (() => string | undefined | Promise<string | undefined>);
	/**
	 * True sends the token as WAMP's ticket (and to a stream in a header), so that it stands in no URL and in no
	 * log of a proxy. The server also tells then that a token is wrong. It costs one more way to the server and
	 * back for each connection. Default false.
	 */
	ticket?: boolean;
	/** In milliseconds, the bound of the first pause; each further failure doubles it. Default 1,000. */
	retryDelay?: number;
	/** In milliseconds, the bound of all pauses. Default 30,000. */
	retryDelayMax?: number;
}

/** Why a connection ended. */
export interface Ended {
	/**
	 * The WebSocket's close code; 1006 when it was cut or never open. 3000 says that the server does not take the
	 * token, or no longer. None when the token function failed.
	 */
	code?: number;
	/** The reason in words; it may be empty. */
	reason: string;
}

/** Which subscription there is not, and why. */
export interface Denial {
	topic: string;
	/**
	 * The server's: `wamp.error.not_authorized` (the token does not allow the topic),
	 * `newswire.error.too_many_subscriptions`, `wamp.error.invalid_uri` (the topic is too long), or
	 * `wamp.error.invalid_argument` (`last` is no whole number). The client's own, for a promise alone: `unsubscribed` or
	 * `closed`, before the server had the subscription.
	 */
	reason: string;
}

/** Events of which topic are lost to the page, and why. Load again what the page shows of the topic. */
export interface Gap {
	topic: string;
	/**
	 * After a reconnect: `none` (the topic has no history, the server cannot recover events, or there was no position to
	 * recover from), `epoch` (the server was started anew), `floor` (the history is not long enough), or `unknown` (the
	 * server does not know the position). In an open connection: `slow` (the page received too slowly), `upstream` (the
	 * server itself has missed events), or `history` (events left the history before they could be sent).
	 */
	reason: string;
}

/** How to subscribe. */
export interface SubscribeOptions {
	/**
	 * How many of the topic's newest events come first, as far as its history has them; a whole number. The next events
	 * follow them without a gap. They come once, and again after a {@link Gap} at a reconnect. It counts for the
	 * call that makes the topic's subscription, not for further handlers. A stream has one number for all of its topics,
	 * the largest, so there more may come. Default 0.
	 */
	last?: number;
}

/**
 * A connection that reconnects after every end but two: the page called {@link Connection.close}; or the server
 * does not take the token any more (code 3000) and the token is a string, so that there is no other.
 * The pause before an attempt is random, between 0 and a bound. The bound doubles with each failure, and after
 * an open connection it is that of the first pause again.
 *
 * A WebSocket that is dead although neither side closed it ends too, with code 1006 and the reason "no answer".
 * When nothing has arrived for 20 to 60 seconds, the client asks a newswire server whether it is still there,
 * and the server has 20 seconds to answer. When the page is shown again or the network is back, the client asks
 * at once, and the server has 5 seconds. A stream cannot be asked. The client leaves one that has brought nothing for
 * 150 seconds; and at once, when the page is shown again or the network is back, one that has brought nothing for 30.
 * In the background, where browsers slow timers down, this takes minutes. When the page is shown or the network is
 * back during a pause, the next attempt comes soon.
 *
 * Where the second WebSocket in a row brings nothing, as behind a proxy that refuses them, the client asks at once for
 * a stream of server-sent events. When the server grants it, the client tries one more WebSocket, and when that fails,
 * too, it listens to a stream. A new topic needs another stream: the connection is "connecting" and then "open" again.
 * A stream has one position for all of its topics. So they are recovered together or not at all, a new topic may bring
 * events from before, and a new topic with `last` is a gap of the others.
 * The next attempt after a stream's end begins with a WebSocket.
 *
 * A browser does not tell a page why a WebSocket could not be opened. So a wrong token in the URL looks like a
 * server that is down, until a stream is refused for it (code 3000).
 *
 * A connection dispatches an event for each state that it enters, with the state's name. The `detail` of
 * "closed" is {@link Ended}; that of "waiting" also has the pause in milliseconds.
 *
 * After a reconnect the client asks for the events that it has missed, of each topic from where it was. The server
 * sends them if the topic has a history that is long enough. If they are not recovered, and whenever events of a topic
 * are lost, the connection dispatches "gap", whose `detail` is {@link Gap}. The subscription is there by then. There is no
 * "gap" for a topic that the server has for the first time, nor where all events come. After a reconnect, "gap" comes
 * before "open".
 *
 * So a page loads its state when the promise of {@link Connection.subscribe} is fulfilled, and again at each "gap".
 */
export interface Connection extends Omit<EventTarget, "addEventListener"> {
	readonly state: State;
	/** Fulfilled when the connection is open for the first time; rejected with {@link Ended} when it is closed before. */
	readonly ready: Promise<unknown>;
	/**
	 * Subscribes to a topic, now and after each reconnect. A handler that is given twice for a topic counts once.
	 * An EVENT of WAMP without arguments reaches no handler.
	 *
	 * The promise is fulfilled when the server has the subscription for the first time, with a function that ends it;
	 * it is rejected with an error that is a {@link Denial} when the server does not grant it. A page may ignore
	 * the promise: a rejection that nobody handles is no error of the page.
	 *
	 * A subscription that the server denies, now or after a reconnect, or that it ends because the token allows less
	 * now, is over: it is not asked for again until the page does. The connection tells it with the event
	 * "denied" and a warning on the console.
	 */
	subscribe(topic: string, handler: (event: any, topic: string) => void, options?: SubscribeOptions): Promise<() => void>;
	/**
	 * Ends the subscription of one handler; or of all handlers of the topic, when no handler is given. It does nothing
	 * when there is no such subscription.
	 */
	unsubscribe(topic: string, handler?: (event: any, topic: string) => void): void;
	/** Closes the connection; it does not reconnect. */
	close(): void;
	addEventListener(type: "connecting" | "open", listener: (event: CustomEvent) => void, options?: AddEventListenerOptions | boolean): void;
	addEventListener(type: "waiting", listener: (event: CustomEvent<Ended & { delay: number }>) => void, options?: AddEventListenerOptions | boolean): void;
	addEventListener(type: "closed", listener: (event: CustomEvent<Ended>) => void, options?: AddEventListenerOptions | boolean): void;
	addEventListener(type: "denied", listener: (event: CustomEvent<Denial>) => void, options?: AddEventListenerOptions | boolean): void;
	addEventListener(type: "gap", listener: (event: CustomEvent<Gap>) => void, options?: AddEventListenerOptions | boolean): void;
}

/** Opens a connection. Throws when the URL is not valid. */
export function connect(options: Options): Connection;

/**
 * What autobahn.js 0.8 calls a session: one WebSocket, which never reconnects. When it is dead although neither
 * side closed it, it ends with CONNECTION_LOST (see {@link Connection}).
 */
export interface Session {
	/** The id that the server gave the session; null before its WELCOME. */
	sessionid(): string | null;
	/** From now on, `prefix:rest` stands for `uri` followed by `rest`. */
	prefix(prefix: string, uri: string): void;
	resolve(curie: string): string;
	shrink(uri: string): string;
	/** Throws when the handler is subscribed to the topic already, or there is no connection. */
	subscribe(topic: string, handler: (topic: string, event: any) => void): void;
	/** Unsubscribes one handler, or all handlers of the topic. Throws when there is none. */
	unsubscribe(topic: string, handler?: (topic: string, event: any) => void): void;
	/** A newswire server ignores it: clients only receive. */
	publish(topic: string, event: unknown, ...more: unknown[]): void;
	/** Always rejected: a newswire server has no procedures. */
	call(procedure: string, ...values: unknown[]): Promise<never>;
	close(): void;
	log(...what: unknown[]): void;
}

export interface Retry {
	/** In milliseconds. */
	delay: number;
	retries: number;
	maxretries: number;
}

/** The parts of autobahn.js 0.8 that pages made for it use. */
export const ab: {
	readonly CONNECTION_CLOSED: 0;
	readonly CONNECTION_LOST: 1;
	readonly CONNECTION_RETRIES_EXCEEDED: 2;
	readonly CONNECTION_UNREACHABLE: 3;
	readonly CONNECTION_UNSUPPORTED: 4;
	readonly CONNECTION_UNREACHABLE_SCHEDULED_RECONNECT: 5;
	readonly CONNECTION_LOST_SCHEDULED_RECONNECT: 6;
	/** `onopen` is called after the server's WELCOME. `options` are accepted and ignored. */
	readonly Session: new (url: string, onopen?: () => void, onclose?: (code: number, reason: string) => void, options?: object) => Session;
	/**
	 * Reconnects after an end without a Close frame, every `retryDelay` milliseconds (5,000), at most
	 * `maxRetries` (10) times in a row. It does not reconnect after a clean end, when it never was open, or when
	 * `onhangup` returns true.
	 */
	connect(
		url: string,
		onconnect: (session: Session) => void,
		onhangup?: (code: number, reason: string, retry?: Retry) => unknown,
		options?: { maxRetries?: number; retryDelay?: number; [other: string]: unknown },
	): void;
	debug(...on: unknown[]): void;
	log(...what: unknown[]): void;
	version(): string;
};

// As a classic script, newswire.js makes the global `newswire`, and the global `ab` unless the page has one.
export as namespace newswire;

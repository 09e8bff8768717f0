// The types of newswire.js, and what its parts promise. Beside a copy of newswire.mjs, name this
// file newswire.d.mts.

/** Where a {@link Connection} is. */
export type State =
	/** A WebSocket is being opened, after the token was asked for. */
	| "connecting"
	/** The server has greeted, and everything that is wanted was subscribed. It answers, or was heard lately. */
	| "open"
	/** There is no connection; the next attempt has its time. */
	| "waiting"
	/** For good. */
	| "closed";

export interface Options {
	/** `wss://…`, `ws://…`, or where the page's own server passes it on, such as `/push/`. A query is kept. */
	url: string | URL;
	/**
	 * The token, unencoded; or a function that is asked for it before each attempt. The function may take
	 * its time, so give a `fetch` in it a deadline: `{ signal: AbortSignal.timeout(10_000) }`.
	 */
	token?: string | (() => string | undefined | Promise<string | undefined>);
	/** In milliseconds, the longest first pause; each failure in a row doubles it. Default 1,000. */
	retryDelay?: number;
	/** In milliseconds, the longest pause of all. Default 30,000. */
	retryDelayMax?: number;
}

/** Why a connection ended. */
export interface Ended {
	/** The WebSocket's close code: 1006 where it was cut or never was. None when the token call-back failed. */
	code?: number;
	/** In words; may be empty. */
	reason: string;
}

/**
 * Comes back after every end but two: {@link Connection.close} was called, or the server closed with
 * 3000 (the token is valid no longer) and the token is a string, so that there is no other. The pause
 * before an attempt is drawn at random between none and a bound, which doubles with each failure and
 * begins anew after a connection that was open.
 *
 * A connection that is dead although nobody has closed it ends, too: with code 1006 and the reason "no
 * answer". A newswire server is asked whether it is still there when nothing has come for 20 to 60
 * seconds, and has 20 seconds to answer; when the page is shown again or the network is back, it is asked
 * at once and has 5 seconds. In the background, where browsers slow timers down, this takes minutes.
 * A page that waits for its next attempt makes it soon when it is shown or the network is back.
 *
 * A browser does not tell a page why a WebSocket failed to open: a refused token is a failure as a
 * server that is down is, and the pauses grow.
 *
 * It dispatches an event named like each state that it enters; `detail` is {@link Ended} with "closed",
 * and with "waiting", where the pause in milliseconds is in it too. What was published while it was
 * not open is lost: on "open", load what the page shows again.
 */
export interface Connection extends Omit<EventTarget, "addEventListener"> {
	readonly state: State;
	/** Fulfilled when it is open for the first time; rejected, with {@link Ended}, when it is closed before. */
	readonly ready: Promise<unknown>;
	/** Hears a topic from now on, through all reconnects. Answers with the function that ends it. */
	subscribe(topic: string, handler: (event: any, topic: string) => void): () => void;
	/** Ends it for good. */
	close(): void;
	addEventListener(type: "connecting" | "open", listener: (event: CustomEvent) => void, options?: AddEventListenerOptions | boolean): void;
	addEventListener(type: "waiting", listener: (event: CustomEvent<Ended & { delay: number }>) => void, options?: AddEventListenerOptions | boolean): void;
	addEventListener(type: "closed", listener: (event: CustomEvent<Ended>) => void, options?: AddEventListenerOptions | boolean): void;
}

/** Connects. Throws when the URL is none. */
export function connect(options: Options): Connection;

/**
 * What autobahn.js 0.8 calls a session: one WebSocket, which never comes back by itself. When it is dead
 * although nobody has closed it, it ends with CONNECTION_LOST (see {@link Connection}).
 */
export interface Session {
	/** The server's name for it; null before its greeting. */
	sessionid(): string | null;
	/** From now on `prefix:rest` is `uri` and `rest` together. */
	prefix(prefix: string, uri: string): void;
	resolve(curie: string): string;
	shrink(uri: string): string;
	/** Throws when the handler has the topic already, or there is no connection. */
	subscribe(topic: string, handler: (topic: string, event: any) => void): void;
	/** Of one handler, or of all of them. Throws when there is none. */
	unsubscribe(topic: string, handler?: (topic: string, event: any) => void): void;
	/** A newswire server ignores it: clients only listen. */
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

/** What pages made for autobahn.js 0.8 use of it. */
export const ab: {
	readonly CONNECTION_CLOSED: 0;
	readonly CONNECTION_LOST: 1;
	readonly CONNECTION_RETRIES_EXCEEDED: 2;
	readonly CONNECTION_UNREACHABLE: 3;
	readonly CONNECTION_UNSUPPORTED: 4;
	readonly CONNECTION_UNREACHABLE_SCHEDULED_RECONNECT: 5;
	readonly CONNECTION_LOST_SCHEDULED_RECONNECT: 6;
	/** `onopen` is called when the server has greeted. `options` are taken, and mean nothing here. */
	readonly Session: new (url: string, onopen?: () => void, onclose?: (code: number, reason: string) => void, options?: object) => Session;
	/**
	 * Comes back after an end without a Close frame, every `retryDelay` milliseconds (5,000), at most
	 * `maxRetries` (10) times in a row; not after a clean end, not if it never was open, and not when
	 * `onhangup` answers true.
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

// As a classic script, newswire.js makes the global `newswire`; and `ab`, unless the page has one.
export as namespace newswire;

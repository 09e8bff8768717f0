// Makes Node's WebSocket one of a browser, where it is none: that of Node 20 says of an attempt that
// failed `error` alone and stays `CONNECTING`, and a page relies on `close`. Imported before the
// scripts of tests/tools/client.rs.

globalThis.WebSocket = class extends WebSocket {
	constructor(...given) {
		super(...given);
		this.addEventListener("error", () => {
			const isStuck = this.readyState === WebSocket.CONNECTING;
			if (isStuck) this.onclose?.({ code: 1006, reason: "", wasClean: false });
		});
	}
};

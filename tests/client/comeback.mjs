// A client of a real server, which says what it sees, a line each. Run by tests/tools/client.rs:
// comeback.mjs MODULE ADDRESS TOKEN

const [module, address, token] = process.argv.slice(2);
const { connect } = await import(module);

let asked = 0;
const push = connect({
	url: `http://${address}/any/path?lang=en`,
	// The first is refused with a 401, which looks like a server that is down.
	token: async () => (asked += 1) === 1 ? "wrong" : token,
	retryDelay: 50,
	retryDelayMax: 200,
});
for (const state of ["open", "waiting", "closed"]) {
	push.addEventListener(state, ({ detail }) => console.log(state, detail?.code ?? "-", "asked", asked));
}
push.subscribe("before", (data) => console.log("before", JSON.stringify(data)));
const unsubscribe = await push.subscribe("unwanted", () => console.log("unwanted"));
unsubscribe();
push.subscribe("after", (data) => {
	console.log("after", JSON.stringify(data));
	if (data === "close") push.close();
});

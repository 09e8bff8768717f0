// A client of a real server, which says what becomes of its subscriptions, a line each. Run by tests/tools/client.rs:
// subscriptions.mjs MODULE URL TOKEN HOW TOPICS LAST, where HOW is `ticket` or `url`, TOPICS are separated by commas, and
// LAST is how many of the newest events of each it asks for.
// The data of an event may tell it to subscribe to more: {"subscribe": topic}.

const [module, url, token, how, topics, last] = process.argv.slice(2);
const { connect } = await import(module);

process.on("unhandledRejection", (error) => console.log("unhandled", error.message));

const push = connect({ url, token, ticket: how === "ticket", retryDelay: 50, retryDelayMax: 200 });
for (const state of ["open", "waiting", "closed"]) {
	push.addEventListener(state, ({ detail }) => console.log([state, detail?.code].join(" ").trim()));
}
for (const type of ["denied", "gap"]) {
	push.addEventListener(type, ({ detail }) => console.log(type, detail.topic, detail.reason));
}

function subscribe(topic) {
	push.subscribe(topic, (data) => {
		console.log("heard", topic, JSON.stringify(data));
		if (data.subscribe) subscribe(data.subscribe);
	}, { last: +last }).then(() => console.log("has", topic), ({ reason }) => console.log("has not", topic, reason));
	// What nobody waits for is no unhandled rejection.
	push.subscribe(topic, () => {});
}
for (const topic of topics.split(",")) subscribe(topic);

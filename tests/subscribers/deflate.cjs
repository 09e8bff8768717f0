// A WebSocket of the package `ws` that compresses all that it says, whatever its length. Arguments: the server's URL, and
// a token. Prints `open EXTENSIONS`, and for each event of `news` `heard LENGTH FIRST`, and `came BYTES`: what it took on
// the wire.
"use strict";

const WebSocket = require("ws");

const [url, token] = process.argv.slice(2);
let before = 0;
const socket = new WebSocket(`${url}?token=${encodeURIComponent(token)}`, "wamp", {
  perMessageDeflate: { threshold: 0 },
});
socket.on("message", (text) => {
  const [kind, , data] = JSON.parse(text);
  if (kind === 0) {
    console.log(`open ${socket.extensions}`);
    before = socket._socket.bytesRead;
    socket.send('[5,"news"]');
  } else {
    console.log(`heard ${data.length} ${data[0]}`);
    console.log(`came ${socket._socket.bytesRead - before}`);
    before = socket._socket.bytesRead;
  }
});
socket.on("close", (code, reason) => console.log(`closed ${code} ${reason}`));
socket.on("error", (error) => console.log(`broken ${error.message}`));

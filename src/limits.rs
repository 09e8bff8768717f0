//! The limits, intervals and budgets that peers and operators can meet: unit, default, and why.
//!
//! The ones that an operator may set are the defaults of [`crate::config`], and a `CEILING` is as far
//! as one may be set; the others are the design's own. Their relations are asserted where they are
//! compiled, so that no edit can make a server that accepts an event which it can never deliver.
//!
//! A cost is that of one core at some 3 GHz. Where it is called estimated, no test or benchmark has shown it.
//!
//! Never here: the values in force (those are in `Config` and in the engine's `Rules`), what only one
//! file can notice (the size of its buffer, how far it looks back), and code, but for the arithmetic
//! between limits.

/// In bytes. A head carries cookies, which are long; the replaced server refused at 4,096.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// In seconds that a browser keeps `newswire.js` without asking again. Its address has no version in it,
/// so this is how long pages may use the last one after an upgrade; both speak the same protocol.
pub const FILE_CACHE_SECONDS: u32 = 3_600;

/// In lines of a head. Behind three proxies a browser's upgrade has some thirty.
pub const HEADERS_MAX: usize = 64;

/// In bytes, one message of a client. Clients only subscribe, so a message is a topic's name.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// In bytes, a topic's name (a URI, or a word).
pub const TOPIC_BYTES_MAX: usize = 512;

/// In bytes, one message of a publisher, all its parts together. Real articles reach 500 kB.
pub const EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// In bytes. Below [`PUBLISHER_MESSAGE_BYTES_MAX`], so that an event which is merely too large is
/// dropped with a reason, and does not cost its publisher the connection.
pub const EVENT_BYTES_CEILING: usize = 32 * 1024 * 1024;

/// In bytes, one *part* of a publisher's message (`ZMQ_MAXMSGSIZE`); over it, libzmq itself ends the
/// publisher's connection, before newswire hears of it.
pub const PUBLISHER_MESSAGE_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// In parts of one message that are thrown away before newswire asks the allocator to give free memory back
/// to the system: at 64 bytes each, 4 MiB.
pub const SURPLUS_PARTS_KEPT_MAX: usize = 64 * 1024;

/// In topics. When nearly all of more than these have ended, a thread gives the memory that they had back to
/// the system: some 10 MB at the least.
pub const TOPICS_KEPT_MAX: usize = 65_536;

/// In messages that ZeroMQ queues for each publisher before it makes that publisher wait.
pub const PUBLISHER_MESSAGES_MAX: i32 = 1_000;

/// In seconds that a ZeroMQ peer has for its handshake. libzmq's default is 30; a peer needs two round
/// trips.
pub const PEER_HANDSHAKE_SECONDS: u32 = 10;

/// In seconds without an answer after which a ZeroMQ peer is dropped. A fifth of it is the silence after
/// which libzmq asks (ZMTP's PING), the rest the time for the answer, which waits behind a message that is
/// on its way: 2 MiB take 80 s at 26 kB/s. Dead peers have to be gone within two minutes.
pub const PUBLISHER_SECONDS: u32 = 100;

/// In seconds. Beyond an hour nobody waits for a publisher.
pub const PUBLISHER_SECONDS_CEILING: u32 = 3_600;

/// In subscriptions a connection. A page shows a few lists; a dashboard some hundred.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;

/// In prefixes a connection. Each is two strings, of [`TOPIC_BYTES_MAX`] together, that live as long
/// as the connection does.
pub const PREFIXES_MAX: usize = 32;

/// In bytes, what one connection may owe its socket before it is closed as a slow consumer. It has
/// to hold the largest event, and a burst of some thousand small ones that a busy reader takes late.
pub const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// In bytes, what all connections together may owe, a batch that many owe being counted once.
pub const OUTBOXES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// In bytes, what the kernel may hold of a connection unsent (`TCP_NOTSENT_LOWAT`). Without it a
/// reader that stalls makes the kernel keep up to 4 MB, outside every bound of ours.
///
/// The kernel tells of room again when half of this has left. So of a client that takes less than 64 KiB in
/// [`PING_SECONDS`] and [`PONG_SECONDS`] together, 1.3 kB a second, no sign of life is seen.
pub const UNSENT_BYTES_MAX: usize = 128 * 1024;

/// In seconds, how long sent bytes may stay unacknowledged before the kernel gives a peer up
/// (`TCP_USER_TIMEOUT`). As long as the two keep-alive intervals together. Each acknowledgement that makes
/// progress begins the time anew, so a slow peer that acknowledges stays.
pub const UNACKNOWLEDGED_SECONDS: u32 = 50;

/// In seconds. The kernel counts this one, in milliseconds.
pub const UNACKNOWLEDGED_SECONDS_CEILING: u32 = 3_600;

/// In seconds that one question about a token may take.
pub const AUTH_TIMEOUT_SECONDS: u32 = 5;

/// In seconds that an accepted token is good without asking again. Clients of the replaced server
/// come back every 5 s for as long as they are turned away, and all at once after a restart.
pub const AUTH_CACHE_SECONDS: u32 = 60;

/// In seconds that a refused token is refused without asking again: as often as such a client tries.
pub const AUTH_REFUSED_SECONDS: u64 = 5;

/// In refused tokens that are remembered; the oldest is forgotten first. It bounds accepted tokens too: beyond
/// it, those whose clients have left are forgotten before their time.
pub const AUTH_REMEMBERED_MAX: usize = 100_000;

/// In bytes that one of the refused takes at most, its share of the tables included: half a SHA-256 and two
/// moments. `tests/allocations.rs` holds it to that.
pub const AUTH_REFUSED_BYTES: usize = 128;

/// In bytes that newcomers' questions may take while they wait for an answer, for each of `auth-waiting-max`:
/// that many with a JWT of 900 bytes, or fewer with longer tokens.
pub const AUTH_QUESTION_BYTES: usize = 1_600;

/// In bytes, what such a question takes beside its token and its page's origin.
pub const AUTH_QUESTION_OVERHEAD_BYTES: usize = 640;

/// In bytes of an `Origin`. The longest that a browser can send has a host of 253 bytes and a port, and an
/// extension's is shorter.
pub const ORIGIN_BYTES_MAX: usize = 512;

/// In tokens that an administrator has withdrawn and that are refused until the next start.
pub const AUTH_REVOKED_MAX: usize = 100_000;

/// In seconds after which a store that could not tell is asked again about an open session's token.
pub const AUTH_RETRY_SECONDS: u64 = 5;

/// In open sessions' tokens that are asked about at a time where the answer comes later: a newcomer's
/// question has to find a free place at the store.
pub const AUTH_RECHECKS_MAX: usize = 64;

/// In open sessions' tokens that are asked about a turn, at 2 µs each; what signatures cost is counted apart.
pub const TURN_RECHECKS_MAX: usize = 256;

/// In microseconds a turn, what may be spent on signatures of JWTs: half of it on open sessions' at most, the
/// rest on newcomers'. The last one may pass it, by what [`JWT_KEYS_MAX`] keys take.
pub const TURN_JUDGING_MICROSECONDS: u32 = 5_000;

/// In places of the gate's ledger that one turn looks at after stores have changed: less than a millisecond.
pub const TURN_DOUBTS_MAX: u32 = 16_384;

/// In answers of one store that are fetched a turn, at 2 µs each.
pub const TURN_ANSWERS_MAX: usize = 1_024;

/// In newcomers' tokens that are looked at in one turn. Most take 5 µs, the longest ones 50 µs.
pub const TURN_CHECKS_MAX: usize = 256;

/// In verdicts a turn that are carried out, each of which writes to a socket: 10 to 20 µs.
pub const TURN_VERDICTS_MAX: usize = 256;

/// In seconds after which a store is asked again about the token of an open session.
pub const AUTH_RECHECK_SECONDS: u32 = 300;

/// In seconds that an open session stays while no store can tell.
pub const AUTH_GRACE_SECONDS: u32 = 600;

/// In questions to one store at a time, each of which takes a thread.
pub const AUTH_REQUESTS_MAX: usize = 8;

/// In questions that wait for one store.
pub const AUTH_WAITING_MAX: usize = 10_000;

/// In questions in a row without an answer, after which a store counts as down.
pub const AUTH_FAILURES_MAX: u32 = 3;

/// In seconds between two questions to a store that is down: soon enough for whoever restarts it,
/// and no load.
pub const AUTH_PROBE_SECONDS: u64 = 1;

/// In bytes of what an API or a JWK set may answer: a verdict has some hundred, a set some thousand.
pub const AUTH_BODY_BYTES_MAX: usize = 64 * 1024;

/// In bytes of the file of authorities: all that a browser knows are some 250 KiB.
pub const AUTH_CA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// In bytes of a file of tokens: a million lines with all that can stand in them.
pub const TOKEN_FILE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// In bytes of one line in it. No client can present a longer token.
pub const TOKEN_LINE_BYTES_MAX: usize = READ_BUFFER_BYTES;

/// In bytes of a token's name, whichever store gives it one: it stands in log lines.
pub const TOKEN_NAME_BYTES_MAX: usize = 128;

/// In milliseconds between two looks at a file of tokens. It is read when two looks in a row see the
/// same, so that one which is just being written is left alone, and a change counts after at most
/// three of these: a token that is deleted is to be out within two seconds.
pub const TOKEN_FILE_LOOK_MILLISECONDS: u64 = 500;

/// In bytes of a file with keys of JWTs. A key has some hundred.
pub const JWT_KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// In bytes of the secret of HS256: as many as its hash has (RFC 7518 s. 3.2). A shorter one can be
/// found by trying, off line, with one token.
pub const JWT_SECRET_BYTES_MIN: usize = 32;

/// In seconds that a JWT's `nbf` may lie ahead: whoever makes tokens may have a clock that is a little
/// fast, and its clients come at once. There is no such leeway at the end.
pub const JWT_NOT_BEFORE_LEEWAY_SECONDS: u64 = 5;

/// In keys of files, with each of which every token is tried: anybody can make tokens up.
pub const JWT_KEYS_MAX: usize = 8;

/// In bits of an RSA key. What one check costs grows with the square: 4,096 take 110 µs, 8,192 would
/// take 330 µs.
pub const RSA_BITS_MAX: usize = 4_096;

/// In keys of one set that are used.
pub const JWKS_KEYS_MAX: usize = 32;

/// In keys of one set with which a token is tried that names none of them, at up to 110 µs of the loop each
/// (RSA of 4,096 bits): anybody can make up such tokens. Issuers with more keys than these have names for them.
pub const JWKS_KEYS_TRIED_MAX: usize = 4;

/// In seconds after which a JWK set is fetched again: as long as a key that was taken out of it may
/// still let somebody in.
pub const JWKS_FETCH_SECONDS: u64 = 600;

/// In seconds between two fetches because of tokens that name a key which is not there. Anybody can
/// make up such tokens.
pub const JWKS_REFETCH_SECONDS: u64 = 30;

/// In seconds, the longest pause after a fetch that failed; it begins with one and doubles.
pub const JWKS_RETRY_SECONDS_MAX: u64 = 60;

/// In seconds, from accept to a complete upgrade head, and again for the token's verdict.
pub const HANDSHAKE_SECONDS: u32 = 10;

/// In seconds of silence before a ping is sent. Proxies cut idle connections at 60 s.
pub const PING_SECONDS: u32 = 25;

/// In seconds that a ping may stay unanswered.
pub const PONG_SECONDS: u32 = 25;

/// In seconds that a peer has for its half of a close, and for what it is still owed.
pub const CLOSE_SECONDS: u32 = 5;

/// In seconds for a shutdown: draining the ingest, then the outboxes.
pub const SHUTDOWN_SECONDS: u32 = 10;

/// In seconds. It is one moment for all and no deadline of the table, so it has no other bound.
pub const SHUTDOWN_SECONDS_CEILING: u32 = 3_600;

/// In milliseconds without a publisher's message after which the ingest counts as drained. What a
/// publisher sent before the signal may still be in the kernel or with libzmq's own thread.
pub const QUIET_MILLISECONDS: u64 = 200;

/// In seconds, the largest of a connection's intervals: handshake, ping, pong and close. A deadline is
/// one byte, its tick modulo 255, so what this leaves of the round is how late a sweep
/// may come (the process was stopped, a herd fell silent) before a deadline set now looks like one
/// that is due: 255 - 1 - 120 = 134 s.
pub const DEADLINE_SECONDS_MAX: u32 = 120;

/// In events, how many one turn takes in, over all sources. Those of one topic gather within a turn and
/// leave in one write a member, so this is also how far a burst can be gathered.
pub const TURN_EVENTS_MAX: usize = 1_024;

/// In bytes, how much one turn takes in, over all sources, so that large events do not make the
/// turn long. One event, or the body of one HTTP request, may exceed it.
pub const TURN_EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// In events of libzmq about connections of publishers, read in one turn over all sources: at an estimated
/// 1 µs each, 1 ms. A publisher that connects, pushes and leaves makes three.
pub const TURN_PEER_EVENTS_MAX: usize = 1_024;

/// In connections accepted a turn: a herd after a restart must not keep events waiting. At an estimated
/// 10 µs each this is 2.6 ms.
pub const TURN_ACCEPTS_MAX: usize = 256;

/// In milliseconds that a connection has for its upgrade, or for its end, before a newcomer may have its
/// place when all are taken. A request comes right behind its connection; a packet that was lost on
/// the way is sent again after some 200.
pub const ROOM_MILLISECONDS_MIN: u64 = 250;

/// In connections that one turn ends to make room. They are freed at its end, so for that long there are
/// as many more than `connections-max`, in descriptors of the reserve. At an estimated 15 µs each, 0.5 ms.
pub const TURN_ROOM_MAX: usize = 32;

/// In connections that are remembered because they can be ended to make room: so many without a whole
/// upgrade, and so many that wait for their end. At 16 bytes each, 1 MiB for each kind.
pub const ROOM_ENTRIES_MAX: usize = 65_536;

/// In nanoseconds, what the reading of one turn may cost, counted by the five estimated prices below. It is no
/// clock: the same messages cost the same on every machine, and a slower one takes longer for them.
pub const TURN_READ_COST: usize = 4_000_000;

/// In nanoseconds, one `read()`.
pub const READ_COST: usize = 1_000;

/// In nanoseconds, one byte that was read: copied, unmasked, looked at for UTF-8 and JSON.
pub const READ_BYTE_COST: usize = 2;

/// In nanoseconds, one message of an open session. A SUBSCRIBE that makes a topic, and the UNSUBSCRIBE that
/// ends it, are the dearest.
pub const MESSAGE_COST: usize = 1_000;

/// In nanoseconds, a look at the head of an upgrade.
pub const HEAD_COST: usize = 10_000;

/// In nanoseconds, one `write()` of what a connection is answered.
pub const ANSWER_COST: usize = 8_000;

/// In bytes, what is read from an open session before it has to wait behind all others that became
/// readable: any one ordinary message, or a page's twenty subscriptions. Of the smallest SUBSCRIBEs that
/// are 50 µs.
pub const FIRST_SHARE_BYTES: usize = 1_024;

/// In bytes, what is read from a connection that has more than its first share, before the next one of
/// those has its share.
pub const SHARE_BYTES: usize = 16 * 1024;

/// In bytes of one read of an open session. It bounds what can be answered before anybody looks at how
/// much of the answers was taken: a CALL is answered thirty times as long as it is.
pub const READ_PIECE_BYTES: usize = 4 * 1024;

/// In bytes of answers to its own messages that a connection may be owed before it is not read any further.
/// It is read again when it has taken all of them.
pub const ANSWERS_OWED_BYTES_MAX: usize = 4 * 1024;

/// In bytes of answers that are gathered before they leave.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// In bytes a turn, what leaves from outboxes when their sockets take bytes again: many that were
/// stalled together wake up together. The rest goes on next turn. At half a nanosecond a byte, 4 ms.
pub const TURN_PAYMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// In bytes of that budget, what a write costs at the least: 512 writes of a few bytes are 4 ms too.
pub const PAYMENT_BYTES_MIN: usize = 16 * 1024;

/// In seconds without taking a byte after which a connection counts as stalled, when some have to give up
/// what they are owed. Whoever reads steadily takes some more often, on any network.
pub const STALLED_SECONDS: u64 = 2;

/// In connections that one search remembers as those that have to give up what they are owed first: at 40 bytes
/// each and twice as many for a while, 1.3 MB. To sort them takes an estimated 2 ms.
pub const DEBTS_MAX: usize = 16_384;

/// In subscriptions that end a turn because their connections do: at up to 0.45 µs each where each topic
/// ends with its subscription, 4 ms.
pub const TURN_LEAVES_MAX: usize = 8_192;

/// In subscriptions of that budget, what it costs to free a connection: some 15 µs, most of them in the
/// kernel's `close()`.
pub const REAP_LEAVES: usize = 32;

/// In topics that a SUB socket asks its publisher for, one by one. Beyond this, and beyond
/// [`SUB_TOPIC_BYTES_MAX`], it asks for everything, and what nobody wants is dropped here.
pub const SUB_TOPICS_MAX: usize = 10_000;

/// In bytes of the names of these topics. libzmq keeps a node of 32 bytes for each byte, makes it in some
/// 80 ns, and looks at all of them at once when the connection is lost: some 10 ms.
pub const SUB_TOPIC_BYTES_MAX: usize = 512 * 1024;

/// In changes that a publisher's socket takes in before its program sends something: libzmq's default. A
/// connection on which more topics are to be told is asked for everything until all are told.
pub const SUB_UNREAD_MAX: usize = 1_000;

/// In topics a minute whose first subscription or last end is told to a publisher. Beyond this, the socket
/// asks for everything: libzmq keeps each change for a publisher that does not read.
pub const SUB_CHANGES_MAX: usize = 20_000;

/// In bytes of names a turn, over all SUB sockets, that publishers are asked for, or are no longer: at some
/// 80 ns each, 2.6 ms.
pub const TURN_TOPIC_BYTES_MAX: usize = 32 * 1024;

/// In subscriptions and ends of them that ZeroMQ queues for a publisher. It drops those that find the
/// queue full, without a word. A publisher that reads nothing is cut after [`PUBLISHER_SECONDS`], which
/// touch three minutes of changes, and in which everything can be asked for twice. Where an operator gives
/// publishers much longer, one that reads nothing for five minutes can miss changes.
pub const SUBSCRIPTIONS_QUEUED_MAX: i32 = 100_000;

/// In bytes, what is held for one SUB socket in the worst case, where a name has `topic` bytes: the names
/// that were told or wait for it; in libzmq, nodes, a table at each place where names part, and the queue of
/// a publisher that does not read.
pub const fn sub_bytes(topic: usize) -> usize {
    let names = 4 * SUB_TOPIC_BYTES_MAX;
    let nodes = 32 * SUB_TOPIC_BYTES_MAX;
    let tables = 2_048 * SUB_TOPICS_MAX;
    let queue = (topic + 128).saturating_mul(SUBSCRIPTIONS_QUEUED_MAX as usize);
    queue.saturating_add(names + nodes + tables)
}

/// In addresses of one host name that are tried. A name of a service that is spread over many hosts has
/// some ten.
pub const NAME_ADDRESSES_MAX: usize = 16;

/// In seconds that a publisher at one address has to greet, before the next address is tried. The kernel
/// repeats a lost first packet after one second.
pub const DIAL_ATTEMPT_SECONDS: u64 = 3;

/// In seconds that a nameserver has, before the addresses that it told last are tried again.
pub const DIAL_RESOLVE_SECONDS: u64 = 2;

/// In milliseconds, the first pause after no address of a publisher took a connection, or after one was
/// lost; it doubles. A publisher that is restarted is back soon, and what it sends meanwhile is lost.
pub const DIAL_PAUSE_MILLISECONDS: u64 = 100;

/// In seconds, the longest of these pauses. A connection that has lasted for as long makes the next
/// pause the first one again.
pub const DIAL_PAUSE_SECONDS_MAX: u64 = 2;

/// In seconds, the first pause after a peer refused the handshake, which it would do again: it is another
/// kind of socket, or wants another security mechanism. The pause doubles.
pub const DIAL_REFUSED_SECONDS: u64 = 1;

/// In seconds, the longest of these pauses: soon enough after an operator has mended it.
pub const DIAL_REFUSED_SECONDS_MAX: u64 = 60;

/// In milliseconds after which a command that publishes tries the next address of a name too: a server
/// on the same network greets within a few.
pub const DIAL_STAGGER_MILLISECONDS: u64 = 50;

/// In connections for which room is taken at the start, untouched: 85 MB of addresses, not of memory.
pub const CONNECTIONS_EXPECTED_MAX: usize = 1_000_000;

/// In writes of events a turn, over all the walks: about 9 ms of `send()`. What is left goes on next
/// turn.
pub const TURN_WRITES_MAX: usize = 2_048;

/// In bytes a turn, over all the walks, for large batches: their writes take longer.
pub const TURN_WRITE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// In expired deadlines a turn: a herd that came in one second also falls silent in one second. Each may
/// be a ping, at an estimated 8 µs, so this is 4 ms.
pub const TURN_EXPIRIES_MAX: usize = 512;

/// In bytes of the one buffer into which all sockets are read.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// In bytes from which an event gets a batch of its own, made once at its exact size: gathering it
/// would move it each time the batch grows, and it fills a `send()` alone.
pub const BIG_EVENT_BYTES: usize = 16 * 1024;

/// In bytes up to which a batch gathers. Past it a `send()` is no cheaper a byte.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// In bytes, how much of what was merged for members of several topics is kept for others with the same
/// topics. Past it all of it is forgotten, and merged anew.
pub const MERGED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// In bytes of batches that wait for their walk. Past it the ingest is left alone, and publishers
/// feel it through ZeroMQ's high-water mark.
pub const PENDING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// In walks under way or waiting, for the same reason, and because a member of several topics is looked
/// for in each of them.
pub const PENDING_WALKS_MAX: usize = 256;

/// In seconds, how far back the dashboard sees. A sample of each takes 112 bytes, and what was counted by
/// then 1 kB every [`HISTORY_COUNTS_SECONDS`]: 135 kB in all, whatever the server does. GET /history is
/// 64 kB of JSON.
pub const HISTORY_SECONDS: usize = 600;

/// In seconds, how exact the time is for which reasons are counted by name.
pub const HISTORY_COUNTS_SECONDS: usize = 10;

/// In connections to the admin listeners, and again to the publish listeners, that have shown a right. A
/// monitor, a dashboard, some scripts, or publishers, each of which may keep its connection, and may
/// have a body of [`EVENT_BYTES_CEILING`] under way.
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// In connections to each kind of listener that have not shown a right, beside those that have. Each
/// costs a descriptor of the reserve and at most a head. Of a flood of 5,000 a second, each has 25 ms to
/// send its request before a newcomer gets its place. A host with few files allows fewer: a third of the
/// reserve without [`OWN_FILES`], which is 8 of 128 files, 34 of 512, and 128 from 1,632 on.
pub const ADMIN_STRANGERS_MAX: usize = 128;

/// In seconds from the first byte of such a request's head to its last.
pub const ADMIN_HEAD_SECONDS: u64 = 10;

/// In seconds for the body, of up to [`EVENT_BYTES_CEILING`].
pub const ADMIN_BODY_SECONDS: u64 = 30;

/// In seconds that an answer may take to be read, and an event to find room.
pub const ADMIN_ANSWER_SECONDS: u64 = 30;

/// In seconds without a byte after which a newcomer may have the place of somebody whose request was
/// admitted: more than a loaded network's pauses, and few enough to wait for.
pub const ADMIN_STALL_SECONDS: u64 = 5;

/// In seconds without a request after which a kept connection is closed: longer than most monitors'
/// interval of 15 s.
pub const ADMIN_IDLE_SECONDS: u64 = 60;

/// In bytes, such a request's head, WebSocket upgrades of the dashboard included. Whatever clients may
/// send (`head-bytes-max`), administrators' browsers bring their cookies along.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;

/// In seconds that such a connection is read from, and forgotten what was read, after its last answer.
pub const ADMIN_LINGER_SECONDS: u64 = 2;

/// In bytes that a request's body may have beyond one event: what stands around the events of a batch.
pub const ADMIN_BODY_SLACK_BYTES: usize = 64 * 1024;

/// In bytes, the body of a request that is no event.
pub const ADMIN_ORDER_BYTES_MAX: usize = 8 * 1024;

/// In entries of one page of topics or connections.
pub const ADMIN_PAGE_ENTRIES_MAX: usize = 1_000;

/// In entries, where nothing is said.
pub const ADMIN_PAGE_ENTRIES: usize = 100;

/// In bytes after which a page ends whatever it was to hold.
pub const ADMIN_PAGE_BYTES_MAX: usize = 256 * 1024;

/// In names of one connection's topics.
pub const ADMIN_NAMES_MAX: usize = 100;

/// In places that a page, or one turn of a round over all of them, looks at: at up to 0.2 µs each, where
/// each session has a token of its own, 3 ms.
pub const TURN_PLACES_MAX: u32 = 16_384;

/// In places of that budget, what it costs to end a connection with a last word: an estimated 10 µs.
pub const END_PLACES: u32 = 64;

/// In connections that one turn closes for an administrator, and again because they read too slowly: at an
/// estimated 10 µs each, 5 ms.
pub const TURN_DISCONNECTS_MAX: usize = 512;

/// In events of one HTTP request. They are taken in together, in one turn. The last request of a turn may take it
/// over [`TURN_EVENTS_MAX`].
pub const PUBLISH_EVENTS_MAX: usize = 1_024;

/// In bytes a turn, what is read from, and again what is written to, the admin and publish listeners'
/// connections.
pub const TURN_ADMIN_BYTES_MAX: usize = 1024 * 1024;

/// In connections accepted a turn by each of the two listeners: as many as there are places for.
pub const TURN_ADMIN_ACCEPTS_MAX: usize = 64;

/// In requests a turn that these connections have carried out. The dearest of them, metrics, is some 50 µs.
pub const TURN_ADMIN_COMMANDS_MAX: usize = 32;

/// In requests of that budget, what a page of connections or topics costs beyond one: it looks at up to
/// [`TURN_PLACES_MAX`] places, in 3 ms.
pub const LISTING_COMMANDS: usize = 31;

/// In descriptors kept for all that is not a client: standard streams, listeners, ZeroMQ's own, the
/// publishers' connections.
pub const RESERVED_FILES: usize = 512;

/// In descriptors of these, what the program itself opens with one listener and one PULL socket, an admin
/// listener and a terminal included.
pub const OWN_FILES: usize = 24;

/// In descriptors, the least of these where files are few: [`OWN_FILES`], and publishers need theirs.
pub const RESERVED_FILES_MIN: usize = 48;

/// In seconds that a refused connection is kept, so that the refusal is read before a reset comes. It
/// costs a reserved descriptor.
pub const REFUSED_LINGER_SECONDS: u64 = 1;

/// In connections that wait in the kernel to be accepted; `net.core.somaxconn` may make it less.
pub const BACKLOG: i32 = 65_535;

/// In seconds between two log lines about the same reason.
pub const REPORT_SECONDS: u64 = 10;

/// In seconds between two log lines about requests for a page, which browsers and the checks of load
/// balancers send.
pub const REPORT_PLAIN_SECONDS: u64 = 3_600;

/// In seconds that a browser remembers that a page may publish.
pub const PREFLIGHT_SECONDS: u32 = 600;

/// In addresses that are kept for one reason of refusals until its next log line, at 112 bytes each.
pub const REPORT_ADDRESSES_MAX: usize = 32;

/// In addresses that one such line names, those with most refusals first: a line is for people.
pub const REPORT_ADDRESSES_TOLD: usize = 4;

/// In pairs of a denied (or withdrawn) topic and a token's name that are kept until the next log line, and
/// told in it.
/// Each has at most [`SAMPLE_BYTES_MAX`] and [`TOKEN_NAME_BYTES_MAX`] bytes.
pub const REPORT_TOPICS_MAX: usize = 8;

/// In bytes of a dropped message, or of a denied topic's name, that the log shows, escaped.
pub const SAMPLE_BYTES_MAX: usize = 80;

/// In connections. Far beyond what one process has been seen to hold.
pub const CONNECTIONS_CEILING: usize = 1 << 24;

/// In bytes, for what the kernel takes in one piece as an `i32`.
pub const BYTES_CEILING: usize = 1 << 30;

/// In bytes; half of what the machine could address.
pub const OUTBOXES_BYTES_CEILING: usize = isize::MAX as usize;

/// In bytes, the smallest outbox that takes an event of `event` bytes with a topic of `topic`: ten of
/// frame header, `[8,"",]`, and the name, which may grow sixfold when JSON has to escape it.
pub const fn outbox_needed(event: usize, topic: usize) -> usize {
    event + 10 + 7 + 6 * topic
}

/// Whether a server with these three values can deliver the largest event that it accepts.
pub const fn can_deliver(outbox: usize, event: usize, topic: usize) -> bool {
    outbox >= outbox_needed(event, topic)
}

const _: () = assert!(can_deliver(
    OUTBOX_BYTES_MAX,
    EVENT_BYTES_MAX,
    TOPIC_BYTES_MAX
));
const _: () = assert!(OUTBOXES_BYTES_MAX >= 2 * OUTBOX_BYTES_MAX);
const _: () = assert!(EVENT_BYTES_MAX <= EVENT_BYTES_CEILING);
const _: () = assert!((EVENT_BYTES_CEILING as i64) < PUBLISHER_MESSAGE_BYTES_MAX);
const _: () = assert!(RESERVED_FILES_MIN <= RESERVED_FILES);
const _: () = assert!(OWN_FILES < RESERVED_FILES_MIN);
const _: () = assert!(TURN_ROOM_MAX < RESERVED_FILES_MIN);
const _: () = assert!(2 * (ADMIN_CONNECTIONS_MAX + ADMIN_STRANGERS_MAX) < RESERVED_FILES);
const _: () =
    assert!(SUBSCRIPTIONS_QUEUED_MAX as usize >= 4 * SUB_CHANGES_MAX + 2 * SUB_TOPICS_MAX);
// Each walk serves at least one member a turn. There can be one walk for each event of a last HTTP request
// more than the ingest stops at.
const _: () = assert!(PENDING_WALKS_MAX + PUBLISH_EVENTS_MAX <= TURN_WRITES_MAX);
const _: () = assert!(BIG_EVENT_BYTES <= BATCH_BYTES_MAX);
const _: () = assert!(HEAD_BYTES_MAX <= READ_BUFFER_BYTES);
const _: () = assert!(ADMIN_HEAD_BYTES_MAX <= READ_BUFFER_BYTES);
// A first share holds any one SUBSCRIBE, and the largest of all messages fits into some shares.
const _: () = assert!(FIRST_SHARE_BYTES >= TOPIC_BYTES_MAX + 64);
const _: () = assert!(FIRST_SHARE_BYTES <= READ_PIECE_BYTES && READ_PIECE_BYTES <= SHARE_BYTES);
// A quarter of a turn is more than the dearest share, of messages without a payload.
const _: () = assert!(SHARE_BYTES / 6 * MESSAGE_COST <= TURN_READ_COST);
// One request's events go forward in every turn, beside those of the others.
const _: () = assert!(PENDING_WALKS_MAX + PUBLISH_EVENTS_MAX <= TURN_WRITES_MAX);
const _: () = assert!(PING_SECONDS <= DEADLINE_SECONDS_MAX && PONG_SECONDS <= DEADLINE_SECONDS_MAX);
const _: () = assert!(HANDSHAKE_SECONDS <= DEADLINE_SECONDS_MAX);
const _: () = assert!(CLOSE_SECONDS <= DEADLINE_SECONDS_MAX);
const _: () = assert!(SHUTDOWN_SECONDS <= SHUTDOWN_SECONDS_CEILING);
const _: () = assert!(ADMIN_PAGE_ENTRIES <= ADMIN_PAGE_ENTRIES_MAX);
// A dead publisher is gone within two minutes.
const _: () = assert!(PUBLISHER_SECONDS < 120);
const _: () = assert!(PUBLISHER_SECONDS <= PUBLISHER_SECONDS_CEILING);
const _: () = assert!(HISTORY_SECONDS.is_multiple_of(HISTORY_COUNTS_SECONDS));
const _: () = assert!(UNACKNOWLEDGED_SECONDS <= UNACKNOWLEDGED_SECONDS_CEILING);
// A sweep may be at least as late as the longest deadline is long.
const _: () = assert!(255 - 1 - DEADLINE_SECONDS_MAX >= DEADLINE_SECONDS_MAX);

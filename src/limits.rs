//! The limits, intervals and budgets that peers and operators can meet: the unit of each, its value, and the reason.
//!
//! Those that an operator can set are the defaults of [`crate::config`], and a `CEILING` is the highest value that an
//! operator can set. The others are fixed. The compiler checks how they relate to each other, so that no edit can make
//! a server that accepts an event which it can never deliver.
//!
//! Costs are those of one core at about 3 GHz. A cost is called estimated when no test or benchmark has shown it.
//!
//! Never here: the values in force (they are in `Config` and in the engine's `Rules`), what only one file can notice
//! (the size of its buffer, how far it looks back), and code, except the arithmetic between limits.

/// In bytes, the head of an upgrade. A head carries cookies, which are long; the replaced server refused at 4,096.
pub const HEAD_BYTES_MAX: usize = 8 * 1024;

/// In seconds that a browser keeps `newswire.js` without asking again. Its address has no version in it,
/// so this is how long pages may use the last one after an upgrade; both speak the same protocol.
pub const FILE_CACHE_SECONDS: u32 = 3_600;

/// In lines, the head of a request. A browser's upgrade that passed three proxies has some thirty.
pub const HEADERS_MAX: usize = 64;

/// In bytes, one message of a client. Clients only subscribe, so a message has hardly more than a topic's name.
pub const MESSAGE_BYTES_MAX: usize = 64 * 1024;

/// In bytes, from where on events are compressed. Half of 1 KiB of JSON is left; of 200 bytes four fifths are, for as much
/// work of the client.
pub const COMPRESS_BYTES_MIN: usize = 1_024;

/// In bytes, the largest event that is compressed. Text takes some 6 ns a byte, what does not become shorter 14: so 3 to
/// 7 ms of one turn, for each protocol.
pub const COMPRESS_BYTES_MAX: usize = 512 * 1024;

/// In bytes, what one turn may compress before it takes in no more events. The last event may pass it. Events that came
/// in the same request leave as they are then.
pub const TURN_COMPRESS_BYTES_MAX: usize = 256 * 1024;

/// In bytes, what a compressed event counts beside its own length: the compressor begins anew for each, which takes some
/// 15 µs.
pub const COMPRESS_OVERHEAD_BYTES: usize = 4 * 1024;

/// In nanoseconds, what inflating one byte of a client's message may cost, whatever it becomes. A message can be made of
/// blocks of twelve bytes each that need tables of their own and become nothing: these were measured at 65 to 77.
pub const INFLATE_BYTE_COST: usize = 80;

/// In bytes, the longest compressed message of a client, whatever `message-bytes-max` allows: it is inflated in one go,
/// which takes up to 5 ms.
pub const INFLATE_BYTES_MAX: usize = 64 * 1024;

/// How many bytes of a compressed message may become one byte of text, beside [`INFLATE_IDLE_BYTES_MAX`]. A compressor
/// that flushes after each byte makes six.
pub const INFLATE_RATIO_MAX: usize = 8;

/// In bytes of a compressed message that may become nothing: some compressors begin with empty blocks.
pub const INFLATE_IDLE_BYTES_MAX: usize = 1_024;

/// How many DEFLATE streams one message may be made of. A compressor has a reason for two (RFC 7692 s. 7.2.3.5).
pub const INFLATE_STREAMS_MAX: usize = 4;

/// In bytes, what compression keeps: the state of one compressor and one decompressor, the largest event before and
/// after (when it did not become shorter, an eighth more), and the longest message of a client.
pub const fn compression_bytes(message_bytes_max: usize) -> usize {
    512 * 1024 + 2 * COMPRESS_BYTES_MAX + COMPRESS_BYTES_MAX / 8 + message_bytes_max
}

/// In bytes, a topic's name (a URI, or a word).
pub const TOPIC_BYTES_MAX: usize = 512;

/// In bytes, one message of a publisher, all its parts together. Real articles reach 500 kB.
pub const EVENT_BYTES_MAX: usize = 2 * 1024 * 1024;

/// In bytes. It is below [`PUBLISHER_MESSAGE_BYTES_MAX`], so that newswire drops an event that is a little too large
/// with a reason, and libzmq does not end the publisher's connection.
pub const EVENT_BYTES_CEILING: usize = 32 * 1024 * 1024;

/// In bytes, one *part* of a publisher's message (`ZMQ_MAXMSGSIZE`); over it, libzmq itself ends the
/// publisher's connection, and newswire receives nothing of the message.
pub const PUBLISHER_MESSAGE_BYTES_MAX: i64 = 64 * 1024 * 1024;

/// In parts of one message that are thrown away before newswire asks the allocator to give free memory back
/// to the system: at 64 bytes each, 4 MiB.
pub const SURPLUS_PARTS_KEPT_MAX: usize = 64 * 1024;

/// In topics. When nearly all of more than these have ended, a thread gives the memory that they had back to
/// the system: some 10 MB at the least.
pub const TOPICS_KEPT_MAX: usize = 65_536;

/// In connections: when more than so many were there, and half of them have left, newswire gives free memory back to the
/// system.
pub const CONNECTIONS_KEPT_MAX: usize = 64;

/// In messages that ZeroMQ queues for each publisher before it makes that publisher wait.
pub const PUBLISHER_MESSAGES_MAX: i32 = 1_000;

/// In seconds that a ZeroMQ peer has for its handshake. libzmq's default is 30; a peer needs two round
/// trips.
pub const PEER_HANDSHAKE_SECONDS: u32 = 10;

/// In seconds without an answer after which a ZeroMQ peer is dropped. A fifth of it is the silence after
/// which libzmq asks (ZMTP's PING), the rest the time for the answer, which waits behind a message that is
/// on its way: 2 MiB take 80 s at 26 kB/s. Dead peers have to be gone within two minutes.
pub const PUBLISHER_SECONDS: u32 = 100;

/// In seconds. No operator waits for more than an hour to notice that a publisher is gone.
pub const PUBLISHER_SECONDS_CEILING: u32 = 3_600;

/// In subscriptions a connection. A page shows a few lists; a dashboard some hundred.
pub const SUBSCRIPTIONS_MAX: usize = 1_000;

/// In prefixes a connection. Each is two strings, of [`TOPIC_BYTES_MAX`] together, that live as long
/// as the connection does.
pub const PREFIXES_MAX: usize = 32;

/// In bytes, the events that wait for one client's socket. A client that needs more is closed as a slow consumer. An
/// outbox has to hold the largest event, and a burst of some thousand small ones for a reader that is busy.
pub const OUTBOX_BYTES_MAX: usize = 8 * 1024 * 1024;

/// In bytes, the events that wait in all outboxes together. A batch in several outboxes counts once.
pub const OUTBOXES_BYTES_MAX: usize = 256 * 1024 * 1024;

/// In bytes, what the kernel keeps unsent for a connection (`TCP_NOTSENT_LOWAT`). Without this limit a reader that
/// stalls makes the kernel keep up to 4 MB, which no other limit bounds.
///
/// The kernel reports room again when half of this has left. So a client that takes less than 64 KiB in
/// [`PING_SECONDS`] and [`PONG_SECONDS`] together, 1.3 kB a second, shows newswire no sign of life.
pub const UNSENT_BYTES_MAX: usize = 128 * 1024;

/// In seconds that sent bytes may stay unacknowledged before the kernel ends a connection (`TCP_USER_TIMEOUT`). It is
/// as long as the two keep-alive intervals together. Each acknowledgement of further bytes begins the time anew, so a
/// slow peer that acknowledges stays.
pub const UNACKNOWLEDGED_SECONDS: u32 = 50;

/// In seconds. The kernel counts this one, in milliseconds.
pub const UNACKNOWLEDGED_SECONDS_CEILING: u32 = 3_600;

/// In seconds that one question about a token may take.
pub const AUTH_TIMEOUT_SECONDS: u32 = 5;

/// In seconds that an accepted token is valid before its store is asked again. Clients of the replaced server
/// come back every 5 s for as long as they are turned away, and all at once after a restart.
pub const AUTH_CACHE_SECONDS: u32 = 60;

/// In seconds that a refused token is refused before its store is asked again: about the interval at which such
/// clients come back.
pub const AUTH_REFUSED_SECONDS: u64 = 5;

/// In refused tokens that are remembered; the oldest is forgotten first. It bounds accepted tokens too: beyond
/// it, those whose clients have left are forgotten before their time.
pub const AUTH_REMEMBERED_MAX: usize = 100_000;

/// In bytes, the memory of one refused token, with its share of the tables: half a SHA-256 and two moments.
/// `tests/allocations.rs` measures it.
pub const AUTH_REFUSED_BYTES: usize = 128;

/// In bytes, the memory of one question about a newcomer's token with a JWT of 900 bytes. `auth-waiting-max` times
/// this is the bound for all questions that wait; with longer tokens, fewer questions can wait.
pub const AUTH_QUESTION_BYTES: usize = 1_600;

/// In bytes, what such a question takes beside its token and its page's origin.
pub const AUTH_QUESTION_OVERHEAD_BYTES: usize = 640;

/// In bytes of an `Origin`. The longest that a browser can send has a host of 253 bytes and a port, and an
/// extension's is shorter.
pub const ORIGIN_BYTES_MAX: usize = 512;

/// In tokens that an administrator has withdrawn and that are refused until the next start.
pub const AUTH_REVOKED_MAX: usize = 100_000;

/// In seconds after which a store that could not answer is asked again about the token of an open session.
pub const AUTH_RETRY_SECONDS: u64 = 5;

/// In tokens of open sessions about which stores are asked at the same time, when their answers come later. The
/// question about a newcomer's token has to find a free place at its store.
pub const AUTH_RECHECKS_MAX: usize = 64;

/// In tokens of open sessions about which stores are asked in one turn, at 2 µs each. The cost of signatures is counted
/// separately.
pub const TURN_RECHECKS_MAX: usize = 256;

/// In microseconds, the time that one turn may spend on the signatures of JWTs: at most half of it for open sessions,
/// the rest for newcomers. The last token may exceed it by the time that [`JWT_KEYS_MAX`] keys take.
pub const TURN_JUDGING_MICROSECONDS: u32 = 5_000;

/// In places of the gate's ledger that one turn looks at after stores have changed: less than a millisecond.
pub const TURN_DOUBTS_MAX: u32 = 16_384;

/// In answers of one store that are fetched a turn, at 2 µs each.
pub const TURN_ANSWERS_MAX: usize = 1_024;

/// In tokens of newcomers that one turn looks at. Most take 5 µs, the longest ones 50 µs.
pub const TURN_CHECKS_MAX: usize = 256;

/// In verdicts that one turn carries out. Each writes to a socket, in 10 to 20 µs. The last one may exceed it by the
/// topics of one stream.
pub const TURN_VERDICTS_MAX: usize = 256;

/// In milliseconds, how long the client of a stream waits at the least before it comes back.
pub const STREAM_RETRY_MILLISECONDS: u64 = 3_000;

/// In milliseconds, how long such a client waits at the least when it cannot be served now.
pub const STREAM_RETRY_LATER_MILLISECONDS: u64 = 5_000;

/// In milliseconds beyond these two, over which clients that come back together are spread.
pub const STREAM_RETRY_SPREAD_MILLISECONDS: u64 = 2_000;

/// In topics of a stream that cost as much as one more verdict: subscribing to one takes up to 1 µs
/// ([`MESSAGE_COST`]).
pub const VERDICT_TOPICS: usize = 15;

/// In seconds after which a store is asked again about the token of an open session.
pub const AUTH_RECHECK_SECONDS: u32 = 300;

/// In seconds that an open session stays while no store can answer about its token.
pub const AUTH_GRACE_SECONDS: u32 = 600;

/// In questions to one store at a time, each of which takes a thread.
pub const AUTH_REQUESTS_MAX: usize = 8;

/// In questions that wait for one store.
pub const AUTH_WAITING_MAX: usize = 10_000;

/// In questions in a row without an answer, after which a store counts as down.
pub const AUTH_FAILURES_MAX: u32 = 3;

/// In seconds between two questions to a store that is down: soon enough for an operator who restarts it, and hardly
/// any load.
pub const AUTH_PROBE_SECONDS: u64 = 1;

/// In bytes of what an API or a JWK set may answer: a verdict has some hundred, a set some thousand.
pub const AUTH_BODY_BYTES_MAX: usize = 64 * 1024;

/// In bytes of the file of authorities: all that a browser knows are some 250 KiB.
pub const AUTH_CA_BYTES_MAX: usize = 4 * 1024 * 1024;

/// In bytes of a file of tokens: a million lines that use all their keys.
pub const TOKEN_FILE_BYTES_MAX: usize = 256 * 1024 * 1024;

/// In bytes of one line in it. No client can present a longer token.
pub const TOKEN_LINE_BYTES_MAX: usize = READ_BUFFER_BYTES;

/// In bytes of a token's name, whichever store gives it one: it stands in log lines.
pub const TOKEN_NAME_BYTES_MAX: usize = 128;

/// In milliseconds between two looks at a file of tokens. A changed file is read when two looks in a row see the same
/// file, so that a file that is just being written is left alone. A change counts after at most three such intervals:
/// a token that was deleted has to be refused within two seconds.
pub const TOKEN_FILE_LOOK_MILLISECONDS: u64 = 500;

/// In bytes of a file with keys of JWTs. A key has some hundred.
pub const JWT_KEY_FILE_BYTES_MAX: usize = 64 * 1024;

/// In bytes of the secret of HS256: as many as its hash has (RFC 7518 s. 3.2). A shorter one can be
/// found by trying, off line, with one token.
pub const JWT_SECRET_BYTES_MIN: usize = 32;

/// In seconds that a JWT's `nbf` may lie ahead: whoever makes tokens may have a clock that is a little
/// fast, and its clients come at once. There is no such leeway at the end.
pub const JWT_NOT_BEFORE_LEEWAY_SECONDS: u64 = 5;

/// In keys from files. Every token is tried with each of them, and anybody can make tokens up.
pub const JWT_KEYS_MAX: usize = 8;

/// In bits of an RSA key. What one check costs grows with the square: 4,096 take 110 µs, 8,192 would
/// take 330 µs.
pub const RSA_BITS_MAX: usize = 4_096;

/// In keys of one set that are used.
pub const JWKS_KEYS_MAX: usize = 32;

/// In keys of one set that are tried with a token that names no key. Each takes up to 110 µs of the loop (RSA with 4,096
/// bits), and anybody can make up such tokens. Issuers with more keys give them names.
pub const JWKS_KEYS_TRIED_MAX: usize = 4;

/// In seconds after which a JWK set is fetched again. For so long, a key that was removed from the set can still let
/// clients in.
pub const JWKS_FETCH_SECONDS: u64 = 600;

/// In seconds between two fetches of a JWK set because of tokens with an unknown key. Anybody can make up such tokens.
pub const JWKS_REFETCH_SECONDS: u64 = 30;

/// In seconds, the longest pause after a fetch that failed; it begins with one and doubles.
pub const JWKS_RETRY_SECONDS_MAX: u64 = 60;

/// In seconds, from accept to the end of the upgrade's head; and again as long until the verdict on the token.
pub const HANDSHAKE_SECONDS: u32 = 10;

/// In seconds of silence before a ping is sent. Proxies cut idle connections at 60 s.
pub const PING_SECONDS: u32 = 25;

/// In seconds that a ping may stay unanswered.
pub const PONG_SECONDS: u32 = 25;

/// In seconds that a peer has to read what is still to be sent to it and to close its half.
pub const CLOSE_SECONDS: u32 = 5;

/// In seconds for a shutdown: draining the ingest, then the outboxes.
pub const SHUTDOWN_SECONDS: u32 = 10;

/// In seconds. The shutdown is one moment for all and not a connection's deadline, so [`DEADLINE_SECONDS_MAX`] does not
/// bound it.
pub const SHUTDOWN_SECONDS_CEILING: u32 = 3_600;

/// In milliseconds without a publisher's message after which the ingest counts as drained. A message that was sent
/// before the signal may still be in the kernel or with libzmq's own thread.
pub const QUIET_MILLISECONDS: u64 = 200;

/// In seconds, the largest of a connection's intervals: handshake, ping, pong and close. A deadline is
/// one byte, its tick modulo 255. A sweep of the deadlines may be late (the process was stopped, many clients fell
/// silent together). When it is more than 255 - 1 - 120 = 134 s late, a deadline that was set just now looks as if it
/// were due.
pub const DEADLINE_SECONDS_MAX: u32 = 120;

/// In events that one turn takes in, over all sources. The events that one topic receives within a turn leave in one
/// write for each member, so this is also the largest burst that is gathered.
pub const TURN_EVENTS_MAX: usize = 1_024;

/// In bytes that one turn takes in, over all sources, so that large events do not make the turn long. One event, or the body of one HTTP request, may exceed it.
pub const TURN_EVENT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// In events of libzmq about connections of publishers, read in one turn over all sources: at an estimated
/// 1 µs each, 1 ms. A publisher that connects, pushes and leaves makes three.
pub const TURN_PEER_EVENTS_MAX: usize = 1_024;

/// In connections that one turn accepts: when all clients come back after a restart, events must not wait for them. At
/// an estimated 10 µs each, 2.6 ms.
pub const TURN_ACCEPTS_MAX: usize = 256;

/// In milliseconds that a connection has for its upgrade, or for its end, before a newcomer can get its place when
/// all places are taken. A request comes right behind its connection; a lost packet is sent again after some 200.
pub const ROOM_MILLISECONDS_MIN: u64 = 250;

/// In connections that one turn ends to make room. They are freed at the end of the turn. Until then there are so many
/// connections more than `connections-max`; they use descriptors of the reserve. At an estimated 15 µs each, 0.5 ms.
pub const TURN_ROOM_MAX: usize = 32;

/// In connections that are remembered because they can be ended to make room. There are two kinds, those without a
/// whole upgrade and those that wait for their end; this bounds each. At 16 bytes each, 1 MiB for each kind.
pub const ROOM_ENTRIES_MAX: usize = 65_536;

/// In nanoseconds, what the reading of one turn may cost. The five estimated prices below count, and not a clock: the
/// same messages cost the same on every machine, and a slower machine takes longer for them.
pub const TURN_READ_COST: usize = 4_000_000;

/// In nanoseconds, one `read()`.
pub const READ_COST: usize = 1_000;

/// In nanoseconds, one byte that was read: copied, unmasked, looked at for UTF-8 and JSON.
pub const READ_BYTE_COST: usize = 2;

/// In nanoseconds, one message of an open session. The most expensive ones are a SUBSCRIBE that makes a topic and the
/// UNSUBSCRIBE that ends it.
pub const MESSAGE_COST: usize = 1_000;

/// In nanoseconds, a look at the head of an upgrade.
pub const HEAD_COST: usize = 10_000;

/// In nanoseconds, one `write()` of answers to a client.
pub const ANSWER_COST: usize = 8_000;

/// In bytes that are read from an open session before it has to wait for all others that became readable: any ordinary
/// message, or the twenty subscriptions of a page. So many bytes of the smallest SUBSCRIBEs take 50 µs.
pub const FIRST_SHARE_BYTES: usize = 1_024;

/// In bytes that are read from a connection with more than its first share, before the next such connection has its
/// share.
pub const SHARE_BYTES: usize = 16 * 1024;

/// In bytes of one read of an open session. It bounds the answers that are written before newswire looks at how many of
/// them the client has taken: the answer to a CALL can be thirty times as long as the CALL.
pub const READ_PIECE_BYTES: usize = 4 * 1024;

/// In bytes of answers that wait for a client. With more, newswire stops reading from the client until it has taken all
/// of them.
pub const ANSWERS_OWED_BYTES_MAX: usize = 4 * 1024;

/// In bytes of answers that are gathered for one write.
pub const ANSWER_BYTES_MAX: usize = 16 * 1024;

/// In bytes that one turn writes from outboxes whose sockets take bytes again: many clients that stalled together read
/// again together. The rest is written in the next turn. At half a nanosecond a byte, 4 ms.
pub const TURN_PAYMENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// In bytes of that budget, the least that one write costs: 512 writes of a few bytes take 4 ms too.
pub const PAYMENT_BYTES_MIN: usize = 16 * 1024;

/// In seconds without taking a byte after which a connection counts as stalled. It matters when some connections have to
/// end because all outboxes together are full. A client that reads steadily takes bytes more often, on any network.
pub const STALLED_SECONDS: u64 = 2;

/// In connections that one search finds as the first to end when all outboxes together are full: at 40 bytes each and
/// twice as many for a while, 1.3 MB. Sorting them takes an estimated 2 ms.
pub const DEBTS_MAX: usize = 16_384;

/// In subscriptions that one turn ends because their connections end: at up to 0.45 µs each, when each topic ends with
/// its subscription, 4 ms.
pub const TURN_LEAVES_MAX: usize = 8_192;

/// In subscriptions of that budget, the cost of freeing a connection: some 15 µs, most of it in the kernel's `close()`.
pub const REAP_LEAVES: usize = 32;

/// In topics for which a SUB socket subscribes one by one. With more topics, or more than [`SUB_TOPIC_BYTES_MAX`], it
/// subscribes to everything, and newswire drops the events that no client wants.
pub const SUB_TOPICS_MAX: usize = 10_000;

/// In bytes of the names of these topics. libzmq keeps a node of 32 bytes for each byte, makes it in some
/// 80 ns, and looks at all of them at once when the connection is lost: some 10 ms.
pub const SUB_TOPIC_BYTES_MAX: usize = 512 * 1024;

/// In subscriptions that a publisher's socket takes in before its program sends something: libzmq's default. When more
/// are to be sent on a new connection, it subscribes to everything until all of them are sent.
pub const SUB_UNREAD_MAX: usize = 1_000;

/// In changes of the wanted topics that are sent to a publisher in one minute. With more, the socket subscribes to
/// everything: libzmq keeps each change for a publisher that does not read.
pub const SUB_CHANGES_MAX: usize = 20_000;

/// In bytes of topics' names in the changes that one turn sends over all SUB sockets: at some 80 ns each, 2.6 ms.
pub const TURN_TOPIC_BYTES_MAX: usize = 32 * 1024;

/// In subscriptions and ends of them that ZeroMQ queues for a publisher. It drops those that find the
/// queue full, without a word. A publisher that reads nothing is cut after [`PUBLISHER_SECONDS`], which
/// touch three minutes of changes, and in which everything can be asked for twice. Where an operator gives
/// publishers much longer, one that reads nothing for five minutes can miss changes.
pub const SUBSCRIPTIONS_QUEUED_MAX: i32 = 100_000;

/// Returns, in bytes, the most memory for one SUB socket when a name has `topic` bytes: the names that were sent or
/// wait for it; and in libzmq the nodes, a table at each place where names differ, and the queue of a publisher that
/// does not read.
pub const fn sub_bytes(topic: usize) -> usize {
    let names = 4 * SUB_TOPIC_BYTES_MAX;
    let nodes = 32 * SUB_TOPIC_BYTES_MAX;
    let tables = 2_048 * SUB_TOPICS_MAX;
    let queue = (topic + 128).saturating_mul(SUBSCRIPTIONS_QUEUED_MAX as usize);
    queue.saturating_add(names + nodes + tables)
}

/// In addresses of one host name that are tried. The name of a service on many hosts has some ten.
pub const NAME_ADDRESSES_MAX: usize = 16;

/// In seconds that a publisher at one address has for the handshake before the next address is tried. The kernel
/// repeats a lost first packet after one second.
pub const DIAL_ATTEMPT_SECONDS: u64 = 3;

/// In seconds that a nameserver has before the addresses of its last answer are tried again.
pub const DIAL_RESOLVE_SECONDS: u64 = 2;

/// In milliseconds, the first pause after a connection to a publisher was lost or all its addresses failed; the pause
/// doubles. A publisher that is restarted is back soon, and what it sends meanwhile is lost.
pub const DIAL_PAUSE_MILLISECONDS: u64 = 100;

/// In seconds, the longest of these pauses. A connection that has lasted for as long makes the next
/// pause the first one again.
pub const DIAL_PAUSE_SECONDS_MAX: u64 = 2;

/// In seconds, the first pause after a peer refused the handshake; the pause doubles. The peer will refuse again: it is
/// another kind of socket, or wants another security mechanism.
pub const DIAL_REFUSED_SECONDS: u64 = 1;

/// In seconds, the longest of these pauses: soon enough after an operator has corrected the peer.
pub const DIAL_REFUSED_SECONDS_MAX: u64 = 60;

/// In milliseconds after which a command that publishes tries the next address of a name too: a server
/// on the same network greets within a few.
pub const DIAL_STAGGER_MILLISECONDS: u64 = 50;

/// In bytes, what the queue between a broker's client and the loop holds, but for its last message. While it is full,
/// the client reads no further.
pub const BROKER_QUEUE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// In bytes of that queue, what a message takes beside its topic and its data.
pub const BROKER_MESSAGE_BYTES: usize = 128;

/// In seconds, how long a broker may take to answer a request, and to let newswire in.
pub const BROKER_ANSWER_SECONDS: u64 = 10;

/// In seconds, the longest pause before newswire connects to a broker again. The first pause is a second, and each is
/// twice the one before.
pub const BROKER_PAUSE_SECONDS_MAX: u64 = 60;

/// In seconds: after a connection that lasted so long, the next pause is a second again.
pub const BROKER_LASTING_SECONDS: u64 = 60;

/// In seconds, how long the end of the process waits for a broker to take the last acknowledgements.
pub const BROKER_GOODBYE_SECONDS: u64 = 2;

/// In seconds, AMQP's heartbeat: a broker that is silent for twice as long is gone.
pub const AMQP_HEARTBEAT_SECONDS: u16 = 15;

/// In seconds: so often newswire declares exchange and bindings again, in case somebody has deleted them.
pub const AMQP_REDECLARE_SECONDS: u64 = 30;

/// In messages, the most that RabbitMQ sends ahead of their acknowledgement.
pub const AMQP_PREFETCH_MAX: u16 = 256;

/// In messages, the least.
pub const AMQP_PREFETCH_MIN: u16 = 16;

/// In bytes: so much, in events of the largest size, RabbitMQ sends ahead of their acknowledgement.
pub const AMQP_PREFETCH_BYTES: usize = 64 * 1024 * 1024;

/// In messages, how many RabbitMQ may send ahead when an event has at most `event_bytes_max` bytes.
pub fn amqp_prefetch(event_bytes_max: usize) -> u16 {
    let messages = u16::try_from(AMQP_PREFETCH_BYTES / event_bytes_max);
    let messages = messages.unwrap_or(AMQP_PREFETCH_MAX);
    messages.clamp(AMQP_PREFETCH_MIN, AMQP_PREFETCH_MAX)
}

/// In seconds that a subscription at a NATS server stays after its topic has lost its last subscriber: as long as the
/// next page takes to load.
pub const NATS_LINGER_SECONDS: u64 = 5;

/// In seconds between two questions to a NATS server whether it is there.
pub const NATS_PING_SECONDS: u64 = 15;

/// In such questions that may be unanswered when the next is due. After that the server is gone.
pub const NATS_PINGS_UNANSWERED_MAX: usize = 2;

/// In bytes, what may wait for a NATS server that does not read: subscriptions, and answers to its PINGs. With more,
/// newswire ends the connection. Without a bound, a server that sends PING after PING could fill the memory.
pub const NATS_UNSENT_BYTES_MAX: usize = 8 * 1024 * 1024;

/// In bytes, the longest line of a NATS server. Its `INFO` names all servers of a cluster.
pub const NATS_LINE_BYTES_MAX: usize = 64 * 1024;

/// In bytes, the longest subject, prefix and topic together. A NATS server takes lines of 4,096.
pub const NATS_SUBJECT_BYTES_MAX: usize = 4_000;

/// In bytes, what is read from a NATS server at once.
pub const NATS_READ_BYTES: usize = 64 * 1024;

/// In bytes, what `newswire publish` writes ahead to a NATS server before it takes a further event.
pub const NATS_PUBLISH_BYTES_MAX: usize = 64 * 1024;

/// In events that `newswire publish` lets wait for a broker, and as many for the broker's confirmation.
pub const BROKER_PUBLISH_WAITING_MAX: usize = 256;

/// In milliseconds between two looks of `newswire publish` at a full queue of events for a broker.
pub const BROKER_PUBLISH_LOOK_MILLISECONDS: u64 = 10;

/// Returns, in bytes, the most memory for one NATS server when an event has at most `event_bytes_max` bytes and a name
/// `topic` bytes: the queue, the event behind it and the one that is being received; the names that were asked for; the
/// changes of a minute on their way to the thread; and what the server does not read, in a buffer that doubles.
pub const fn nats_bytes(event_bytes_max: usize, topic: usize) -> usize {
    let changes = (topic + 128).saturating_mul(SUB_CHANGES_MAX);
    let changes = changes.saturating_add(2 * NATS_UNSENT_BYTES_MAX);
    let names = 8 * SUB_TOPIC_BYTES_MAX + 128 * SUB_TOPICS_MAX;
    let events = BROKER_QUEUE_BYTES_MAX + event_bytes_max + EVENT_BYTES_CEILING;
    changes.saturating_add(names + events)
}

/// In events, how many may wait in a relay for one receiver that does not read. libzmq drops further ones.
pub const RELAY_EVENTS_UNREAD_MAX: i32 = 2_000;

/// In events, how many may wait in a parent for one of its workers: a burst that a busy worker needs some time for. A
/// worker that reads nothing is killed after [`WORKER_SILENT_SECONDS`].
pub const WORKER_EVENTS_UNREAD_MAX: i32 = 20_000;

/// In names, what receivers of a relay may subscribe to. With more of them the relay asks its sources for everything.
pub const RELAY_TOPICS_MAX: usize = 1_000_000;

/// In bytes, all names that receivers of a relay may subscribe to together.
pub const RELAY_TOPIC_BYTES_MAX: usize = 64 * 1024 * 1024;

/// In bytes, one subscription of a receiver: a byte, and the longest name. libzmq ends the connection of a receiver that
/// sends more.
pub const RELAY_SUBSCRIPTION_BYTES_MAX: i64 = 1 + 4_096;

/// In topics whose events are counted by a relay and by its receivers. With more of them both begin anew.
pub const RELAY_TOPICS_COUNTED_MAX: usize = 100_000;

/// In subscriptions of a relay's receivers, how many one turn reads.
pub const TURN_RELAY_SUBSCRIPTIONS_MAX: usize = 1_000;

/// In workers of one parent: more than any machine has cores for.
pub const WORKERS_MAX: usize = 256;

/// In seconds that a worker has to answer its parent. Then an administrator's answer is made without it.
pub const WORKER_ANSWER_SECONDS: u64 = 2;

/// In bytes of one answer of a worker that its parent reads: several times the largest page of a listing.
pub const WORKER_ANSWER_BYTES_MAX: usize = 4 * 1024 * 1024;

/// In topics of one worker that its parent lists, at some 100 bytes each.
pub const WORKER_TOPICS_LISTED_MAX: usize = 100_000;

/// In seconds that a worker has to serve after its start. It may have to ask a database first.
pub const WORKER_READY_SECONDS: u64 = 60;

/// In seconds without an answer after which a worker is killed, as long as the service manager waits for a beat.
pub const WORKER_SILENT_SECONDS: u64 = 30;

/// In seconds before a worker that died is started again, the first time.
pub const WORKER_PAUSE_SECONDS_MIN: u64 = 1;

/// In seconds, the longest such pause.
pub const WORKER_PAUSE_SECONDS_MAX: u64 = 60;

/// In seconds. A worker that has lived so long is started again after the shortest pause.
pub const WORKER_LASTING_SECONDS: u64 = 60;

/// In seconds between two questions to a worker for its figures.
pub const WORKER_ASK_SECONDS: u64 = 1;

/// In bytes of a line that a worker prints for its parent; its last figures have some thousand. The rest of a longer one
/// is thrown away.
pub const WORKER_LINE_BYTES_MAX: usize = 1024 * 1024;

/// In connections for which the start reserves 85 MB of addresses; they take no memory before they are used.
pub const CONNECTIONS_EXPECTED_MAX: usize = 1_000_000;

/// In writes of events in one turn, over all walks: about 9 ms of `send()`. The rest is written in the next turn.
pub const TURN_WRITES_MAX: usize = 2_048;

/// In bytes of events written in one turn, over all walks: the writes of large batches take longer.
pub const TURN_WRITE_BYTES_MAX: usize = 32 * 1024 * 1024;

/// In expired deadlines that one turn handles: clients that came in the same second also fall silent in the same second.
/// Each may be a ping, at an estimated 8 µs, so this is 4 ms.
pub const TURN_EXPIRIES_MAX: usize = 512;

/// In bytes of the one buffer into which all sockets are read.
pub const READ_BUFFER_BYTES: usize = 64 * 1024;

/// In bytes, from which an event gets a batch of its own, made once with its exact size. In a shared batch it would be
/// moved each time the batch grows, and it fills a `send()` alone.
pub const BIG_EVENT_BYTES: usize = 16 * 1024;

/// In bytes, up to which a batch gathers events. With more, a `send()` is not cheaper for each byte.
pub const BATCH_BYTES_MAX: usize = 256 * 1024;

/// In bytes, the merged batches that are kept for members with the same set of topics. When there are more, all are
/// dropped and merged anew.
pub const MERGED_BYTES_MAX: usize = 4 * 1024 * 1024;

/// In bytes of batches that wait for their walk. With more, newswire takes no further events, and publishers wait when
/// ZeroMQ's high-water mark is reached.
pub const PENDING_BYTES_MAX: usize = 32 * 1024 * 1024;

/// In walks that are under way or wait, for the same reason, and because a member of several topics is looked for in
/// each of them.
pub const PENDING_WALKS_MAX: usize = 256;

/// In events, the most that one topic keeps. A page shows some ten, and a subscriber that comes back after a minute has
/// missed some hundred. It bounds one list, so that an edit of one digit does not fill the memory of all topics.
pub const TOPIC_HISTORY_EVENTS_MAX: usize = 100_000;

/// In seconds, the most for the age of kept events: 30 days. They are in memory alone, and a server is restarted more
/// often than that.
pub const TOPIC_AGE_SECONDS_MAX: u32 = 30 * 24 * 3_600;

/// In rules for topics. Each new topic is compared with one after the other, at an estimated 5 ns each.
pub const TOPIC_RULES_MAX: usize = 1_000;

/// In bytes, the kept events of all topics together. With events of 1 kB these are some 60,000.
pub const HISTORY_BYTES_MAX: usize = 64 * 1024 * 1024;

/// In bytes, what a kept event takes beside its topic's name and its data: 32, in a list of which half may be empty;
/// checked by a test.
pub const KEPT_EVENT_BYTES: usize = 64;

/// In bytes, what a topic with kept events takes beside them and its name; checked by a test. Most of it is places in
/// tables that have just doubled, and a first list with room for 4 events.
pub const KEPT_TOPIC_BYTES: usize = 640;

/// Returns, in bytes, the smallest history that holds one event of `event` bytes with a topic of `topic` bytes.
pub const fn history_needed(event: usize, topic: usize) -> usize {
    event + topic + KEPT_EVENT_BYTES + KEPT_TOPIC_BYTES
}

/// In kept events that one turn drops because they are too old, or because of other rules: an estimated 2 ms.
pub const TURN_KEPT_DROPS_MAX: usize = 4_096;

/// Of [`TURN_KEPT_DROPS_MAX`], what it costs to find the rule of a topic after a reload: an estimated 5 µs with
/// [`TOPIC_RULES_MAX`] rules.
pub const TOPIC_RULE_COST: usize = 8;

/// In bytes of kept events that one turn sends again, over all clients, with their [`REPLAY_COST_BYTES`]: some 1 ms.
pub const TURN_REPLAY_BYTES_MAX: usize = 512 * 1024;

/// In bytes of kept events that one client is sent in one step. The last event may pass it.
pub const REPLAY_STEP_BYTES: usize = 64 * 1024;

/// In bytes that a client is owed. With more, it is sent no further kept events.
pub const REPLAY_OWED_BYTES_MAX: usize = 64 * 1024;

/// In bytes of [`TURN_REPLAY_BYTES_MAX`], the cost of a step beside its events: they have to be found, and it is a write.
pub const REPLAY_COST_BYTES: usize = 4 * 1024;

/// In bytes of the same budget, the further cost of each topic that the client waits for.
pub const REPLAY_TOPIC_BYTES: usize = 64;

/// In milliseconds after a connection to a publisher was made. Until they are over, the publisher may not know yet which
/// topics are wanted, and an event that comes does not prove that no other was missed. It is longer than most round trips.
pub const SOURCE_SETTLES_MILLISECONDS: u64 = 200;

/// In topics of which events were missed. With more of them, each client is told so of all its topics.
pub const GAP_TOPICS_MAX: usize = 64;

/// In places of [`TURN_PLACES_MAX`], the cost of telling one client that events of one topic were missed.
pub const GAP_PLACES: u32 = 4;

/// In topics that cost as much as one place when they are looked for among those of a client.
pub const GAP_TOPICS_PER_PLACE: u32 = 4;

/// In seconds, how far back the dashboard shows. The sample of one second takes 112 bytes, and the counters take 1 kB
/// every [`HISTORY_COUNTS_SECONDS`]: 135 kB in all, whatever the server does. GET /history is 64 kB of JSON.
pub const HISTORY_SECONDS: usize = 600;

/// In seconds between two samples of the counters that have reasons.
pub const HISTORY_COUNTS_SECONDS: usize = 10;

/// In connections with a right, for the admin listeners and again for the publish listeners. These are a monitor, a
/// dashboard, some scripts, or publishers. Each may keep its connection and may send a body of
/// [`EVENT_BYTES_CEILING`].
pub const ADMIN_CONNECTIONS_MAX: usize = 64;

/// In connections without a right, for each of these two kinds of listener. Each costs a descriptor of the reserve and
/// at most a head. In a flood of 5,000 connections a second, each has 25 ms to send its request before a newcomer gets
/// its place. A host with few files allows fewer: a third of the reserve without [`OWN_FILES`], which is 8 of 128
/// files, 34 of 512, and 128 from 1,632 on.
pub const ADMIN_STRANGERS_MAX: usize = 128;

/// In seconds from the first byte of such a request's head to its last.
pub const ADMIN_HEAD_SECONDS: u64 = 10;

/// In seconds for the body, of up to [`EVENT_BYTES_CEILING`].
pub const ADMIN_BODY_SECONDS: u64 = 30;

/// In seconds that the client has to read an answer, and that an event may wait for room.
pub const ADMIN_ANSWER_SECONDS: u64 = 30;

/// In seconds without a byte after which a newcomer can get the place of one whose request was admitted: more than
/// the pauses of a loaded network, and few enough to wait for.
pub const ADMIN_STALL_SECONDS: u64 = 5;

/// In seconds without a request after which a kept connection is closed: longer than most monitors'
/// interval of 15 s.
pub const ADMIN_IDLE_SECONDS: u64 = 60;

/// In bytes, the head of such a request, or of the dashboard's WebSocket upgrade. `head-bytes-max` does not bound it,
/// because the browsers of administrators send their cookies too.
pub const ADMIN_HEAD_BYTES_MAX: usize = 8 * 1024;

/// In seconds after its last answer that such a connection is still read; newswire ignores what it reads.
pub const ADMIN_LINGER_SECONDS: u64 = 2;

/// In bytes that a request's body may have beyond one event: the text around the events of a batch.
pub const ADMIN_BODY_SLACK_BYTES: usize = 64 * 1024;

/// In bytes, the body of a request that does not publish.
pub const ADMIN_ORDER_BYTES_MAX: usize = 8 * 1024;

/// In entries of one page of topics or connections.
pub const ADMIN_PAGE_ENTRIES_MAX: usize = 1_000;

/// In entries of one page, when the request names no number.
pub const ADMIN_PAGE_ENTRIES: usize = 100;

/// In bytes, after which a page ends even if it has fewer entries than asked for.
pub const ADMIN_PAGE_BYTES_MAX: usize = 256 * 1024;

/// In topics that the entry of one connection names.
pub const ADMIN_NAMES_MAX: usize = 100;

/// In places of the slab that a page, or one turn of a round over all of them, looks at: at up to 0.2 µs each, when each
/// session has a token of its own, 3 ms.
pub const TURN_PLACES_MAX: u32 = 16_384;

/// In places of that budget, the cost of ending a connection with a Close frame: an estimated 10 µs.
pub const END_PLACES: u32 = 64;

/// In connections that one turn closes for an administrator, and again because they read too slowly: at an
/// estimated 10 µs each, 5 ms.
pub const TURN_DISCONNECTS_MAX: usize = 512;

/// In events of one HTTP request. They are taken in together, in one turn. The last request of a turn may take it
/// over [`TURN_EVENTS_MAX`].
pub const PUBLISH_EVENTS_MAX: usize = 1_024;

/// In bytes that one turn reads from the connections of the admin and publish listeners; and again in bytes that it
/// writes to them.
pub const TURN_ADMIN_BYTES_MAX: usize = 1024 * 1024;

/// In connections that each of the two listeners accepts in one turn: as many as it has places with a right.
pub const TURN_ADMIN_ACCEPTS_MAX: usize = 64;

/// In requests of these connections that one turn carries out. The most expensive one, metrics, takes some 50 µs.
pub const TURN_ADMIN_COMMANDS_MAX: usize = 32;

/// In requests of that budget, the further cost of a page of connections or topics: it looks at up to
/// [`TURN_PLACES_MAX`] places, in 3 ms.
pub const LISTING_COMMANDS: usize = 31;

/// In descriptors that are reserved for everything but clients: standard streams, listeners, ZeroMQ's own, and the
/// connections of publishers.
pub const RESERVED_FILES: usize = 512;

/// In descriptors of the reserve that the program itself opens with one listener, one PULL socket, one admin listener
/// and a terminal.
pub const OWN_FILES: usize = 24;

/// In descriptors, the smallest reserve on a host with few files: [`OWN_FILES`], and some for publishers.
pub const RESERVED_FILES_MIN: usize = 48;

/// In seconds that a refused connection is kept, so that its client can read the refusal before the connection is reset.
/// It costs a descriptor of the reserve.
pub const REFUSED_LINGER_SECONDS: u64 = 1;

/// In connections that wait in the kernel until they are accepted; `net.core.somaxconn` may bound them further.
pub const BACKLOG: i32 = 65_535;

/// In seconds between two log lines about the same reason.
pub const REPORT_SECONDS: u64 = 10;

/// In seconds between two log lines about plain requests without an upgrade, which browsers and the checks of load
/// balancers send.
pub const REPORT_PLAIN_SECONDS: u64 = 3_600;

/// In seconds that a browser remembers the answer to whether a page may publish.
pub const PREFLIGHT_SECONDS: u32 = 600;

/// In addresses of clients that are kept for one reason of refusals until its next log line, at 112 bytes each.
pub const REPORT_ADDRESSES_MAX: usize = 32;

/// In addresses that one such line names, those with the most refusals first: a person reads the line.
pub const REPORT_ADDRESSES_TOLD: usize = 4;

/// In pairs of a denied (or withdrawn) topic and a token's name that are kept for the next log line. A pair has at most
/// [`SAMPLE_BYTES_MAX`] and [`TOKEN_NAME_BYTES_MAX`] bytes.
pub const REPORT_TOPICS_MAX: usize = 8;

/// In bytes of a dropped message, or of a denied topic's name, that the log shows, escaped.
pub const SAMPLE_BYTES_MAX: usize = 80;

/// In connections: far more than one process has been seen to hold.
pub const CONNECTIONS_CEILING: usize = 1 << 24;

/// In bytes: the kernel takes such values as an `i32`.
pub const BYTES_CEILING: usize = 1 << 30;

/// In bytes: half of what the machine can address.
pub const OUTBOXES_BYTES_CEILING: usize = isize::MAX as usize;

/// In bytes, the longest header of a WebSocket frame that the server sends.
const FRAME_HEADER_BYTES: usize = 10;

/// In times, how much longer JSON's escapes may make a topic's name.
const ESCAPED: usize = 6;

/// In bytes, the longest id of an event: an epoch, and a number of up to 20 digits.
const ID_BYTES: usize = 8 + 1 + 20;

/// Returns, in bytes, the longest event of WAMP v1: the frame of `[8,"topic",event]`.
pub const fn wamp1_event_bytes(event: usize, topic: usize) -> usize {
    FRAME_HEADER_BYTES + "[8,\"\",]".len() + ESCAPED * topic + event
}

/// Returns, in bytes, the longest event of WAMP v2: the frame of `[36,subscription,publication,{"x_id":id},[event]]`.
/// Each of the two numbers has up to 20 digits.
pub const fn wamp2_event_bytes(event: usize) -> usize {
    FRAME_HEADER_BYTES + "[36,,,{\"x_id\":\"\"},[]]".len() + 2 * 20 + ID_BYTES + event
}

/// Returns, in bytes, the longest server-sent event.
pub const fn sse_event_bytes(event: usize, topic: usize) -> usize {
    "id: \ndata: {\"topic\":\"\",\"data\":}\n\n".len() + ID_BYTES + ESCAPED * topic + event
}

/// Returns, in bytes, the smallest outbox that holds an event of `event` bytes with a topic of `topic` bytes in every
/// encoding.
pub const fn outbox_needed(event: usize, topic: usize) -> usize {
    let lengths = [
        wamp1_event_bytes(event, topic),
        wamp2_event_bytes(event),
        sse_event_bytes(event, topic),
    ];
    let mut longest = 0;
    let mut at = 0;
    while at < lengths.len() {
        if lengths[at] > longest {
            longest = lengths[at];
        }
        at += 1;
    }
    longest
}

/// In bytes, the most that common clients write around a topic in SUBSCRIBE: WAMP v2, with a number of 16 digits.
pub const SUBSCRIBE_WRAPPING_BYTES: usize =
    "[32, 9007199254740992, {\"match\": \"exact\"}, \"\"]".len();

/// Returns true when a server with these three values can deliver the largest event that it accepts.
pub const fn can_deliver(outbox: usize, event: usize, topic: usize) -> bool {
    outbox >= outbox_needed(event, topic)
}

const _: () = assert!(can_deliver(
    OUTBOX_BYTES_MAX,
    EVENT_BYTES_MAX,
    TOPIC_BYTES_MAX
));
const _: () = assert!(OUTBOXES_BYTES_MAX >= 2 * OUTBOX_BYTES_MAX);
const _: () = assert!(HISTORY_BYTES_MAX >= history_needed(EVENT_BYTES_MAX, TOPIC_BYTES_MAX));
// A turn takes at least one step of small events.
const _: () = assert!(TURN_REPLAY_BYTES_MAX >= REPLAY_STEP_BYTES + REPLAY_COST_BYTES);
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
// A first share holds the frame of any one SUBSCRIBE.
const _: () = assert!(FIRST_SHARE_BYTES >= TOPIC_BYTES_MAX + SUBSCRIBE_WRAPPING_BYTES + 8);
const _: () = assert!(FIRST_SHARE_BYTES <= READ_PIECE_BYTES && READ_PIECE_BYTES <= SHARE_BYTES);
// One share of the smallest messages costs less than a turn's reading.
const _: () = assert!(SHARE_BYTES / 6 * MESSAGE_COST <= TURN_READ_COST);
const _: () = assert!(PING_SECONDS <= DEADLINE_SECONDS_MAX && PONG_SECONDS <= DEADLINE_SECONDS_MAX);
const _: () = assert!(HANDSHAKE_SECONDS <= DEADLINE_SECONDS_MAX);
const _: () = assert!(CLOSE_SECONDS <= DEADLINE_SECONDS_MAX);
const _: () = assert!(SHUTDOWN_SECONDS <= SHUTDOWN_SECONDS_CEILING);
const _: () = assert!(ADMIN_PAGE_ENTRIES <= ADMIN_PAGE_ENTRIES_MAX);
// A dead publisher has to be gone within two minutes.
const _: () = assert!(PUBLISHER_SECONDS < 120);
const _: () = assert!(PUBLISHER_SECONDS <= PUBLISHER_SECONDS_CEILING);
const _: () = assert!(HISTORY_SECONDS.is_multiple_of(HISTORY_COUNTS_SECONDS));
const _: () = assert!(UNACKNOWLEDGED_SECONDS <= UNACKNOWLEDGED_SECONDS_CEILING);
// A sweep may be at least as late as the longest deadline is long.
const _: () = assert!(255 - 1 - DEADLINE_SECONDS_MAX >= DEADLINE_SECONDS_MAX);

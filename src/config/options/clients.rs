//! What clients may use: places, bytes and time.
//!
//! Never here: what a client has to show to be let in (that is `auth`).

use crate::limits;

group! {
    /// What clients may use: places, bytes and time.
    ClientOptions at clients, "Limits of clients" {
        /// Connections at a time. For one more, newswire closes one that waits for its end, or that has sent no
        /// complete request for 0.25 s; when there is none, it answers 503. 0 takes as many as the limit on open
        /// files leaves, and the start prints how many that are.
        #[option("connections-max", "CONNECTIONS", brief("Clients at a time; 0: as many as files allow"))]
        connections_max: usize = number!(Count, 0, 0, limits::CONNECTIONS_CEILING),

        /// Connections at a time of one IPv4 address, or one /64 network of IPv6. 0 sets no bound. That is the
        /// default because behind a proxy all clients have the proxy's address, unless it is a trusted-proxy.
        #[option("connections-per-address-max", "CONNECTIONS")]
        connections_per_address_max: usize = number!(Count, 0, 0, limits::CONNECTIONS_CEILING),

        /// Refused tokens a minute of one IPv4 address, or one /64 network of IPv6; after these it gets 429 for the
        /// rest of the minute. 0 sets no bound. That is the default because pages whose token has expired try again
        /// every few seconds, and behind one address there may be many.
        #[option("refused-tokens-max", "TOKENS")]
        refused_tokens_max: u32 = number!(Count, 0, 0, 1_000_000),

        /// Topics that one connection may subscribe to. A page shows a few lists, a dashboard some hundred.
        #[option("subscriptions-max", "SUBSCRIPTIONS")]
        subscriptions_max: usize = number!(Count, limits::SUBSCRIPTIONS_MAX, 1, 1_000_000),

        /// Size of a topic's name. Names are URIs or words; newswire keeps each live one in memory.
        #[option("topic-bytes-max", "BYTES")]
        topic_bytes_max: usize = number!(Bytes, limits::TOPIC_BYTES_MAX, 1, 4096),

        /// Size of a client's request before it is let in. Cookies come with it and are long; newswire keeps no
        /// more than this of a request that is not complete.
        #[option("head-bytes-max", "BYTES")]
        head_bytes_max: usize = number!(Bytes, limits::HEAD_BYTES_MAX, 256, limits::READ_BUFFER_BYTES),

        /// Size of one message of a client. Clients only name topics, so the default is ample.
        #[option("message-bytes-max", "BYTES")]
        message_bytes_max: usize = number!(Bytes, limits::MESSAGE_BYTES_MAX, 128, 16 << 20),

        /// Size from which on an event's frame is compressed, once for all clients of a protocol whose WebSocket has
        /// permessage-deflate; 0 compresses none. Shorter ones gain little. Do not put a secret and a text of strangers
        /// into one event: docs/security.md says why.
        #[option("compress-min", "BYTES")]
        compress_min: usize = number!(Bytes, limits::COMPRESS_BYTES_MIN, 0, limits::COMPRESS_BYTES_MAX),

        /// What one client may leave unread before newswire closes it as a slow consumer. It has to hold the largest
        /// event.
        #[option("outbox-bytes-max", "BYTES")]
        outbox_bytes_max: usize = number!(Bytes, limits::OUTBOX_BYTES_MAX, 4096, limits::BYTES_CEILING),

        /// What all clients together may leave unread. Over it, newswire closes clients that take nothing first,
        /// then those that are owed most. Lower it on a small machine.
        #[option("outboxes-bytes-max", "BYTES")]
        outboxes_bytes_max: usize = number!(
            Bytes, limits::OUTBOXES_BYTES_MAX, 8192, limits::OUTBOXES_BYTES_CEILING
        ),

        /// Time from the connection to a complete request, and again for the answer to its token. The default is
        /// long enough for a bad mobile link, and short enough that silent strangers hold no place.
        #[option("handshake-timeout", "SECONDS")]
        handshake_seconds: u32 = number!(Seconds, limits::HANDSHAKE_SECONDS, 1, limits::DEADLINE_SECONDS_MAX),

        /// Silence of a client after which newswire pings it. Many proxies cut a connection that is idle for 60 s;
        /// the default is less than half of that.
        #[option("ping-interval", "SECONDS")]
        ping_seconds: u32 = number!(Seconds, limits::PING_SECONDS, 1, limits::DEADLINE_SECONDS_MAX),

        /// Time that a client has to answer a ping; after it newswire takes the client for dead. With the defaults of
        /// this option and ping-interval a dead client is gone within 52 s. Bytes that a client takes are a sign of
        /// life as well, so a slow network is no reason.
        #[option("ping-timeout", "SECONDS")]
        pong_seconds: u32 = number!(Seconds, limits::PONG_SECONDS, 1, limits::DEADLINE_SECONDS_MAX),

        /// Time that a client has to take what it is still owed and to answer a close. The client is leaving anyway,
        /// so the default is short.
        #[option("close-timeout", "SECONDS")]
        close_seconds: u32 = number!(Seconds, limits::CLOSE_SECONDS, 1, limits::DEADLINE_SECONDS_MAX),
    }
}

//! What is counted, declared once: a counter for everything that happens, and a reason for every
//! refusal, drop and close.
//!
//! A name here is the name that operators see (in the log, in the summary, in the metrics), so an entry
//! is added, not renamed.
//!
//! Never here: what the server is *now* (connections open, topics alive); that is asked of its
//! owner.

use std::cell::Cell;

/// Declares an enum whose variants each have a stable name, an index, and a meaning: that is their
/// documentation, which operators read on the dashboard.
macro_rules! reasons {
    ($(#[$doc:meta])* $enum:ident { $($(#[doc = $meaning:literal])+ $variant:ident => $name:literal,)* }) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
        #[repr(u8)]
        pub enum $enum { $($(#[doc = $meaning])+ $variant,)* }

        impl $enum {
            /// All of them, in the order of their declaration.
            pub const ALL: &[Self] = &[$(Self::$variant,)*];
            const COUNT: usize = Self::ALL.len();

            /// The name that operators see.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }

            /// What it means, in a sentence or two.
            pub const fn meaning(self) -> &'static str {
                let lines = match self { $(Self::$variant => concat!($($meaning),+),)* };
                lines.trim_ascii_start()
            }
        }
    };
}

reasons! {
    /// What happened, for whatever needs no reason.
    Counter {
        /// Connections of clients that were accepted.
        Connections => "connections",
        /// Sessions that were opened: WebSockets whose client was welcomed, and streams.
        Handshakes => "handshakes",
        /// Files handed out to pages by the listener for clients.
        FilesServed => "files_served",
        /// GET /healthz answered by the listener for clients.
        HealthChecks => "health_checks",
        /// Browsers answered that asked whether a page may send a token in a header (OPTIONS).
        Preflights => "preflights",
        /// Messages of publishers, good or bad.
        Ingested => "ingested",
        /// Times that a lost connection to a publisher or broker was made again, so that events may be missing which
        /// were published meanwhile. A broker that keeps events for newswire is counted only when it has lost the queue.
        SourceGaps => "source_gaps",
        /// Topics that clients wanted and that a NATS server could not be asked for, because no subject can carry them.
        TopicsNotCarried => "topics_not_carried",
        /// Subscriptions that a NATS server has refused: to a topic, or to everything behind the prefix.
        SubscriptionsRefused => "subscriptions_refused",
        /// Events that a relay has sent and that did not arrive, because this server read too slowly, or was not
        /// connected.
        Missed => "missed",
        /// Messages of publishers that were events.
        Events => "events",
        /// Events handed to a socket of a client or dashboard, or to its outbox.
        Deliveries => "deliveries",
        /// Events handed on to other servers.
        Relayed => "relayed",
        /// Workers that died and were started again.
        WorkerRestarts => "worker_restarts",
        /// First writes of events to sockets.
        Writes => "writes",
        /// Writes that a socket took in part or not at all, because a client reads slowly.
        ShortWrites => "short_writes",
        /// WAMP messages of clients.
        Messages => "messages",
        /// SUBSCRIBEs that made a subscription.
        Subscribes => "subscribes",
        /// SUBSCRIBEs to topics that the token does not allow.
        SubscribesDenied => "subscribes_denied",
        /// Subscriptions ended because the token no longer allows them.
        SubscriptionsWithdrawn => "subscriptions_withdrawn",
        /// UNSUBSCRIBEs that ended a subscription.
        Unsubscribes => "unsubscribes",
        /// Events compressed for clients that inflate, once for each of WAMP v1 and v2.
        EventsCompressed => "events_compressed",
        /// Kept events sent again to clients that came back, or asked for them.
        EventsReplayed => "events_replayed",
        /// PUBLISHes of clients, none of them carried out.
        ClientPublishes => "client_publishes",
        /// CALLs of clients, all answered with an error; those of newswire.js are not among them.
        Calls => "calls",
        /// Questions of newswire.js whether the server still answers, all answered. There are none while events
        /// flow.
        AliveCalls => "alive_calls",
        /// Pings sent because a client was silent; on a stream, comments.
        PingsSent => "pings_sent",
        /// Pings of clients.
        PingsReceived => "pings_received",
        /// Readiness and verdicts for connections that were gone already.
        Stale => "stale",
    }
}

reasons! {
    /// Why a client was refused: with an HTTP status, which [`crate::wire::http`] gives each, or in WAMP v2 when its
    /// upgrade was answered.
    Refusal {
        /// What the client sent is not an HTTP request.
        BadRequest => "bad_request",
        /// The request is over `head-bytes-max`, or has too many header lines.
        HeadTooLarge => "head_too_large",
        /// The method is not GET.
        Method => "method",
        /// The request is not HTTP/1.1. A proxy may need `proxy_http_version 1.1`.
        HttpVersion => "http_version",
        /// The request does not ask for a WebSocket: there is no `Upgrade: websocket`.
        NotUpgrade => "not_upgrade",
        /// There is no `Connection: upgrade`: a proxy may have taken it away.
        NotConnectionUpgrade => "not_connection_upgrade",
        /// `Sec-WebSocket-Key` is missing or is not 16 bytes of base64.
        BadKey => "bad_key",
        /// `Sec-WebSocket-Version` is not 13.
        WebSocketVersion => "websocket_version",
        /// The client offered sub-protocols, but none that newswire speaks.
        Subprotocol => "subprotocol",
        /// A request for server-sent events names no topic, too many, or one that is too long or no UTF-8.
        Topics => "topics",
        /// A request for server-sent events has a `last` that is no whole number.
        Last => "last",
        /// A request for server-sent events names a topic that its token does not allow.
        TopicDenied => "topic_denied",
        /// The page's origin is not in `origin`.
        Origin => "origin",
        /// There is no token, or no store accepts it.
        Token => "token",
        /// No store could say whether the token is good.
        AuthUnavailable => "auth_unavailable",
        /// The request did not come in time.
        Timeout => "timeout",
        /// All places are taken: `connections-max`.
        Full => "full",
        /// All places of the client's address are taken.
        AddressFull => "address_full",
        /// Too many tokens of the client's address were refused in this minute.
        TooManyTokens => "too_many_tokens",
        /// The server is going down.
        ShuttingDown => "shutting_down",
    }
}

impl Refusal {
    /// Returns true when what stands in the client's way may pass, so that the same request may be granted later.
    pub const fn may_pass(self) -> bool {
        match self {
            Self::AuthUnavailable
            | Self::Full
            | Self::AddressFull
            | Self::TooManyTokens
            | Self::ShuttingDown => true,
            Self::BadRequest
            | Self::HeadTooLarge
            | Self::Method
            | Self::HttpVersion
            | Self::NotUpgrade
            | Self::NotConnectionUpgrade
            | Self::BadKey
            | Self::WebSocketVersion
            | Self::Subprotocol
            | Self::Topics
            | Self::Last
            | Self::TopicDenied
            | Self::Origin
            | Self::Token
            | Self::Timeout => false,
        }
    }
}

reasons! {
    /// What a client got when it came back and named the last event that it had.
    Recovery {
        /// Everything since then.
        Recovered => "recovered",
        /// Not everything: the id is one of another run of the server, or of its relay.
        Epoch => "epoch",
        /// Not everything: some of the events since then are not kept any more.
        Floor => "floor",
        /// Not everything: what the client named is no id, or no event has had it.
        Unknown => "unknown",
        /// Not everything: no rule of `topic` keeps events of its topic.
        None => "none",
    }
}

reasons! {
    /// Why a client was told that events were lost to it.
    Gap {
        /// The client read too slowly, and its topic's rule drops events then.
        Slow => "slow",
        /// The server itself has missed events, or may have.
        Upstream => "upstream",
        /// Events left the history before they could be sent to the client.
        History => "history",
    }
}

reasons! {
    /// Why an event that waited for a slow client was dropped. The connection stays.
    SlowDrop {
        /// A newer event of the topic took its place (`slow=latest`).
        Replaced => "replaced",
        /// It was the oldest one in a full outbox (`slow=oldest`, or `slow=latest` with many topics).
        Oldest => "oldest",
    }
}

reasons! {
    /// Why a publisher's message, or an event, went no further.
    Dropped {
        /// The message has no bytes.
        Empty => "empty",
        /// The message is over `event-bytes-max`.
        TooLarge => "too_large",
        /// The request has more events than one may bring.
        TooManyEvents => "too_many_events",
        /// The message has more than two parts.
        Parts => "parts",
        /// The message is not JSON, or not UTF-8.
        BadJson => "bad_json",
        /// The message is JSON, but nothing in it names a topic.
        NoTopic => "no_topic",
        /// The topic's name is over `topic-bytes-max`.
        TopicTooLong => "topic_too_long",
        /// The topic begins with `$`: those are the server's own.
        OwnTopic => "own_topic",
        /// The event is good, but nobody is subscribed to its topic. It came because its publisher was asked
        /// for everything.
        Filtered => "filtered",
        /// The event is good, but nobody is subscribed to its topic.
        NoSubscriber => "no_subscriber",
    }
}

reasons! {
    /// Why a ZeroMQ peer was refused: its connection ended before its handshake succeeded.
    PeerRefusal {
        /// It does not speak ZMTP 3 (an HTTP request, libzmq before 4.0), or its socket is of a kind that
        /// does not fit, such as PUB at PULL. libzmq does not tell these apart.
        WrongProtocol => "wrong_protocol",
        /// It wants another security mechanism than NULL.
        Mechanism => "mechanism",
        /// It speaks ZMTP 3 and breaks its rules.
        Malformed => "malformed",
        /// It refused us.
        Denied => "denied",
        /// It left, or said nothing for too long.
        Incomplete => "incomplete",
    }
}

reasons! {
    /// Why a connection ended. Counted once a connection, when its end begins.
    Close {
        /// The client closed the connection with a Close frame or GOODBYE, as a page does when its user leaves it.
        PeerClosed => "peer_closed",
        /// The client ended the connection without a Close frame: its process or its proxy has gone.
        PeerGone => "peer_gone",
        /// The connection ended without a byte, as the checks of load balancers do.
        Probe => "probe",
        /// The kernel reported an error: a reset, or no sign of life from the network.
        SocketError => "socket_error",
        /// The connection was refused. The reason is counted among the refusals.
        Refused => "refused",
        /// The connection asked for a file, such as `newswire.js`, for `/healthz`, or whether a page may send a token
        /// (OPTIONS), and was answered.
        Served => "served",
        /// The client broke the WebSocket protocol. Close code 1002.
        Protocol => "protocol",
        /// The client sent what is not UTF-8, or no WAMP message. Close code 1007.
        BadMessage => "bad_message",
        /// The client of WAMP v2 was not welcomed within `handshake-timeout`. Close code 1008.
        NotWelcomed => "not_welcomed",
        /// The client sent a message over `message-bytes-max`. Close code 1009.
        MessageTooLarge => "message_too_large",
        /// The client of WAMP v1 has too many subscriptions or prefixes, or a topic is too long. Close code 1008.
        Limit => "limit",
        /// The client read too slowly: its outbox is over `outbox-bytes-max`. Close code 1008.
        SlowConsumer => "slow_consumer",
        /// All outboxes together are over their bound, and this client took nothing, or was owed most.
        OutboxesFull => "outboxes_full",
        /// The client gave no sign of life: it answered no ping (a stream has none), and took no byte of what it was
        /// owed. Its network or its process has gone.
        PingTimeout => "ping_timeout",
        /// Its token has ended, was deleted or was revoked. Close code 3000.
        TokenEnded => "token_ended",
        /// No store could say for `auth-grace` whether its token is still good.
        AuthLost => "auth_lost",
        /// All places were taken, the client had not sent a whole request or not shown a token yet, and a newcomer
        /// needed its place.
        MadeRoom => "made_room",
        /// An administrator ended it. Close code 1008.
        Disconnected => "disconnected",
        /// The server went down.
        Shutdown => "shutdown",
    }
}

reasons! {
    /// Who was asked about a token.
    Store {
        /// What a store has said lately, or is being asked already.
        Cache => "cache",
        /// The tokens of the configuration.
        List => "list",
        /// A file of tokens.
        File => "file",
        /// A JWT's own signature.
        Jwt => "jwt",
        /// An API, over HTTP.
        Http => "http",
        /// A table in PostgreSQL.
        Postgres => "postgres",
    }
}

reasons! {
    /// Which listener a connection for administrators or publishers came in by.
    Door {
        /// The listener of administrators: everything.
        Admin => "admin",
        /// The listener of publishers: `POST /publish` and nothing else.
        Publish => "publish",
    }
}

reasons! {
    /// What was answered.
    Judged {
        /// The token is good.
        Accepted => "accepted",
        /// The token is known, and not good.
        Refused => "refused",
        /// The token is not known there.
        Unknown => "unknown",
        /// There was no answer.
        Unavailable => "unavailable",
    }
}

reasons! {
    /// Why a token was refused.
    Cause {
        /// It has ended.
        Expired => "expired",
        /// An administrator has revoked it.
        Revoked => "revoked",
        /// No store knows it.
        Unknown => "unknown",
        /// There is no token in the request.
        Missing => "missing",
        /// It is a JWT whose `nbf` lies ahead.
        NotYetValid => "not_yet_valid",
        /// It is a JWT that none of the keys has signed, and no other store knows it.
        BadSignature => "bad_signature",
        /// It is a JWT for another audience.
        WrongAudience => "wrong_audience",
        /// It is a JWT of another issuer.
        WrongIssuer => "wrong_issuer",
        /// It is a JWT whose signature is right, and whose header or claims are not.
        Malformed => "malformed",
        /// Its store allows it no topic at all.
        NoTopics => "no_topics",
    }
}

reasons! {
    /// Where an event came in.
    Ingest {
        /// Over ZeroMQ, from publishers that connected.
        Pull => "pull",
        /// Over ZeroMQ, from publishers that were connected to.
        Sub => "sub",
        /// Over AMQP, from a message broker.
        Amqp => "amqp",
        /// From a NATS server.
        Nats => "nats",
        /// Over HTTP.
        Http => "http",
    }
}

reasons! {
    /// What a request to the admin or the publish listener was answered, as HTTP's number for it.
    HttpStatus {
        /// The request was carried out.
        Ok => "200",
        /// A page may ask.
        NoContent => "204",
        /// The WebSocket of the dashboard: the engine answers it.
        SwitchingProtocols => "101",
        /// The request makes no sense.
        BadRequest => "400",
        /// The request needs a token, and has none or a wrong one.
        Unauthorized => "401",
        /// The request comes from a page of another site, which may not ask.
        Forbidden => "403",
        /// There is nothing at this path.
        NotFound => "404",
        /// There is something at this path, but not for this method.
        MethodNotAllowed => "405",
        /// The request did not come in time.
        RequestTimeout => "408",
        /// The request's body has no length.
        LengthRequired => "411",
        /// The request's body, or an event in it, is over its limit.
        ContentTooLarge => "413",
        /// The request does not say that its body is JSON.
        UnsupportedMediaType => "415",
        /// The request's head is over its limit.
        HeadTooLarge => "431",
        /// The request asks for a coding that newswire does not know.
        NotImplemented => "501",
        /// There was no place or no room, or the server was going down.
        ServiceUnavailable => "503",
        /// The request is not HTTP/1.
        HttpVersion => "505",
    }
}

macro_rules! given_or_one {
    () => {
        1
    };
    ($n:ident) => {
        $n
    };
}

/// Declares the counters of a server: those of all families, and beside them what needs no family.
///
/// An entry is the family's name and label, its reasons, the method that counts, and the method that reads how many
/// there were. The first counts one, unless its name is followed by that of a number.
macro_rules! stats {
    ($(
        $(#[$doc:meta])* $family:ident: $name:literal by $label:literal = $reasons:ident,
        $(#[$counts:meta])* $count:ident $(($n:ident))?,
        $(#[$reads:meta])* $read:ident;
    )*) => {
        /// The counters of one server. All start at zero; none ever goes down.
        ///
        /// Everybody who counts has a reference to the same counters (`Rc<Stats>`). A clone is a copy of how they
        /// stand.
        #[derive(Clone, Debug)]
        pub struct Stats {
            counters: [Cell<u64>; Counter::COUNT],
            checks: [[Cell<u64>; Judged::COUNT]; Store::COUNT],
            $($read: [Cell<u64>; $reasons::COUNT],)*
        }

        impl Default for Stats {
            fn default() -> Self {
                Self {
                    counters: zeros(),
                    checks: [const { zeros() }; Store::COUNT],
                    $($read: zeros(),)*
                }
            }
        }

        impl Stats {
            fn cells(&self) -> impl Iterator<Item = &Cell<u64>> {
                let cells = self.counters.iter().chain(self.checks.as_flattened());
                $(let cells = cells.chain(&self.$read);)*
                cells
            }
        }

        impl Stats {$(
            $(#[$counts])*
            pub fn $count(&self, reason: $reasons $(, $n: u64)?) {
                add(&self.$read[reason as usize], given_or_one!($($n)?));
            }

            $(#[$reads])*
            pub fn $read(&self, reason: $reasons) -> u64 {
                self.$read[reason as usize].get()
            }
        )*}

        $(
            $(#[$doc])*
            pub static $family: Family = Family {
                name: $name,
                label: $label,
                read: |stats| {
                    let tally = |&reason: &$reasons| Tally {
                        name: reason.name(),
                        meaning: reason.meaning(),
                        count: stats.$read(reason),
                    };
                    $reasons::ALL.iter().map(tally).collect()
                },
            };
        )*
    };
}

stats! {
    /// Events, by where they came in.
    EVENTS: "events" by "ingest" = Ingest,
    /// Counts an event by where it came in.
    ingested,
    /// How many events came in there.
    events;

    /// Requests to the admin and publish listeners, by the answer.
    ANSWERED: "http" by "code" = HttpStatus,
    /// Counts what a request to the admin or the publish listener was answered.
    answered,
    /// How many requests had this answer.
    answers;

    /// Connections to these listeners that were ended for others.
    MADE_ROOM: "listener_made_room" by "listener" = Door,
    /// Counts a connection to the admin or the publish listener that was ended for another one.
    made_room,
    /// How many connections to this listener were ended for others.
    rooms_made;

    /// Upgrades that were refused.
    REFUSED: "refused" by "result" = Refusal,
    /// Counts a refused upgrade.
    refused,
    /// How many upgrades were refused for this reason.
    refusals;

    /// Tokens that were refused.
    REFUSED_TOKENS: "refused_token" by "cause" = Cause,
    /// Counts why a token was refused. The refused upgrade is counted as well, with [`Refusal::Token`].
    refused_token,
    /// How many tokens were refused for this cause.
    causes;

    /// ZeroMQ peers that were refused.
    REFUSED_PEERS: "refused_peer" by "reason" = PeerRefusal,
    /// Counts a ZeroMQ peer that was refused.
    refused_peer,
    /// How many ZeroMQ peers were refused for this reason.
    peer_refusals;

    /// Messages and events that went no further.
    DROPPED: "dropped" by "reason" = Dropped,
    /// Counts a dropped message or event.
    dropped,
    /// How many messages and events were dropped for this reason.
    drops;

    /// What clients got that came back and named the last event that they had.
    RECOVERIES: "recoveries" by "result" = Recovery,
    /// Counts what such a client got for one subscription; for a stream, once.
    recovery,
    /// How many of them got this.
    recoveries;

    /// Notices of lost events to clients.
    GAPS: "gaps" by "reason" = Gap,
    /// Counts notices of lost events.
    told_gap(notices),
    /// How many notices had this reason.
    gaps;

    /// Events that waited for slow clients, whose connections stay, and were dropped.
    DROPPED_SLOW: "dropped_slow" by "reason" = SlowDrop,
    /// Counts such events of one client.
    dropped_slow(events),
    /// How many were dropped for this reason.
    slow_drops;

    /// Connections that ended.
    CLOSED: "closed" by "reason" = Close,
    /// Counts a connection whose end begins.
    closed,
    /// How many connections ended for this reason.
    closes;
}

const fn zeros<const N: usize>() -> [Cell<u64>; N] {
    [const { Cell::new(0) }; N]
}

/// Adds `n` to a counter.
fn add(counter: &Cell<u64>, n: u64) {
    counter.set(counter.get() + n);
}

impl Stats {
    /// Counts one.
    pub fn count(&self, counter: Counter) {
        self.add(counter, 1);
    }

    /// Counts `n`.
    pub fn add(&self, counter: Counter, n: u64) {
        add(&self.counters[counter as usize], n);
    }

    /// How often `counter` happened.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize].get()
    }

    /// The sum of everything that the log reports: what was refused, dropped, closed or denied. While it stays the same,
    /// nothing of that kind has happened. What slow readers lose is not among it.
    pub fn troubles(&self) -> u64 {
        let counters = [
            Counter::SubscribesDenied,
            Counter::SubscriptionsWithdrawn,
            Counter::Missed,
        ];
        let families: [&[Cell<u64>]; 5] = [
            &self.refusals,
            &self.drops,
            &self.closes,
            &self.peer_refusals,
            &self.rooms_made,
        ];
        let families = families.into_iter().flatten().map(Cell::get);
        let counters = counters.into_iter().map(|counter| self.counter(counter));
        families.chain(counters).sum()
    }

    /// Counts a question about a token, by who answered it and what.
    pub fn checked(&self, store: Store, judged: Judged) {
        add(&self.checks[store as usize][judged as usize], 1);
    }

    /// How often `store` answered `judged`.
    pub fn checks(&self, store: Store, judged: Judged) -> u64 {
        self.checks[store as usize][judged as usize].get()
    }

    /// Returns all counters, in an order of this program's own.
    pub fn values(&self) -> Vec<u64> {
        self.cells().map(Cell::get).collect()
    }

    /// Adds counters in the order of [`Stats::values`].
    pub fn add_values(&self, values: &[u64]) {
        for (cell, &n) in self.cells().zip(values) {
            add(cell, n);
        }
    }

    /// Returns a copy of what is about clients. The parent of a worker counts the rest itself: the events, which come
    /// from it, and what publishers and administrators were answered.
    pub fn of_clients(&self) -> Self {
        let counters = self.counters.clone();
        for counter in [Counter::Ingested, Counter::Events] {
            counters[counter as usize].set(0);
        }
        Self {
            counters,
            checks: self.checks.clone(),
            refusals: self.refusals.clone(),
            causes: self.causes.clone(),
            recoveries: self.recoveries.clone(),
            gaps: self.gaps.clone(),
            slow_drops: self.slow_drops.clone(),
            closes: self.closes.clone(),
            ..Self::default()
        }
    }

    /// Everything that is not zero, as `name=value` pairs: the summary at the end of a run.
    pub fn summary(&self) -> String {
        let counters = Counter::ALL
            .iter()
            .map(|&counter| (counter.name().to_owned(), self.counter(counter)));
        let checks = Store::ALL.iter().flat_map(|&store| {
            Judged::ALL.iter().map(move |&judged| {
                let name = format!("checked.{}.{}", store.name(), judged.name());
                (name, self.checks(store, judged))
            })
        });
        let of = |families: Vec<&'static Family>| {
            families.into_iter().flat_map(move |family| {
                let tallies = family.tallies(self).into_iter();
                tallies.map(move |tally| (format!("{}.{}", family.name, tally.name), tally.count))
            })
        };
        counters
            .chain(of(vec![&EVENTS, &ANSWERED, &MADE_ROOM]))
            .chain(checks)
            .chain(of(vec![
                &REFUSED,
                &REFUSED_TOKENS,
                &REFUSED_PEERS,
                &DROPPED,
                &DROPPED_SLOW,
                &GAPS,
                &RECOVERIES,
                &CLOSED,
            ]))
            .filter(|&(_, value)| value > 0)
            .map(|(name, value)| format!("{name}={value}"))
            .collect::<Vec<_>>()
            .join(" ")
    }
}

/// One of several counters that count the same thing for different reasons.
#[derive(Clone, Copy, Debug)]
pub struct Tally {
    /// The reason's name.
    pub name: &'static str,
    /// What the reason means.
    pub meaning: &'static str,
    /// How often it was counted.
    pub count: u64,
}

/// All counters that count the same thing. The metrics, the dashboard, the log and the summary all show them
/// by their family.
#[derive(Debug)]
pub struct Family {
    /// The name in the summary and on the dashboard.
    pub name: &'static str,
    /// The label of the metric, whose values are the names of the reasons.
    pub label: &'static str,
    read: fn(&Stats) -> Vec<Tally>,
}

impl Family {
    /// Returns one tally for each reason, also for those that never occurred.
    pub fn tallies(&self, stats: &Stats) -> Vec<Tally> {
        (self.read)(stats)
    }

    /// Returns the sum of all counts.
    pub fn total(&self, stats: &Stats) -> u64 {
        self.tallies(stats).iter().map(|tally| tally.count).sum()
    }
}

/// Requests for a session: those that were accepted, and then [`REFUSED`].
pub static HANDSHAKES: Family = Family {
    name: "handshakes",
    label: "result",
    read: |stats| {
        let mut tallies = vec![Tally {
            name: "accepted",
            meaning: "The session was opened: the client was welcomed, or its stream has begun.",
            count: stats.counter(Counter::Handshakes),
        }];
        tallies.extend(REFUSED.tallies(stats));
        tallies
    },
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_names_what_happened_and_nothing_else() {
        let stats = Stats::default();
        assert_eq!(stats.summary(), "");
        stats.add(Counter::Events, 3);
        stats.dropped(Dropped::NoSubscriber);
        stats.closed(Close::SlowConsumer);
        stats.refused(Refusal::Token);
        assert_eq!(
            stats.summary(),
            "events=3 refused.token=1 dropped.no_subscriber=1 closed.slow_consumer=1"
        );
    }

    #[test]
    fn names_are_unique() {
        let lists: [Vec<&str>; 14] = [
            Counter::ALL.iter().map(|c| c.name()).collect(),
            Refusal::ALL.iter().map(|r| r.name()).collect(),
            Cause::ALL.iter().map(|c| c.name()).collect(),
            Dropped::ALL.iter().map(|d| d.name()).collect(),
            PeerRefusal::ALL.iter().map(|r| r.name()).collect(),
            Recovery::ALL.iter().map(|r| r.name()).collect(),
            Gap::ALL.iter().map(|g| g.name()).collect(),
            SlowDrop::ALL.iter().map(|s| s.name()).collect(),
            Close::ALL.iter().map(|c| c.name()).collect(),
            Store::ALL.iter().map(|s| s.name()).collect(),
            Judged::ALL.iter().map(|j| j.name()).collect(),
            Ingest::ALL.iter().map(|i| i.name()).collect(),
            HttpStatus::ALL.iter().map(|s| s.name()).collect(),
            Door::ALL.iter().map(|d| d.name()).collect(),
        ];
        for mut names in lists {
            let count = names.len();
            names.sort_unstable();
            names.dedup();
            assert_eq!(names.len(), count);
        }
    }
}

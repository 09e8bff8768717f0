//! The options, each declared once.
//!
//! From this table follow the flags and their help, the variables, the keys of the file, the
//! defaults, the output of `check`, and the test that compares the README. A new option takes its
//! default in [`crate::limits`] where it is a number; a field of [`super::Config`], and in its
//! `default` a value that the table overwrites; an entry here; a row of the README; and the place
//! that obeys it. The compiler or a test asks for each of these but the last.
//!
//! Never here: where a value came from (that is `merge`), and what the values mean together (that is
//! [`super::Config::check`]).

use std::path::PathBuf;

use super::spec::{Kind, OptionSpec, WhenNone};
use super::values::{self, End, Unit};
use super::{JwtAlgorithm, PullZmtp, ShutdownClose};
use crate::limits;
use crate::wire::token::Token;

/// Pushes what is not there yet: a second listener on the same address could only fail, and a second
/// connection to the same publisher would double every event.
fn push_new<T: PartialEq>(list: &mut Vec<T>, item: T) -> Result<(), String> {
    if list.contains(&item) {
        return Err("this value is given twice".to_owned());
    }
    list.push(item);
    Ok(())
}

fn paths(list: &[PathBuf]) -> Vec<String> {
    list.iter().map(|path| path.display().to_string()).collect()
}

macro_rules! number {
    ($unit:ident, $field:ident, $default:expr, $min:expr, $max:expr) => {
        Kind::Number {
            unit: Unit::$unit,
            default: $default as u64,
            min: $min as u64,
            max: $max as u64,
            get: |config| config.$field as u64,
            set: |config, value| {
                config.$field = value.try_into().expect("a test sets every maximum");
            },
        }
    };
}

const WHERE: &str = "Where events come in and go out";
const STAFF: &str = "Who may administer and publish";
const WHO: &str = "Who may listen";
const TIME: &str = "Time";
const SIZE: &str = "Size and number";
const LOG: &str = "Log and process";

/// All options, in the order in which the help lists them.
pub fn options() -> &'static [OptionSpec] {
    OPTIONS
}

/// The option of that name.
pub fn option(name: &str) -> Option<&'static OptionSpec> {
    OPTIONS.iter().find(|option| option.name == name)
}

static OPTIONS: &[OptionSpec] = &[
    OptionSpec {
        name: "listen",
        value_name: "ADDR:PORT",
        help: "Address on which browsers connect. It speaks plain ws://, so the default stays on this \
               machine, for a proxy that ends TLS; port 0 takes a free one and prints it",
        heading: WHERE,
        secret: false,
        kind: Kind::List {
            default: &["127.0.0.1:8080"],
            none: WhenNone::Refused,
            get: |config| config.listen.iter().map(ToString::to_string).collect(),
            clear: |config| config.listen.clear(),
            add: |config, text| {
                let address = values::address(text)?;
                if address.port() == 0 {
                    config.listen.push(address);
                    return Ok(());
                }
                push_new(&mut config.listen, address)
            },
        },
    },
    OptionSpec {
        name: "pull",
        value_name: "ENDPOINT",
        help: "ZeroMQ PULL endpoint to bind: publishers connect a PUSH socket to it. Whoever reaches it \
               may publish, so the default stays on this machine; `off` binds none",
        heading: WHERE,
        secret: false,
        kind: Kind::List {
            default: &["tcp://127.0.0.1:5555"],
            none: WhenNone::Off,
            get: |config| config.pull.clone(),
            clear: |config| config.pull.clear(),
            add: |config, text| push_new(&mut config.pull, values::endpoint(text, End::Bind)?),
        },
    },
    OptionSpec {
        name: "pull-zmtp",
        value_name: "3|any",
        help: "Versions of ZMTP that publishers may speak to a PULL socket. `3` is libzmq 4.0 and later. `any` \
               lets older ones in, and with them every web page that reaches the port: an HTTP request looks \
               like ZMTP 1.0",
        heading: WHERE,
        secret: false,
        kind: Kind::Word {
            default: "3",
            get: |config| config.pull_zmtp.name().to_owned(),
            set: |config, text| {
                config.pull_zmtp = PullZmtp::ALL
                    .into_iter()
                    .find(|versions| versions.name() == text)
                    .ok_or("`3` or `any` is needed")?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "pull-mode",
        value_name: "MODE",
        help: "Mode of the socket file of an ipc:// PULL endpoint, in octal. Who may write may publish. Empty: \
               the umask decides, or 660 with pull-group",
        heading: WHERE,
        secret: false,
        kind: Kind::Word {
            default: "",
            get: |config| {
                let mode = config.pull_mode;
                mode.map_or(String::new(), |mode| format!("{mode:o}"))
            },
            set: |config, text| {
                config.pull_mode = values::mode(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "pull-group",
        value_name: "GROUP",
        help: "Group of the socket file of an ipc:// PULL endpoint, by name or number. newswire has to be a \
               member of it, or root. Empty: the group that newswire runs as",
        heading: WHERE,
        secret: false,
        kind: Kind::Word {
            default: "",
            get: |config| config.pull_group.clone(),
            set: |config, text| {
                config.pull_group = values::group(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "sub",
        value_name: "ENDPOINT",
        help: "ZeroMQ PUB endpoint to connect a SUB socket to. With PUB, unlike PUSH, each of several \
               servers hears every event; `off` connects to none",
        heading: WHERE,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Off,
            get: |config| config.sub.clone(),
            clear: |config| config.sub.clear(),
            add: |config, text| push_new(&mut config.sub, values::endpoint(text, End::Connect)?),
        },
    },
    OptionSpec {
        name: "admin",
        value_name: "ADDR:PORT",
        help: "Address of the admin listener: metrics, health, connections, publishing by HTTP and the \
               dashboard. On this machine alone it asks for no token, elsewhere it needs admin-token; `off` \
               opens none",
        heading: WHERE,
        secret: false,
        kind: Kind::List {
            default: &["127.0.0.1:8081"],
            none: WhenNone::Off,
            get: |config| config.admin.iter().map(ToString::to_string).collect(),
            clear: |config| config.admin.clear(),
            add: |config, text| push_new(&mut config.admin, values::address(text)?),
        },
    },
    OptionSpec {
        name: "admin-token",
        value_name: "TOKEN",
        help: "Token that the admin listener asks for, as Authorization: Bearer TOKEN. Empty: it asks for \
               none, and newswire refuses an --admin address that other machines reach. Prefer the \
               variable or the file",
        heading: STAFF,
        secret: true,
        kind: Kind::Word {
            default: "",
            get: |config| {
                config
                    .admin_token
                    .as_ref()
                    .map_or(String::new(), Token::reveal)
            },
            set: |config, text| {
                config.admin_token = values::optional_token(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "publish",
        value_name: "ADDR:PORT",
        help: "Address of a listener that takes nothing but events by HTTP (POST /publish), for publishers \
               on other machines, which then need not reach the admin listener; it needs publish-token",
        heading: WHERE,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Off,
            get: |config| config.publish.iter().map(ToString::to_string).collect(),
            clear: |config| config.publish.clear(),
            add: |config, text| push_new(&mut config.publish, values::address(text)?),
        },
    },
    OptionSpec {
        name: "publish-token",
        value_name: "TOKEN",
        help: "Token that POST /publish asks for, as Authorization: Bearer TOKEN. Empty: only those who \
               may use the admin listener may publish, and only there. Prefer the variable or the file",
        heading: STAFF,
        secret: true,
        kind: Kind::Word {
            default: "",
            get: |config| {
                config
                    .publish_token
                    .as_ref()
                    .map_or(String::new(), Token::reveal)
            },
            set: |config, text| {
                config.publish_token = values::optional_token(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "publish-origin",
        value_name: "ORIGIN",
        help: "Origin of pages of another site that may send POST /publish, as browsers send it, such as \
               https://example.com. Such a page needs publish-token too, and whoever uses it can read \
               that token",
        heading: STAFF,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Empty,
            get: |config| config.publish_origins.clone(),
            clear: |config| config.publish_origins.clear(),
            add: |config, text| push_new(&mut config.publish_origins, values::origin(text)?),
        },
    },
    OptionSpec {
        name: "topic-field",
        value_name: "NAME",
        help: "Field that names the topic in an event which is a flat JSON object. The default is the \
               one that Ratchet's push tutorial uses; {\"topic\":…,\"data\":…} is always understood",
        heading: WHERE,
        secret: false,
        kind: Kind::Word {
            default: "category",
            get: |config| config.topic_field.clone(),
            set: |config, text| {
                config.topic_field = values::topic_field(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "token",
        value_name: "TOKEN",
        help: "Token that lets a client listen, as ?token=TOKEN. A command line is visible to every user \
               of the machine: prefer the variable (no commas in a token then) or the file. Without \
               any, one is made for the run and shown at the start, so that no server is open by \
               accident",
        heading: WHO,
        secret: true,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Empty,
            get: |config| config.tokens.iter().map(|token| token.reveal()).collect(),
            clear: |config| config.tokens.clear(),
            add: |config, text| {
                // A forgotten value: the next flag would become a credential that anybody can guess.
                if text
                    .strip_prefix("--")
                    .is_some_and(|name| option(name).is_some())
                {
                    return Err("that is a flag; the token before it is missing".to_owned());
                }
                let token = values::token(text)?;
                push_new(&mut config.tokens, token)
            },
        },
    },
    OptionSpec {
        name: "tokens",
        value_name: "FILE",
        help: "File of tokens, one a line: a token or sha256:HEX of it (`newswire token hash`), then \
               topics=a,b_*, expires=RFC 3339, name=… as wanted. It is read again when it changes, since an \
               editor is the quickest way to add somebody",
        heading: WHO,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Off,
            get: |config| paths(&config.token_files),
            clear: |config| config.token_files.clear(),
            add: |config, text| push_new(&mut config.token_files, values::path(text)?),
        },
    },
    OptionSpec {
        name: "auth-jwt-key",
        value_name: "FILE",
        help: "Key of the JWTs that clients may present: a PEM file with a public key, or the secret of \
               HS256. Several while one replaces another; `off` takes no JWT",
        heading: WHO,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Off,
            get: |config| paths(&config.jwt_keys),
            clear: |config| config.jwt_keys.clear(),
            add: |config, text| push_new(&mut config.jwt_keys, values::path(text)?),
        },
    },
    OptionSpec {
        name: "auth-jwks",
        value_name: "URL",
        help: "Address of a JWK set with the keys of the JWTs that clients may present. It is fetched at the \
               start and again when a token names a key that is not in it; `off` fetches none",
        heading: WHO,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Off,
            get: |config| config.jwks_urls.clone(),
            clear: |config| config.jwks_urls.clear(),
            add: |config, text| push_new(&mut config.jwks_urls, values::web_url(text)?),
        },
    },
    OptionSpec {
        name: "auth-jwt-algorithm",
        value_name: "ALGORITHM",
        help: "Algorithm of the JWTs: HS256, RS256, ES256 or EdDSA. It has no default and is never taken \
               from a token, because a token that chooses it chooses its own key",
        heading: WHO,
        secret: false,
        kind: Kind::Word {
            default: "",
            get: |config| {
                config
                    .jwt_algorithm
                    .map_or("", JwtAlgorithm::name)
                    .to_owned()
            },
            set: |config, text| {
                config.jwt_algorithm = values::jwt_algorithm(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "auth-jwt-audience",
        value_name: "TEXT",
        help: "Audience that a JWT has to name (aud). Empty: newswire does not check it, and also accepts \
               a JWT that was made for another service with the same key",
        heading: WHO,
        secret: false,
        kind: Kind::Word {
            default: "",
            get: |config| config.jwt_audience.clone(),
            set: |config, text| {
                config.jwt_audience = text.to_owned();
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "auth-jwt-issuer",
        value_name: "TEXT",
        help: "Issuer that a JWT has to name (iss). Empty: newswire does not check it, since the key says \
               who made the token",
        heading: WHO,
        secret: false,
        kind: Kind::Word {
            default: "",
            get: |config| config.jwt_issuer.clone(),
            set: |config, text| {
                config.jwt_issuer = text.to_owned();
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "auth-url",
        value_name: "URL",
        help: "Address of the API that is asked about a token: GET with the token as Authorization. 2xx \
               accepts the token; 401, 403 and 404 say that the API does not know it; anything else is no \
               answer. `off` asks none",
        heading: WHO,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Off,
            get: |config| config.auth_urls.clone(),
            clear: |config| config.auth_urls.clear(),
            add: |config, text| push_new(&mut config.auth_urls, values::web_url(text)?),
        },
    },
    OptionSpec {
        name: "auth-scheme",
        value_name: "WORD",
        help: "Word before the token in the Authorization that the API gets, such as Bearer. Empty: the \
               token alone, as Web Publisher's API takes it",
        heading: WHO,
        secret: false,
        kind: Kind::Word {
            default: "",
            get: |config| config.auth_scheme.clone(),
            set: |config, text| {
                config.auth_scheme = values::scheme(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "auth-forward",
        value_name: "client|off",
        help: "What the API is told about who brings a token. `client` sends the client's address \
               (X-Forwarded-For) and its page's Origin, and an answer counts for clients of the same address \
               and page alone; `off` sends neither, so that each token is one question, whoever brings it",
        heading: WHO,
        secret: false,
        kind: Kind::Word {
            default: "client",
            get: |config| {
                if config.auth_forwards_client {
                    "client"
                } else {
                    "off"
                }
                .to_owned()
            },
            set: |config, text| {
                config.auth_forwards_client = match text {
                    "client" => true,
                    "off" => false,
                    _ => return Err("`client` or `off` is needed".to_owned()),
                };
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "auth-postgres",
        value_name: "URL",
        help: "Database that is asked about a token, such as postgres://user:password@host/database. Prefer \
               the variable or the file, because a command line is visible to every user of the machine; \
               `off` asks none",
        heading: WHO,
        secret: true,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Off,
            get: |config| config.postgres_urls.clone(),
            clear: |config| config.postgres_urls.clear(),
            add: |config, text| push_new(&mut config.postgres_urls, values::postgres_url(text)?),
        },
    },
    OptionSpec {
        name: "auth-postgres-query",
        value_name: "SQL",
        help: "Statement with one parameter, the token as text. A row accepts. newswire uses these columns \
               where it has them: name (text), topics (text[]), expires (seconds since 1970, or timestamptz) \
               and token_id (text; what to revoke the token by). The default reads Web Publisher's table",
        heading: WHO,
        secret: false,
        kind: Kind::Word {
            default: "SELECT concat('user ', user_id) AS name, \
                      extract(epoch FROM valid_to::timestamptz)::float8 AS expires \
                      FROM swp_api_key WHERE api_key = $1 AND valid_to >= LOCALTIMESTAMP(0)",
            get: |config| config.postgres_query.clone(),
            set: |config, text| {
                config.postgres_query = values::query(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "auth-postgres-time-zone",
        value_name: "ZONE",
        help: "Time zone of the database session. Web Publisher stores valid_to without one, in that of its \
               PHP (date.timezone), whose own default is UTC",
        heading: WHO,
        secret: false,
        kind: Kind::Word {
            default: "UTC",
            get: |config| config.postgres_time_zone.clone(),
            set: |config, text| {
                config.postgres_time_zone = values::time_zone(text)?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "auth-ca",
        value_name: "FILE",
        help: "PEM file with the authorities whose certificates the API, the JWK set and the database may \
               show. Empty: those that browsers trust, which a server inside a company's network often does \
               not have",
        heading: WHO,
        secret: false,
        kind: Kind::Word {
            default: "",
            get: |config| config.auth_ca.clone(),
            set: |config, text| {
                config.auth_ca = text.to_owned();
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "auth-timeout",
        value_name: "SECONDS",
        help: "Time in which the API or the database has to answer about one token. Less than \
               handshake-timeout, so that a client hears why",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            auth_timeout_seconds,
            limits::AUTH_TIMEOUT_SECONDS,
            1,
            limits::DEADLINE_SECONDS_MAX
        ),
    },
    OptionSpec {
        name: "auth-cache",
        value_name: "SECONDS",
        help: "Time for which an accepted token is good without asking again, so that all the clients that \
               come back after a restart cause one question a token. Never beyond the token's own end; 0 \
               asks for each client",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            auth_cache_seconds,
            limits::AUTH_CACHE_SECONDS,
            0,
            86_400
        ),
    },
    OptionSpec {
        name: "auth-recheck",
        value_name: "SECONDS",
        help: "Time after which the store is asked again about the token of an open session, a tenth more \
               or less so that not all questions come at once. The session of a token that was deleted may \
               go on for that long",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            auth_recheck_seconds,
            limits::AUTH_RECHECK_SECONDS,
            1,
            86_400
        ),
    },
    OptionSpec {
        name: "auth-grace",
        value_name: "SECONDS",
        help: "Time for which an open session stays while no store can say whether its token is still good. \
               Long enough for a restart of the database, and nobody new is let in meanwhile",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            auth_grace_seconds,
            limits::AUTH_GRACE_SECONDS,
            0,
            86_400
        ),
    },
    OptionSpec {
        name: "auth-requests-max",
        value_name: "REQUESTS",
        help: "Questions to one API or database at a time; each takes a thread while it waits. More load \
               than that is rarely welcome there",
        heading: SIZE,
        secret: false,
        kind: number!(Count, auth_requests_max, limits::AUTH_REQUESTS_MAX, 1, 256),
    },
    OptionSpec {
        name: "auth-waiting-max",
        value_name: "REQUESTS",
        help: "Questions that wait for their turn at one API or database; clients beyond get 503. It also \
               bounds what the tokens of all clients that wait may take: 1,600 bytes for each question. Ten \
               thousand different tokens after a restart are a large site",
        heading: SIZE,
        secret: false,
        kind: number!(
            Count,
            auth_waiting_max,
            limits::AUTH_WAITING_MAX,
            1,
            1_000_000
        ),
    },
    OptionSpec {
        name: "origin",
        value_name: "ORIGIN",
        help: "Origin of pages that may connect, as browsers send it, such as https://example.com. Without \
               this option every page with a good token may connect. A client that is no browser sends no \
               Origin, and is not checked for one",
        heading: WHO,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Empty,
            get: |config| config.origins.clone(),
            clear: |config| config.origins.clear(),
            add: |config, text| push_new(&mut config.origins, values::origin(text)?),
        },
    },
    OptionSpec {
        name: "trusted-proxy",
        value_name: "ADDRESS[/BITS]",
        help: "Proxy whose X-Forwarded-For is believed, or a network of them, such as 127.0.0.1 or \
               10.0.0.0/8. Without any the header is ignored, since every client could write it",
        heading: WHO,
        secret: false,
        kind: Kind::List {
            default: &[],
            none: WhenNone::Empty,
            get: |config| {
                config
                    .trusted_proxies
                    .iter()
                    .map(ToString::to_string)
                    .collect()
            },
            clear: |config| config.trusted_proxies.clear(),
            add: |config, text| push_new(&mut config.trusted_proxies, values::network(text)?),
        },
    },
    OptionSpec {
        name: "connections-max",
        value_name: "CONNECTIONS",
        help: "Connections at a time. For one more, newswire closes one that has sent no complete request \
               yet; without one it answers 503. 0 takes as many as the limit on open files leaves, and \
               the start prints how many that are",
        heading: SIZE,
        secret: false,
        kind: number!(Count, connections_max, 0, 0, limits::CONNECTIONS_CEILING),
    },
    OptionSpec {
        name: "connections-per-address-max",
        value_name: "CONNECTIONS",
        help: "Connections at a time of one IPv4 address, or one /64 network of IPv6. 0 sets no bound, and is the default because behind a \
               proxy everybody comes from one address",
        heading: SIZE,
        secret: false,
        kind: number!(
            Count,
            connections_per_address_max,
            0,
            0,
            limits::CONNECTIONS_CEILING
        ),
    },
    OptionSpec {
        name: "refused-tokens-max",
        value_name: "TOKENS",
        help: "Refused tokens a minute of one IPv4 address, or one /64 network of IPv6; after these it gets 429 for the rest of the minute. \
               0 sets no bound, and is the default because pages whose token has expired try again \
               every few seconds, and behind one address there may be many",
        heading: SIZE,
        secret: false,
        kind: number!(Count, refused_tokens_max, 0, 0, 1_000_000),
    },
    OptionSpec {
        name: "handshake-timeout",
        value_name: "SECONDS",
        help: "Time from the connection to a complete request, and again for the answer to its token. Long \
               enough for a bad mobile link, short enough that silent strangers hold no place",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            handshake_seconds,
            limits::HANDSHAKE_SECONDS,
            1,
            limits::DEADLINE_SECONDS_MAX
        ),
    },
    OptionSpec {
        name: "ping-interval",
        value_name: "SECONDS",
        help: "Silence of a client after which it is pinged. Many proxies cut a connection that is idle for \
               60 s; the default is less than half of that",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            ping_seconds,
            limits::PING_SECONDS,
            1,
            limits::DEADLINE_SECONDS_MAX
        ),
    },
    OptionSpec {
        name: "ping-timeout",
        value_name: "SECONDS",
        help: "Time that a client has to answer a ping, after which it is taken for dead. With the defaults \
               of this option and ping-interval a dead client is gone within 52 s. Bytes that it takes are a \
               sign of life as well",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            pong_seconds,
            limits::PONG_SECONDS,
            1,
            limits::DEADLINE_SECONDS_MAX
        ),
    },
    OptionSpec {
        name: "close-timeout",
        value_name: "SECONDS",
        help: "Time that a client has to take what it is still owed and to answer a close. It is leaving \
               anyway, so the default is short",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            close_seconds,
            limits::CLOSE_SECONDS,
            1,
            limits::DEADLINE_SECONDS_MAX
        ),
    },
    OptionSpec {
        name: "shutdown-timeout",
        value_name: "SECONDS",
        help: "Time for a shutdown: the last events are taken in and delivered, then everything ends. Keep it \
               below the patience of your service manager (systemd: 90 s)",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            shutdown_seconds,
            limits::SHUTDOWN_SECONDS,
            1,
            limits::SHUTDOWN_SECONDS_CEILING
        ),
    },
    OptionSpec {
        name: "shutdown-close",
        value_name: "drop|frame",
        help: "How connections end at a shutdown. `drop` ends them without a Close frame, because \
               autobahn.js comes back only after an unclean end; `frame` sends Close 1001 first",
        heading: TIME,
        secret: false,
        kind: Kind::Word {
            default: "drop",
            get: |config| config.shutdown_close.name().to_owned(),
            set: |config, text| {
                config.shutdown_close = ShutdownClose::ALL
                    .into_iter()
                    .find(|way| way.name() == text)
                    .ok_or("`drop` or `frame` is needed")?;
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "unacknowledged-timeout",
        value_name: "SECONDS",
        help: "Time that sent bytes may stay unacknowledged before the kernel gives a client up \
               (TCP_USER_TIMEOUT). The default is as long as the ping's two intervals together",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            unacknowledged_seconds,
            limits::UNACKNOWLEDGED_SECONDS,
            1,
            limits::UNACKNOWLEDGED_SECONDS_CEILING
        ),
    },
    OptionSpec {
        name: "publisher-timeout",
        value_name: "SECONDS",
        help: "Time without an answer after which a ZeroMQ peer, of PULL and of SUB, is dropped. libzmq asks a \
               silent peer after a fifth of it. libzmq before 4.2 does not answer, and connects again each \
               time: set 0, which means never, where that disturbs",
        heading: TIME,
        secret: false,
        kind: number!(
            Seconds,
            publisher_seconds,
            limits::PUBLISHER_SECONDS,
            0,
            limits::PUBLISHER_SECONDS_CEILING
        ),
    },
    OptionSpec {
        name: "head-bytes-max",
        value_name: "BYTES",
        help: "Size of a client's request before it is let in. Cookies come with it and are long; \
               newswire keeps no more than this of a request that is not complete",
        heading: SIZE,
        secret: false,
        kind: number!(
            Bytes,
            head_bytes_max,
            limits::HEAD_BYTES_MAX,
            256,
            limits::READ_BUFFER_BYTES
        ),
    },
    OptionSpec {
        name: "message-bytes-max",
        value_name: "BYTES",
        help: "Size of one message of a client. Clients only name topics, so the default is ample",
        heading: SIZE,
        secret: false,
        kind: number!(
            Bytes,
            message_bytes_max,
            limits::MESSAGE_BYTES_MAX,
            128,
            16 << 20
        ),
    },
    OptionSpec {
        name: "subscriptions-max",
        value_name: "SUBSCRIPTIONS",
        help: "Topics that one connection may subscribe to. A page shows a few lists, a dashboard some \
               hundred",
        heading: SIZE,
        secret: false,
        kind: number!(
            Count,
            subscriptions_max,
            limits::SUBSCRIPTIONS_MAX,
            1,
            1_000_000
        ),
    },
    OptionSpec {
        name: "topic-bytes-max",
        value_name: "BYTES",
        help: "Size of a topic's name. Names are URIs or words; every live one is kept in memory",
        heading: SIZE,
        secret: false,
        kind: number!(Bytes, topic_bytes_max, limits::TOPIC_BYTES_MAX, 1, 4096),
    },
    OptionSpec {
        name: "event-bytes-max",
        value_name: "BYTES",
        help: "Size of one event as it comes in; a larger one is dropped and counted. Real articles reach \
               500 kB. Not over 32 MiB: past 64 MiB ZeroMQ itself cuts the publisher, and nothing would be \
               counted",
        heading: SIZE,
        secret: false,
        kind: number!(
            Bytes,
            event_bytes_max,
            limits::EVENT_BYTES_MAX,
            64,
            limits::EVENT_BYTES_CEILING
        ),
    },
    OptionSpec {
        name: "outbox-bytes-max",
        value_name: "BYTES",
        help: "What one client may leave unread before it is closed as a slow consumer. It has to hold the \
               largest event",
        heading: SIZE,
        secret: false,
        kind: number!(
            Bytes,
            outbox_bytes_max,
            limits::OUTBOX_BYTES_MAX,
            4096,
            limits::BYTES_CEILING
        ),
    },
    OptionSpec {
        name: "outboxes-bytes-max",
        value_name: "BYTES",
        help: "What all clients together may leave unread; over it, newswire closes clients that take nothing \
               first, then those that are owed most. Lower it on a small machine",
        heading: SIZE,
        secret: false,
        kind: number!(
            Bytes,
            outboxes_bytes_max,
            limits::OUTBOXES_BYTES_MAX,
            8192,
            limits::OUTBOXES_BYTES_CEILING
        ),
    },
    OptionSpec {
        name: "unsent-bytes-max",
        value_name: "BYTES",
        help: "What the kernel may hold unsent for one client (TCP_NOTSENT_LOWAT). Without it a client that \
               stalls costs up to 4 MB of the kernel's memory",
        heading: SIZE,
        secret: false,
        kind: number!(
            Bytes,
            unsent_bytes_max,
            limits::UNSENT_BYTES_MAX,
            4096,
            limits::BYTES_CEILING
        ),
    },
    OptionSpec {
        name: "turn-events-max",
        value_name: "EVENTS",
        help: "Events taken in before clients are served again. More of them leave in one write; fewer make \
               a shorter wait for everybody else",
        heading: SIZE,
        secret: false,
        kind: number!(Count, turn_events_max, limits::TURN_EVENTS_MAX, 1, 1 << 20),
    },
    OptionSpec {
        name: "pid-file",
        value_name: "FILE",
        help: "File for the number of the process: written when everything is bound, removed at the end. One \
               that a crash left behind is replaced; one whose process is a newswire that lives is an error. For hosts without a \
               service manager: systemd needs none",
        heading: LOG,
        secret: false,
        kind: Kind::Word {
            default: "",
            get: |config| config.pid_file.clone(),
            set: |config, text| {
                config.pid_file = text.to_owned();
                Ok(())
            },
        },
    },
    OptionSpec {
        name: "log-level",
        value_name: "LEVEL",
        help: "What is logged to standard error: off, error, warn, info, debug or trace. From debug on, \
               the mistakes of each client are logged too",
        heading: LOG,
        secret: false,
        kind: Kind::Word {
            default: "info",
            get: |config| config.log_level.to_string().to_ascii_lowercase(),
            set: |config, text| {
                config.log_level = text
                    .parse()
                    .map_err(|_| "off, error, warn, info, debug or trace is needed")?;
                Ok(())
            },
        },
    },
];

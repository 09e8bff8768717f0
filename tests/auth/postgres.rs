//! Tokens in PostgreSQL. The tests that need a real server start one from Debian's package `postgresql`, which `.ci/run`
//! installs.

#![cfg(feature = "all-stores")]

use std::net::TcpListener;
use std::process::Command;
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use kit::cluster::{Cluster, PASSWORD};
use kit::observe::upgrade;
use kit::port::Port;
use kit::stream::Patient;
use kit::{Client, Server, command_without_token, output_of, wait_until};
use newswire::auth::agent::Trust;
use newswire::auth::postgres::{self, PostgresOptions, PostgresStore};
use newswire::auth::workers::Bounds;
use newswire::auth::{Answer, Moment, TokenStore};
use newswire::config::Config;
use newswire::wire::grant::Grant;
use tungstenite::ClientRequestBuilder;

use super::question;

const BOUNDS: Bounds = Bounds {
    threads: 2,
    waiting_max: 100,
    timeout: Duration::from_secs(10),
};

static TRUST: LazyLock<Trust> = LazyLock::new(|| Trust::load("").expect("it is in the program"));

/// A token as Web Publisher makes them.
const KEY: &str = "MjU2Nzg5+AbC/dEfGhIjKlMnOpQrStUvWxYz0123456789==";

fn options<'a>(url: &'a str, query: &'a str) -> PostgresOptions<'a> {
    PostgresOptions {
        url,
        query,
        time_zone: "UTC",
        trust: &TRUST,
        bounds: BOUNDS,
    }
}

fn start(options: &PostgresOptions<'_>) -> PostgresStore {
    PostgresStore::start(options, Arc::new(|| {})).expect("the options are good")
}

/// What a store says, now or later.
fn ask(store: &mut PostgresStore, token: impl AsRef<[u8]>) -> Answer {
    let mut answer = store.ask(&question(token), Moment::default());
    wait_until("the store answers", || {
        if answer.is_none() {
            answer = store.poll_answer().map(|(_, answer)| answer);
        }
        answer.is_some()
    });
    answer.expect("there is one")
}

/// What it says about the token `k`.
fn say(url: &str, query: &str) -> Answer {
    ask(&mut start(&options(url, query)), "k")
}

fn accepted(name: &str, topics: &[&str], expires_at: Option<u64>) -> Answer {
    Answer::Accepted(Grant {
        name: name.to_owned(),
        topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
        expires_at,
        ..Grant::default()
    })
}

/// The status that an upgrade with `token` gets, and the whole answer.
fn request(server: &Server, token: &str) -> (u16, String) {
    server.ask(&upgrade(&format!("/?token={token}"), ""))
}

/// An open session of `token`.
fn open(server: &Server, token: &str) -> Client {
    let uri = format!("ws://{}/?token={token}", server.address);
    let request = ClientRequestBuilder::new(uri.parse().expect("a URI"));
    let (socket, _) = tungstenite::client(request, Patient(server.connect())).expect("an upgrade");
    let mut client = Client { socket };
    assert!(client.text().starts_with("[0,"));
    client
}

/// The binary, asking the database at `url`. The address does not stand on its command line.
fn serve(url: &str, options: &[&str]) -> Server {
    let mut command = kit::newswire();
    command.env("NEWSWIRE_AUTH_POSTGRES", url);
    let quiet = ["--log-level", "trace", "--auth-cache", "0"];
    Server::start_with(command, &[&quiet, options].concat())
}

/// Makes a key that is good for so many seconds more, as the database has it in UTC.
fn insert(cluster: &Cluster, key: &str, seconds: i32) {
    cluster.sql(&format!(
        "INSERT INTO swp_api_key (user_id, api_key, valid_to)
         VALUES (6, '{key}', (now() AT TIME ZONE 'UTC') + interval '{seconds} s')"
    ));
}

#[test]
fn an_address_that_cannot_be_read_ends_the_start_in_one_line() {
    for url in [
        "postgres://swp:se@same@db.example.com/publisher",
        "postgres://swp:sesame@db.example.com:port/publisher",
        "postgres://swp:sesame@db.example.com/publisher?serverVersion=14",
        "postgres://swp:sesame@db.example.com/publisher?sslmode=verify-full",
        "dbname=publisher password=sesame",
    ] {
        let output = command_without_token(&[])
            .env("NEWSWIRE_AUTH_POSTGRES", url)
            .output()
            .expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success(), "{url}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains("auth-postgres: "), "{said}");
        for word in ["sesame", "same", "swp", "serverVersion"] {
            assert!(!said.contains(word), "{said}");
        }
    }
}

#[test]
fn a_server_that_says_nothing_costs_one_time_out() {
    // It is connected to, by the kernel, and never accepts.
    let silent = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = silent.local_addr().expect("has one").port();
    let url = format!("postgres://swp:sesame@127.0.0.1:{port}/publisher");
    let mut options = options(&url, "SELECT $1");
    options.bounds.timeout = Duration::from_secs(1);
    let answer = ask(&mut start(&options), KEY);
    let expected = "no answer within 1 s (auth-timeout)".to_owned();
    assert_eq!(answer, Answer::Unavailable(expected));
    let warning = postgres::check(&options).expect("it may come");
    let warning = warning.expect("it does not answer");
    let place =
        format!("database=127.0.0.1:{port}/publisher does not answer: no answer within 1 s");
    assert!(warning.contains(&place), "{warning}");
}

#[test]
fn a_server_that_is_not_there_is_no_error_at_the_start() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let port = taken.local_addr().expect("has one").port();
    drop(taken);
    let server = serve(&format!("postgres://swp:sesame@127.0.0.1:{port}/x"), &[]);
    server.wait_for_log(&format!(
        "store=postgres database=127.0.0.1:{port}/x does not answer"
    ));
    let (status, head) = request(&server, KEY);
    assert_eq!(status, 503);
    assert!(head.contains("\r\nRetry-After: "), "{head}");
    assert_eq!(request(&server, kit::TOKEN).0, 101, "the list knows it");
    assert!(!server.log().contains("sesame"), "{}", server.log());
}

#[test]
fn check_says_when_a_database_cannot_be_reached() {
    let nobody = Port::hold();
    let address = nobody.address;
    let url = format!("postgres://swp:sesame@{address}/x");
    let mut command = kit::newswire();
    command.args(["check", "--auth-postgres", &url]);
    let output = output_of(command);
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.success(), "{said}");
    let start =
        format!("newswire: warning: auth: store=postgres database={address}/x does not answer: ");
    assert!(said.starts_with(&start), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains("sesame"), "{said}");
}

#[test]
fn what_no_text_can_be_is_unknown_without_asking() {
    // Nobody listens there: a question would be unavailable.
    let mut store = start(&options("postgres://127.0.0.1:1/x", "SELECT $1"));
    for token in [&b"\xFFkey"[..], b"\0", b"key\0", b"\xC3"] {
        assert_eq!(ask(&mut store, token), Answer::Unknown, "{token:?}");
    }
    assert!(matches!(ask(&mut store, "key"), Answer::Unavailable(_)));
}

/// What needs a real server.
mod postgresql {
    use super::*;

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn a_row_says_what_is_granted() {
        let cluster = Cluster::start(&["timezone=Asia/Tokyo"]);
        let url = cluster.url();
        cluster.sql(
            "CREATE FUNCTION tell(token text) RETURNS text LANGUAGE plpgsql AS
         $$ BEGIN RAISE NOTICE 'it is %', token; RAISE EXCEPTION 'it is %', token; END $$",
        );
        cluster.sql(
            "CREATE FUNCTION tell_as(token text, state text) RETURNS text LANGUAGE plpgsql AS
         $$ BEGIN RAISE EXCEPTION 'it is %', token USING ERRCODE = state, DETAIL = token, HINT = token;
            END $$",
        );
        let moment = "timestamptz '2026-11-24 12:00:00.9+00'";
        for (columns, expected) in [
            ("1", accepted("postgres", &[], None)),
            ("NULL::text AS name", accepted("postgres", &[], None)),
            ("session_user AS name", accepted("swp", &[], None)),
            ("'ann'::char(5) AS name", accepted("ann  ", &[], None)),
            (
                "ARRAY['a', 'b_*'] AS topics",
                accepted("postgres", &["a", "b_*"], None),
            ),
            (
                "ARRAY['a']::varchar[] AS topics",
                accepted("postgres", &["a"], None),
            ),
            ("NULL::text[] AS topics", accepted("postgres", &[], None)),
            (
                "1795521600 AS expires",
                accepted("postgres", &[], Some(1_795_521_600)),
            ),
            (
                "1795521600::int8 AS expires",
                accepted("postgres", &[], Some(1_795_521_600)),
            ),
            (
                "1795521600.9::float8 AS expires",
                accepted("postgres", &[], Some(1_795_521_600)),
            ),
            (
                "1795521600.9 AS expires",
                accepted("postgres", &[], Some(1_795_521_600)),
            ),
            (
                "100000000::numeric AS expires",
                accepted("postgres", &[], Some(100_000_000)),
            ),
            (
                "-5.5::numeric AS expires",
                accepted("postgres", &[], Some(0)),
            ),
            ("NULL::numeric AS expires", accepted("postgres", &[], None)),
            (
                "timestamptz 'infinity' AS expires",
                accepted("postgres", &[], None),
            ),
            (
                "'infinity'::float8 AS expires",
                accepted("postgres", &[], None),
            ),
            // The session is as it was asked for, whatever the database's own settings are.
            (
                "current_setting('TimeZone') AS name",
                accepted("UTC", &[], None),
            ),
            (
                "current_setting('statement_timeout') AS name",
                accepted("10s", &[], None),
            ),
            (
                "current_setting('transaction_read_only') AS name",
                accepted("on", &[], None),
            ),
            (
                "current_setting('application_name') AS name",
                accepted("newswire", &[], None),
            ),
        ] {
            let query = format!("SELECT {columns} WHERE $1 = 'k'");
            assert_eq!(say(&url, &query), expected, "{query}");
        }
        for expires in [moment.to_owned(), format!("extract(epoch FROM {moment})")] {
            let query = format!("SELECT {expires} AS expires WHERE $1 = 'k'");
            assert_eq!(
                say(&url, &query),
                accepted("postgres", &[], Some(1_795_521_600))
            );
        }
        assert_eq!(say(&url, "SELECT 1 WHERE $1 = 'other'"), Answer::Unknown);
        assert_eq!(
            say(
                &url,
                "SELECT n::text AS name FROM generate_series(1, 3) n WHERE $1 = 'k' ORDER BY n DESC"
            ),
            accepted("3", &[], None),
            "of several rows the first counts"
        );
        // None is not all.
        let none = say(
            &url,
            "SELECT 'ann' AS name, ARRAY[]::text[] AS topics WHERE $1 = 'k'",
        );
        assert!(
            matches!(&none, Answer::Refused(_, why) if why.contains("topics is an empty list")),
            "{none:?}"
        );

        for (query, word) in [
            ("SELECT ARRAY['a*b'] AS topics WHERE $1 = 'k'", "pattern 1"),
            ("SELECT ARRAY['a', NULL] AS topics WHERE $1 = 'k'", "topics"),
            ("SELECT 'NaN'::float8 AS expires WHERE $1 = 'k'", "expires"),
            ("SELECT 'NaN'::numeric AS expires WHERE $1 = 'k'", "expires"),
            ("SELECT 1 / (length($1) - 7)", "SQLSTATE 22012"),
            ("SELECT tell($1)", "SQLSTATE P0001"),
        ] {
            let mut store = start(&options(&url, query));
            let token = if query.contains("= 'k'") {
                "k"
            } else {
                "TheSame"
            };
            let Answer::Unavailable(why) = ask(&mut store, token) else {
                panic!("{query} says something");
            };
            assert!(why.contains(word) && !why.contains("TheSame"), "{why}");
        }

        // An error may be raised as one of any class, and quote the token.
        for (state, word) in [
            ("42501", "permission denied (ERROR, SQLSTATE 42501)"),
            ("42883", "a function in it, is wrong"),
            ("53300", "too few resources"),
            ("57014", "cancelled"),
            ("57P03", "SQLSTATE 57P03"),
            ("08006", "connection"),
            ("0A000", "SQLSTATE 0A000"),
            ("25001", "SQLSTATE 25001"),
            ("40001", "SQLSTATE 40001"),
            ("55P03", "SQLSTATE 55P03"),
            ("58030", "SQLSTATE 58030"),
            ("XX000", "SQLSTATE XX000"),
            ("AB123", "SQLSTATE AB123"),
        ] {
            let query = format!("SELECT tell_as($1, '{state}')");
            let answer = ask(&mut start(&options(&url, &query)), "TheSame");
            let Answer::Unavailable(why) = answer else {
                panic!("{query} says something");
            };
            assert!(why.contains(word) && !why.contains("TheSame"), "{why}");
        }

        // Of whatever type the token is there, what is no value of it is no token.
        let id = "8f14e45f-ceea-467f-a8d0-0c2b1f6b7d11";
        for query in [
            format!("SELECT 1 FROM (SELECT uuid '{id}' AS id) key WHERE id = $1"),
            format!("SELECT 1 FROM (SELECT uuid '{id}' AS id) key WHERE id = ($1::text)::uuid"),
        ] {
            let mut store = start(&options(&url, &query));
            assert_eq!(ask(&mut store, id), accepted("postgres", &[], None));
            assert_eq!(ask(&mut store, "no uuid"), Answer::Unknown);
            assert_eq!(ask(&mut store, id), accepted("postgres", &[], None));
        }
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn a_token_is_revoked_in_every_way_that_its_column_takes_it() {
        let cluster = Cluster::start(&[]);
        let id = "8f14e45f-ceea-467f-a8d0-0c2b1f6b7d11";
        cluster.sql(&format!(
            "CREATE TABLE key (id uuid, code char(12)); INSERT INTO key VALUES ('{id}', 'abc'); \
             GRANT SELECT ON key TO swp"
        ));
        let braces = format!("{{{}}}", id.to_ascii_uppercase());
        for (query, spellings) in [
            (
                "SELECT id::text AS token_id FROM key WHERE id = $1",
                [
                    id.to_owned(),
                    id.to_ascii_uppercase(),
                    id.replace('-', ""),
                    braces,
                ],
            ),
            (
                "SELECT code AS token_id FROM key WHERE code = $1",
                ["abc", "abc%20", "abc%20%20%20", "abc%20%20"].map(str::to_owned),
            ),
        ] {
            // The one that the store writes is revoked before anybody comes, the others while they are used.
            for revoked in 0..spellings.len() {
                let options = ["--auth-postgres-query", query];
                let server = serve(&cluster.url(), &options);
                let mut clients: Vec<Client> = match revoked {
                    0 => Vec::new(),
                    _ => spellings.iter().map(|token| open(&server, token)).collect(),
                };
                let revoke = kit::newswire()
                    .args(["token", "revoke", &spellings[revoked], "--admin"])
                    .arg(format!("http://{}/", server.admin.expect("it has one")))
                    .output()
                    .expect("it runs");
                let said = String::from_utf8_lossy(&revoke.stdout).into_owned();
                let sessions = format!("sessions that end: {}", clients.len());
                assert!(said.contains(&sessions), "{revoked}: {said} {revoke:?}");
                for client in &mut clients {
                    assert_eq!(client.close_code(), 3000);
                }
                for token in &spellings {
                    assert_eq!(request(&server, token).0, 401, "{revoked}: {token}");
                }
            }
        }
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn what_cannot_work_is_an_error_at_the_start() {
        let cluster = Cluster::start(&[]);
        let url = cluster.url();
        cluster.sql("CREATE ROLE poor LOGIN PASSWORD 'sesame'");
        let query = Config::default().auth.postgres_query;
        assert_eq!(postgres::check(&options(&url, &query)), Ok(None));

        let poor = format!(
            "postgres://poor:sesame@127.0.0.1:{}/publisher",
            cluster.port
        );
        let wrong = poor.replace("sesame", "wrong-sesame");
        let nowhere = url.replace("/publisher", "/nowhere");
        for (url, query, word) in [
            (
                &url,
                "SELECT 1 FROM no_such_table WHERE api_key = $1",
                "no_such_table",
            ),
            (&url, "SELEKT $1", "syntax error"),
            (&url, "SELECT 1 WHERE '$1' = '$1'", "0 parameters"),
            (
                &url,
                "SELECT valid_to AS expires FROM swp_api_key WHERE api_key = $1",
                "timestamptz",
            ),
            (
                &url,
                "SELECT api_key AS topics FROM swp_api_key WHERE api_key = $1",
                "text[]",
            ),
            (
                &url,
                "SELECT user_id AS name FROM swp_api_key WHERE api_key = $1",
                "name::text",
            ),
            (
                &url,
                "DELETE FROM swp_api_key WHERE api_key = $1",
                "may only read",
            ),
            (&poor, &query, "permission denied"),
            (&wrong, &query, "password"),
            (&nowhere, &query, "nowhere"),
        ] {
            let sentence = postgres::check(&options(url, query)).expect_err(query);
            assert!(sentence.contains(word), "{word}: {sentence}");
            let place = format!("auth-postgres 127.0.0.1:{}/", cluster.port);
            assert!(sentence.starts_with(&place), "{sentence}");
            assert!(
                !sentence.contains("sesame") && !sentence.contains(PASSWORD),
                "{sentence}"
            );
            assert_eq!(sentence.lines().count(), 1);
            // Who gets there all the same, at a reload, hears the same.
            let answer = ask(&mut start(&options(url, query)), "k");
            assert!(
                matches!(&answer, Answer::Unavailable(why) if why.contains(word)),
                "{answer:?}"
            );
        }
        let mut elsewhere = options(&url, &query);
        elsewhere.time_zone = "Europe/Atlantis";
        let sentence = postgres::check(&elsewhere).expect_err("there is none");
        assert!(sentence.contains("Europe/Atlantis"), "{sentence}");

        let output = command_without_token(&[])
            .env("NEWSWIRE_AUTH_POSTGRES", &poor)
            .output()
            .expect("it runs");
        let said = String::from_utf8(output.stderr).expect("text");
        assert!(!output.status.success());
        assert!(
            said.contains("permission denied") && !said.contains("sesame"),
            "{said}"
        );

        // As docs/tokens.md has it.
        cluster.sql("GRANT SELECT (user_id, api_key, valid_to) ON swp_api_key TO poor");
        assert_eq!(postgres::check(&options(&poor, &query)), Ok(None));
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn keys_of_web_publisher_are_judged_as_it_judges_them() {
        let cluster = Cluster::start(&["timezone=Asia/Tokyo"]);
        let (url, query) = (cluster.url(), Config::default().auth.postgres_query);
        insert(&cluster, KEY, 14_400);
        insert(&cluster, "over", -2);
        cluster.sql("INSERT INTO swp_api_key (user_id, api_key) VALUES (7, 'without end')");
        let mut store = start(&options(&url, &query));

        let until = |key: &str, zone: &str| {
            let until = cluster.sql(&format!(
                "SELECT extract(epoch FROM valid_to AT TIME ZONE '{zone}')::int8
             FROM swp_api_key WHERE api_key = '{key}'"
            ));
            until.parse::<u64>().expect("a number")
        };
        assert_eq!(
            ask(&mut store, KEY),
            accepted("user 6", &[], Some(until(KEY, "UTC")))
        );
        assert_eq!(ask(&mut store, "over"), Answer::Unknown);
        assert_eq!(
            ask(&mut store, "without end"),
            Answer::Unknown,
            "as `valid_to >= now` has it"
        );
        let long = "x".repeat(10_000);
        for token in [
            "",
            " ",
            "%",
            "\\",
            "'",
            "' OR '1'='1",
            "x'; DROP TABLE swp_api_key; --",
            "$1",
            "\u{feff}",
            &KEY[1..],
            &KEY.to_lowercase(),
            &format!("{KEY} "),
            &long,
        ] {
            assert_eq!(ask(&mut store, token), Answer::Unknown, "{token}");
        }
        assert_eq!(cluster.sql("SELECT count(*) FROM swp_api_key"), "3");

        // Ten more minutes on a clock in New York, which is hours ago on one in Greenwich.
        cluster.sql(
            "INSERT INTO swp_api_key (user_id, api_key, valid_to)
         VALUES (8, 'york', (now() AT TIME ZONE 'America/New_York') + interval '10 min')",
        );
        assert_eq!(ask(&mut store, "york"), Answer::Unknown);
        let mut there = options(&url, &query);
        there.time_zone = "America/New_York";
        let expected = accepted("user 8", &[], Some(until("york", "America/New_York")));
        assert_eq!(ask(&mut start(&there), "york"), expected);
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn a_connection_that_was_cut_is_made_anew_for_the_same_question() {
        let cluster = Cluster::start(&[]);
        insert(&cluster, KEY, 600);
        let (url, query) = (cluster.url(), Config::default().auth.postgres_query);
        let mut options = options(&url, &query);
        options.bounds.threads = 1;
        let mut store = start(&options);
        assert!(matches!(ask(&mut store, KEY), Answer::Accepted(_)));
        let others = "SELECT count(pg_terminate_backend(pid, 10000)) FROM pg_stat_activity
                  WHERE application_name = 'newswire'";
        assert_eq!(cluster.sql(others), "1");
        assert!(matches!(ask(&mut store, KEY), Answer::Accepted(_)));
        // A prepared statement that does not fit its table any more.
        cluster.sql("ALTER TABLE swp_api_key ALTER COLUMN user_id TYPE bigint");
        assert!(matches!(ask(&mut store, KEY), Answer::Accepted(_)));
        // All these questions were asked on one connection, the last.
        let count = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'newswire'";
        assert_eq!(cluster.sql(count), "1");
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn sessions_end_with_their_key_unless_it_is_extended() {
        let cluster = Cluster::start(&["timezone=Asia/Tokyo"]);
        insert(&cluster, KEY, 600);
        insert(&cluster, "over", -2);
        let server = serve(&cluster.url(), &[]);
        insert(&cluster, "extended", 10);
        insert(&cluster, "ends", 11);
        let mut extended = open(&server, "extended");
        let mut ends = open(&server, "ends");
        let mut stays = open(&server, KEY);
        for (token, status) in [
            (KEY, 101),
            (
                "MjU2Nzg5%2BAbC%2FdEfGhIjKlMnOpQrStUvWxYz0123456789%3D%3D",
                101,
            ),
            ("over", 401),
            ("unknown", 401),
            ("'%20OR%20'1'='1", 401),
            ("%00", 401),
        ] {
            assert_eq!(request(&server, token).0, status, "{token}");
        }
        cluster.sql(
            "UPDATE swp_api_key SET valid_to = valid_to + interval '1 hour' WHERE api_key = 'extended'",
    );
        // The one that is extended ends a second before, so it has been asked about by then.
        assert_eq!(ends.close_code(), 3000);
        assert_eq!(request(&server, "ends").0, 401);
        extended.settle();
        stays.settle();
        assert!(!server.log().contains(KEY), "{}", server.log());

        // Nothing says when a key is deleted: it is asked about every now and then.
        let server = serve(&cluster.url(), &["--auth-recheck", "1"]);
        insert(&cluster, "deleted", 600);
        let mut deleted = open(&server, "deleted");
        let mut stays = open(&server, KEY);
        cluster.sql("DELETE FROM swp_api_key WHERE api_key = 'deleted'");
        assert_eq!(deleted.close_code(), 3000);
        stays.settle();
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn while_the_database_is_away_sessions_stay_and_nobody_new_is_let_in() {
        let mut cluster = Cluster::prepare(&[]);
        let server = serve(&cluster.url(), &["--auth-recheck", "1"]);
        assert_eq!(request(&server, KEY).0, 503, "it is not there yet");
        cluster.resume();
        insert(&cluster, KEY, 600);
        wait_until("it is let in", || request(&server, KEY).0 == 101);
        let mut client = open(&server, KEY);
        client.send("[5,\"t\"]");
        client.settle();

        cluster.stop();
        let (status, head) = request(&server, KEY);
        assert_eq!(status, 503);
        assert!(head.contains("\r\nRetry-After: "), "{head}");
        // Asked about in vain.
        server.wait_for_log("no store can say whether open sessions' tokens are still good");
        let (_context, publisher) = server.publisher();
        publisher
            .send(r#"{"topic":"t","data":1}"#, 0)
            .expect("sent");
        assert_eq!(client.text(), r#"[8,"t",1]"#);
        server.wait_for_log(" is down: ");

        cluster.resume();
        wait_until("it is let in again", || request(&server, KEY).0 == 101);
        server.wait_for_log(" answers again");
        server.wait_for_log("the stores answer again about the tokens of all open sessions");
        client.settle();
        assert_eq!(request(&server, "unknown").0, 401);
        let log = server.log();
        assert!(
            !log.contains(KEY) && !log.contains(PASSWORD) && !log.contains("p%40ss"),
            "{log}"
        );
    }

    /// Accepts every token but `slow`, about which it never says a word.
    const SLEEPY: &str =
        "SELECT CASE WHEN $1 = 'slow' THEN pg_sleep(600)::text END AS name WHERE $1 <> ''";

    /// How many sessions it sleeps in.
    fn sleeping(cluster: &Cluster) -> String {
        cluster.sql("SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn a_statement_that_hangs_delays_nobody_else() {
        let cluster = Cluster::start(&[]);
        let times = ["--handshake-timeout", "120", "--auth-timeout", "119"];
        let options = [&["--auth-postgres-query", SLEEPY], &times[..]].concat();
        let server = serve(&cluster.url(), &options);
        let mut client = open(&server, "quick");
        client.send("[5,\"t\"]");
        client.settle();
        let (_context, publisher) = server.publisher();
        thread::scope(|scope| {
            let slow = scope.spawn(|| request(&server, "slow"));
            wait_until("it sleeps", || sleeping(&cluster) == "1");
            for n in 0..100 {
                let event = format!(r#"{{"topic":"t","data":{n}}}"#);
                publisher.send(&event, 0).expect("sent");
                assert_eq!(client.text(), format!(r#"[8,"t",{n}]"#));
            }
            assert_eq!(request(&server, "another").0, 101);
            assert_eq!(sleeping(&cluster), "1", "all of that happened meanwhile");
            // More than once, where it is asked again on a new connection.
            let cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity
                          WHERE wait_event = 'PgSleep'";
            wait_until("somebody wakes it up", || {
                cluster.sql(cancel);
                slow.is_finished()
            });
            let (status, head) = slow.join().expect("no panic");
            assert_eq!(status, 503, "{head}");
        });
        assert_eq!(request(&server, "another").0, 101);
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn a_statement_that_hangs_is_given_up_on_both_sides() {
        let cluster = Cluster::start(&[]);
        let options = ["--auth-postgres-query", SLEEPY, "--auth-timeout", "2"];
        let server = serve(&cluster.url(), &options);
        let (status, head) = request(&server, "slow");
        assert_eq!(status, 503, "{head}");
        wait_until("the database gives up too", || sleeping(&cluster) == "0");
        assert_eq!(request(&server, "quick").0, 101);
    }

    #[test]
    #[ignore = "needs PostgreSQL's server programs"]
    fn the_way_is_encrypted_where_the_address_says_so() {
        let plain = Cluster::start(&[]);
        let query =
            "SELECT ssl::text AS name FROM pg_stat_ssl WHERE pid = pg_backend_pid() AND $1 = 'k'";
        let required = |url: &str| format!("{url}?sslmode=require");
        assert_eq!(say(&plain.url(), query), accepted("false", &[], None));
        let answer = say(&required(&plain.url()), query);
        assert!(
            matches!(&answer, Answer::Unavailable(why) if why.contains("TLS")),
            "{answer:?}"
        );

        let mut cluster = Cluster::prepare(&[
            "ssl=on",
            "ssl_cert_file=../own.pem",
            "ssl_key_file=../own.key",
        ]);
        let folder = cluster.file("own.ext", "subjectAltName=DNS:db.example.com");
        let folder = folder.parent().expect("has one");
        let make = |arguments: &str| {
            let openssl = Command::new("openssl")
                .args(arguments.split(' '))
                .current_dir(folder)
                .output();
            let output = openssl.expect("openssl runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{arguments}: {said}");
        };
        let key = "-newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes";
        make(&format!(
            "req -x509 {key} -keyout ca.key -out ca.pem -days 2 -subj /CN=authority"
        ));
        make(&format!(
            "req -x509 {key} -keyout other.key -out other.pem -days 2 -subj /CN=other"
        ));
        make(&format!(
            "req {key} -keyout own.key -out own.csr -subj /CN=db"
        ));
        make(
            "x509 -req -in own.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2 -extfile own.ext -out own.pem",
        );
        for name in ["own.key", "own.pem"] {
            cluster.give(&folder.join(name));
        }
        cluster.resume();

        let (ca, other) = (folder.join("ca.pem"), folder.join("other.pem"));
        let ask_as = |host: &str, mode: &str, ca: &str| {
            let url = cluster.url().replace("@127.0.0.1", &format!("@{host}"));
            let url = format!("{url}?hostaddr=127.0.0.1&sslmode={mode}");
            let trust = Trust::load(ca).expect("authorities");
            let mut options = options(&url, query);
            options.trust = &trust;
            ask(&mut start(&options), "k")
        };
        let (ca, other) = (ca.to_str().expect("text"), other.to_str().expect("text"));
        assert_eq!(
            ask_as("db.example.com", "require", ca),
            accepted("true", &[], None)
        );
        assert_eq!(
            ask_as("db.example.com", "prefer", ca),
            accepted("true", &[], None)
        );
        assert_eq!(
            ask_as("db.example.com", "disable", ca),
            accepted("false", &[], None)
        );
        for (host, ca) in [
            ("db.example.com", other),
            ("db.example.com", ""),
            ("localhost", ca),
        ] {
            let answer = ask_as(host, "require", ca);
            let is_refused =
                matches!(&answer, Answer::Unavailable(why) if why.contains("certificate"));
            assert!(is_refused, "{host} {ca}: {answer:?}");
        }
    }
}

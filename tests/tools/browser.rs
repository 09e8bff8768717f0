//! Pages in a real browser, and the real binary: the client that newswire serves, and pages that were
//! there before it. Each page is of another origin than the server, as most are.
//!
//! Ignored where there is no Chromium; `.ci/run` installs it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use kit::browser::{Browser, Page, Site};
use kit::observe::{envelope, publish_all};
use kit::port::Place;
use kit::scratch::File;
use kit::scripts::{replaced, snippet};
use kit::{Server, TOKEN, wait_until};

use super::proxy::Proxy;

/// Publishes to most pages' topic until the page has said `expected` of it.
fn is_heard(server: &Server, page: &mut Page, data: &str, expected: &str) {
    hears(server, page, "package_created", data, expected);
}

/// Publishes until the page has said `expected` of it: it need not be subscribed yet.
fn hears(server: &Server, page: &mut Page, topic: &str, data: &str, expected: &str) {
    let (_context, socket) = server.publisher();
    let envelope = envelope(topic, data);
    page.wait_until(expected, |page| {
        socket.send(&envelope, 0).expect("it has a server");
        page.has_said(expected)
    });
}

/// Shows a page, in which `HOST` and `TOKEN` are those of the server.
fn show(browser: &mut Browser, server: &Server, html: &str) -> Page {
    let html = html.replace("HOST", &server.address.to_string());
    let html = html.replace("TOKEN", TOKEN);
    let site = Site::start(&[("/", &html)]);
    let mut page = browser.page();
    page.navigate(&site.url("/"));
    page
}

/// As pages were written for autobahn.js 0.8 and this push server: the token as it is, nothing before
/// the query, and a check that was to be skipped.
const SESSION_PAGE: &str = r#"<!DOCTYPE html>
<title>Packages</title>
<div id="ab"></div>
<script language="javascript" type="text/javascript" src="http://HOST/newswire.js"></script>
<script>
    var session = new ab.Session('ws://HOST?token=TOKEN',
        function() {
            session.subscribe('package_created', function(topic, data) {
                console.log(topic + ' brought "' + data.title + '"');
            });
        },
        function(code) {
            console.warn('closed: ' + (code === ab.CONNECTION_LOST));
        },
        {'skipSubprotocolCheck': true}
    );
</script>
"#;

/// A page with the browser's own `EventSource`.
const EVENT_SOURCE_PAGE: &str = r#"<!DOCTYPE html>
<script>
  const url = new URL("http://HOST/");
  url.searchParams.set("token", "TOKEN");
  url.searchParams.append("topic", "package_created");
  const source = new EventSource(url);
  source.onopen = () => console.log("open");
  source.onerror = () => console.log("error", source.readyState);
  source.onmessage = (message) => {
    const { topic, data } = JSON.parse(message.data);
    console.log(topic, data);
  };
</script>"#;

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_an_event_source_listens_and_comes_back() {
    let tokens = kit::scratch::File::new("event-source", "of-the-page\n");
    let place = Place::hold();
    let options = ["--tokens", tokens.path()];
    let server = place.start(&options);
    let mut browser = Browser::start();
    let html = EVENT_SOURCE_PAGE.replace("TOKEN", "of-the-page");
    let mut page = show(&mut browser, &server, &html);
    page.wait_until("open", |page| page.has_said("log: open"));
    is_heard(&server, &mut page, "1", "log: package_created 1");
    // Line breaks are kept, and no event is taken for one of the browser's own.
    let text = r#"{"n":2,"text":"a\nb"}"#;
    let heard = "log: package_created {n: 2, text: a\nb}";
    is_heard(&server, &mut page, text, heard);

    // CONNECTING is 0: the browser comes back by itself.
    server.signal("KILL");
    server.wait();
    page.wait_until("the end of the stream", |page| {
        page.has_said("log: error 0")
    });
    let server = place.start(&options);
    is_heard(&server, &mut page, "3", "log: package_created 3");

    // CLOSED is 2: the token is no longer good, and the browser stays away.
    tokens.replace("# nobody\n");
    page.wait_until("the refusal", |page| page.has_said("log: error 2"));
    server.stop();
}

/// What a page says of a WebSocket that its browser compresses: each event's number, and how long its text was.
const COMPRESSED_PAGE: &str = r#"<!DOCTYPE html>
<script>
  const socket = new WebSocket("ws://HOST/?token=" + encodeURIComponent("TOKEN"), "wamp");
  socket.onopen = () => {
    console.log(socket.extensions.split(";")[0]);
    socket.send('[5,"package_created"]');
  };
  socket.onmessage = ({ data }) => {
    const event = JSON.parse(data);
    if (event[0] === 8) console.log("heard", event[2].n, event[2].text.length);
  };
</script>"#;

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_events_come_compressed() {
    let server = Server::start(&[]);
    let mut browser = Browser::start();
    let mut page = show(&mut browser, &server, COMPRESSED_PAGE);
    page.wait_until("the extension", |page| {
        page.has_said("log: permessage-deflate")
    });
    is_heard(&server, &mut page, r#"{"n":0,"text":""}"#, "log: heard 0 0");
    for (n, words) in [(1, 300), (2, 2_000), (3, 50_000)] {
        let text = "breaking news ".repeat(words);
        let data = format!("{{\"n\":{n},\"text\":\"{text}\"}}");
        let expected = format!("log: heard {n} {}", text.len());
        is_heard(&server, &mut page, &data, &expected);
    }
    server.stop();
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_a_page_made_for_autobahn_needs_another_src_and_nothing_else() {
    let server = Server::start(&[]);
    let mut browser = Browser::start();
    let mut page = show(&mut browser, &server, SESSION_PAGE);
    let expected = r#"log: package_created brought "Café""#;
    is_heard(&server, &mut page, r#"{"title":"Caf\u00e9"}"#, expected);
    // A session ends with its server.
    server.stop();
    page.wait_until("it is told", |page| page.has_said("warning: closed: true"));
    let said = page.console().to_vec();
    assert!(
        said.iter().all(|line| !line.starts_with("thrown: ")),
        "{said:?}"
    );
}

const CONNECT_PAGE: &str = r#"<!DOCTYPE html>
<script src="http://HOST/newswire.js"></script>
<script>
    ab.connect('ws://HOST/?token=TOKEN',
        function(session) {
            session.prefix('package', 'package_');
            session.subscribe('package:created', function(topic, data) { console.log(topic, data); });
            session.call('http://example.com/rpc', 1).then(console.log, function(error) {
                console.log('refused: ' + error.uri);
            });
            session.publish('package:created', 'from a page');
        },
        function(code, reason, detail) { console.log('hangup ' + code, detail); }
    );
</script>
"#;

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_ab_connect_is_back_five_seconds_after_a_restart() {
    let place = Place::hold();
    let server = place.start(&[]);
    let mut browser = Browser::start();
    let mut page = show(&mut browser, &server, CONNECT_PAGE);
    is_heard(&server, &mut page, r#"{"n":1}"#, "package_created {n: 1}");
    page.wait_until("its call", |page| {
        page.has_said("log: refused: http://example.com/rpc")
    });
    let summary = server.stop();
    assert!(summary.contains(" client_publishes=1 "), "{summary}");
    let hangup = "log: hangup 6 {delay: 5000, retries: 1, maxretries: 10}";
    page.wait_until(hangup, |page| page.has_said(hangup));
    let server = place.start(&["--shutdown-close", "frame"]);
    is_heard(&server, &mut page, r#"{"n":2}"#, "package_created {n: 2}");
    assert!(!page.has_said("from a page"));
    // A clean end is meant so.
    server.stop();
    page.wait_until("a clean end", |page| {
        page.has_said("log: hangup 0 undefined")
    });
}

/// What Superdesk's own client does, in short: no sub-protocol, the token as it is, a space in its
/// SUBSCRIBE, and back after 5 s whatever has happened.
const SUPERDESK_PAGE: &str = r#"<!DOCTYPE html>
<script>
    function connect() {
        var socket = new WebSocket('ws://HOST/?token=TOKEN');
        socket.onmessage = function(message) {
            var data = JSON.parse(message.data);
            if (data[0] === 0) {
                socket.send('[5, "package_created"]');
            } else if (data[0] === 8 && data[2].package) {
                console.log(data[2].state + ' of package ' + data[2].package.id);
            }
        };
        socket.onclose = function() { setTimeout(connect, 5000); };
    }
    connect();
</script>
"#;

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_superdesks_client_hears_packages_before_and_after_a_restart() {
    let place = Place::hold();
    let server = place.start(&[]);
    let mut browser = Browser::start();
    let mut page = show(&mut browser, &server, SUPERDESK_PAGE);
    let data = r#"{"package":{"id":6,"guid":"urn:newsml:x"},"state":"create"}"#;
    is_heard(&server, &mut page, data, "log: create of package 6");
    server.signal("KILL");
    server.wait();
    let server = place.start(&[]);
    let data = r#"{"package":{"id":7},"state":"update"}"#;
    is_heard(&server, &mut page, data, "log: update of package 7");
}

const MODULE_PAGE: &str = r#"<!DOCTYPE html>
<script type="module">
    import { connect, ab } from "http://HOST/newswire.mjs";
    let asked = 0;
    window.push = connect({
        url: "ws://HOST/any/path",
        token: async () => { asked += 1; return "TOKEN"; },
        retryDelay: 100,
        retryDelayMax: 500,
    });
    for (const state of ["open", "waiting", "closed"]) {
        push.addEventListener(state, ({ detail }) => console.log(state, detail?.code ?? asked));
    }
    push.subscribe("package_created", (data, topic) => console.log(topic, data));
    await push.ready;
    console.log("ready", typeof window.newswire, typeof window.ab, typeof ab.Session);
</script>
"#;

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_the_module_makes_no_globals_and_outlives_its_server() {
    let place = Place::hold();
    let server = place.start(&[]);
    let mut browser = Browser::start();
    let mut page = show(&mut browser, &server, MODULE_PAGE);
    is_heard(&server, &mut page, r#"{"n":1}"#, "package_created {n: 1}");
    let ready = "log: ready undefined undefined function";
    page.wait_until(ready, |page| page.has_said(ready));
    server.stop();
    page.wait_for("push.state === 'waiting'");
    assert!(page.has_said("log: waiting 1006"));
    let server = place.start(&[]);
    is_heard(&server, &mut page, r#"{"n":2}"#, "package_created {n: 2}");
    page.evaluate("push.close()");
    assert!(page.has_said("log: closed 1000"));
    let summary = server.stop();
    assert!(summary.contains(" closed.peer_closed=1"), "{summary}");
}

/// A way to a server that can fall silent: nothing goes through any more, and nobody is told.
struct Path {
    address: SocketAddr,
    /// How many connections were made.
    made: Arc<AtomicUsize>,
    /// How many of these, the first ones, are silent.
    silent: Arc<AtomicUsize>,
}

impl Path {
    fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let path = Self {
            address: listener.local_addr().expect("bound"),
            made: Arc::default(),
            silent: Arc::default(),
        };
        let (made, silent) = (Arc::clone(&path.made), Arc::clone(&path.silent));
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let number = made.fetch_add(1, Ordering::SeqCst);
                let there = TcpStream::connect(server).expect("the server listens");
                let back = there.try_clone().expect("a descriptor");
                let here = client.try_clone().expect("a descriptor");
                for (from, to) in [(client, there), (back, here)] {
                    let silent = Arc::clone(&silent);
                    thread::spawn(move || {
                        carry(from, to, || number < silent.load(Ordering::SeqCst))
                    });
                }
            }
        });
        path
    }

    /// Makes all connections silent that there are; others can be made.
    fn fall_silent(&self) {
        self.silent
            .store(self.made.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// Carries bytes, until one of the two ends. What is silent stays open until the tests end.
fn carry(mut from: TcpStream, mut to: TcpStream, is_silent: impl Fn() -> bool) {
    let mut buffer = [0; 4_096];
    loop {
        let read = from.read(&mut buffer).unwrap_or(0);
        if is_silent() {
            std::mem::forget((from, to));
            return;
        }
        if read == 0 || to.write_all(&buffer[..read]).is_err() {
            let _ = to.shutdown(std::net::Shutdown::Both);
            return;
        }
    }
}

/// A page that comes through a path, and says each state with its reason.
const FAR_PAGE: &str = r#"<!DOCTYPE html>
<script src="http://HOST/newswire.js"></script>
<script>
    window.push = newswire.connect({ url: "ws://PATH/", token: "TOKEN", retryDelay: 100 });
    for (const state of ["open", "waiting"]) {
        push.addEventListener(state, ({ detail }) => console.log(state, detail?.code ?? "", detail?.reason ?? ""));
    }
    push.subscribe("package_created", (data, topic) => console.log(topic, data));
</script>
"#;

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_a_path_that_fell_silent_is_left_when_the_network_is_back() {
    let server = Server::start(&["--ping-interval", "120"]);
    let path = Path::to(server.address);
    let html = FAR_PAGE.replace("PATH", &path.address.to_string());
    let mut browser = Browser::start();
    let mut page = show(&mut browser, &server, &html);
    is_heard(&server, &mut page, r#"{"n":1}"#, "package_created {n: 1}");
    // A path that is alive is kept, whatever happens to the page.
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))");
    wait_until("the answer", || {
        server.metric("newswire_alive_calls_total") == 1.0
    });
    path.fall_silent();
    page.offline(true);
    page.offline(false);
    page.wait_until("the end", |page| {
        page.has_said("log: waiting 1006 no answer")
    });
    is_heard(&server, &mut page, r#"{"n":2}"#, "package_created {n: 2}");
    assert_eq!(server.metric("newswire_calls_total"), 0.0);
    server.stop();
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_a_path_that_falls_silent_is_left_after_a_while() {
    let server = Server::start(&["--ping-interval", "120"]);
    let path = Path::to(server.address);
    let html = FAR_PAGE.replace("PATH", &path.address.to_string());
    // In the page's time, a minute passes in two seconds.
    let fast =
        "<script>const slow = setTimeout; setTimeout = (f, time) => slow(f, time / 30);</script>";
    let html = html.replace("<!DOCTYPE html>", &format!("<!DOCTYPE html>{fast}"));
    let mut browser = Browser::start();
    let mut page = show(&mut browser, &server, &html);
    is_heard(&server, &mut page, r#"{"n":1}"#, "package_created {n: 1}");
    // The server is silent, and answers.
    wait_until("three questions", || {
        server.metric("newswire_alive_calls_total") >= 3.0
    });
    assert!(!page.has_said("log: waiting"));
    path.fall_silent();
    page.wait_until("the end", |page| {
        page.has_said("log: waiting 1006 no answer")
    });
    is_heard(&server, &mut page, r#"{"n":2}"#, "package_created {n: 2}");
    server.stop();
}

/// A page that says what becomes of its subscriptions, and counts the rejections that nobody handles.
const SUBSCRIBING_PAGE: &str = r#"<!DOCTYPE html>
<script src="http://HOST/newswire.js"></script>
<script>
    let asked = 0, unhandled = 0;
    window.addEventListener("unhandledrejection", () => { unhandled += 1; });
    window.push = newswire.connect({
        url: "ws://PROXY/push/",
        token: () => { asked += 1; return "sesame"; },
        ticket: TICKET,
        retryDelay: 100,
        retryDelayMax: 500,
    });
    for (const state of ["open", "waiting", "closed"]) {
        push.addEventListener(state, ({ detail }) => console.log(state, detail?.code ?? asked));
    }
    push.addEventListener("denied", ({ detail }) => console.log("denied", detail.topic, detail.reason));
    window.subscribe = (topic) => {
        push.subscribe(topic, (data) => console.log("heard", topic, data)).then(
            () => console.log("has", topic),
            (error) => console.log("has not", topic, error.reason, error instanceof Error),
        );
        push.subscribe(topic, () => {});
    };
    for (const topic of ["a", "x", "b"]) subscribe(topic);
</script>
"#;

/// Opens a page at a server that is behind a proxy. The page's token allows the topics `a`, `b` and `c`, and the page says
/// what became of each that it wanted.
fn show_subscribing(browser: &mut Browser, server: &Server, proxy: &Proxy, ticket: bool) -> Page {
    let html = SUBSCRIBING_PAGE.replace("PROXY", &proxy.address.to_string());
    let html = html.replace("TICKET", &ticket.to_string());
    let mut page = show(browser, server, &html);
    for line in [
        "log: has a",
        "log: has b",
        "log: has not x wamp.error.not_authorized true",
        "log: denied x wamp.error.not_authorized",
    ] {
        says(&mut page, line);
    }
    page
}

/// Waits for a line of the page's console.
fn says(page: &mut Page, line: &str) {
    page.wait_until(line, |page| page.has_said(line));
}

/// The page hears numbers of a topic, each once and in their order.
fn hears_in_order(server: &Server, page: &mut Page, topic: &str) {
    let numbers: Vec<String> = (1..=100).map(|n| n.to_string()).collect();
    let envelopes = numbers.iter().map(|n| envelope(topic, n));
    publish_all(&server.pull, envelopes);
    let start = format!("log: heard {topic} ");
    says(page, &format!("{start}100"));
    let heard: Vec<String> = (page.console().iter())
        .filter_map(|line| line.strip_prefix(&start).map(str::to_owned))
        .collect();
    assert_eq!(heard, numbers);
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_a_page_is_told_what_its_token_allows() {
    let mut browser = Browser::start();
    for ticket in [false, true] {
        let tokens = File::new(&format!("page-{ticket}"), "sesame topics=a,b,c\n");
        let place = Place::hold();
        let options = ["--tokens", tokens.path()];
        let server = place.start(&options);
        let proxy = Proxy::to(server.address);
        let mut page = show_subscribing(&mut browser, &server, &proxy, ticket);
        says(
            &mut page,
            "warning: newswire: the server ended x: wamp.error.not_authorized",
        );
        says(&mut page, "log: open 1");
        hears_in_order(&server, &mut page, "a");

        // The subscriptions come back with the server, and what is denied by then is told.
        server.stop();
        page.wait_for("push.state === 'waiting'");
        tokens.set("sesame topics=a,c\n");
        let server = place.start(&options);
        says(&mut page, "log: denied b wamp.error.not_authorized");
        page.wait_for("push.state === 'open'");
        hears(&server, &mut page, "a", r#""back""#, "log: heard a back");
        assert_eq!(page.evaluate("unhandled"), 0);

        // The token ends, and the page's function is asked for the next one.
        let before = page.evaluate("asked").as_u64().expect("a number");
        tokens.replace("# nobody\n");
        says(&mut page, "log: waiting 3000");
        page.wait_for(&format!("asked > {before}"));
        assert_eq!(page.evaluate("push.state === 'closed'"), false);
        tokens.replace("sesame topics=a,c\n");
        page.wait_for("push.state === 'open'");
        page.evaluate("push.close()");
        says(&mut page, "log: closed 1000");

        let shown: Vec<String> = (page.requests().iter().cloned())
            .chain(proxy.asked())
            .filter(|address| address.contains("sesame"))
            .collect();
        assert_eq!(shown.is_empty(), ticket, "{shown:?}");
        server.stop();
    }
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_a_page_listens_to_a_stream_where_a_proxy_refuses_websockets() {
    let mut browser = Browser::start();
    for ticket in [false, true] {
        let tokens = File::new(&format!("streams-{ticket}"), "sesame topics=a,b,c\n");
        let place = Place::hold();
        let options = ["--tokens", tokens.path()];
        let server = place.start(&options);
        let proxy = Proxy::that_refuses_websockets(server.address);
        let mut page = show_subscribing(&mut browser, &server, &proxy, ticket);
        says(&mut page, "log: open");
        assert_eq!(proxy.refused(), 3);
        hears_in_order(&server, &mut page, "a");
        // Another topic, and none that is denied.
        page.evaluate("subscribe('c'), subscribe('y')");
        says(&mut page, "log: denied y wamp.error.not_authorized");
        says(&mut page, "log: has c");
        hears(&server, &mut page, "c", "{\"n\":1}", "log: heard c {n: 1}");
        assert_eq!(page.evaluate("[push.state, unhandled].join()"), "open,0");

        server.stop();
        page.wait_for("push.state === 'waiting'");
        let server = place.start(&options);
        page.wait_for("push.state === 'open'");
        hears(&server, &mut page, "b", "{\"n\":2}", "log: heard b {n: 2}");
        // The token ends: the stream ends, and another one is refused.
        tokens.replace("# nobody\n");
        says(&mut page, "log: waiting 3000");
        tokens.replace("sesame topics=a,b,c\n");
        page.wait_for("push.state === 'open'");
        hears(&server, &mut page, "b", "{\"n\":3}", "log: heard b {n: 3}");
        // The proxy is gone, and so is the stream.
        proxy.refuse_websockets(false);
        proxy.cut();
        page.wait_for("push.state !== 'open'");
        page.wait_for("push.state === 'open'");
        let last = proxy.asked().pop().expect("it has asked");
        assert!(!last.contains("topic="), "{last}");
        hears(&server, &mut page, "b", "{\"n\":4}", "log: heard b {n: 4}");

        let shown: Vec<String> = (page.requests().iter().cloned())
            .chain(proxy.asked())
            .filter(|address| address.contains("sesame"))
            .collect();
        assert_eq!(shown.is_empty(), ticket, "{shown:?}");
        page.evaluate("push.close()");
        server.stop();
    }
}

/// The page that the documentation has on `page` with `part` in it hears an event.
fn the_documentation_listens(page: &str, part: &str) {
    let server = Server::start(&[]);
    let html = snippet(page, "html", part);
    let html = replaced(&html, "127.0.0.1:8080", "HOST");
    let html = replaced(&html, "the token", "TOKEN");
    let mut browser = Browser::start();
    let mut page = show(&mut browser, &server, &html);
    let expected = "log: package_created {n: 1}";
    is_heard(&server, &mut page, r#"{"n":1}"#, expected);
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_the_readmes_page_listens() {
    the_documentation_listens("README.md", "newswire.connect(");
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_the_page_of_browser_md_listens() {
    the_documentation_listens("docs/browser.md", "newswire.connect(");
}

/// An article as the page of the documentation takes it.
fn article(id: usize, version: usize, title: &str) -> String {
    format!(r#"{{"id":{id},"version":{version},"title":"{title}"}}"#)
}

/// The page's list, and what it says of it.
fn shown(page: &mut Page) -> String {
    let list = "[...document.querySelectorAll('#list li')].map((item) => item.textContent)";
    let status = "document.querySelector('#status').textContent";
    let shown = page.evaluate(&format!("{list}.join() + ': ' + {status}"));
    shown.as_str().expect("a text").to_owned()
}

/// Waits until the page shows this.
fn shows(page: &mut Page, expected: &str) {
    page.wait_until(expected, |page| shown(page) == expected);
}

/// How often the page has loaded its state.
fn loads(page: &mut Page) -> usize {
    let requests = page.requests().iter();
    requests.filter(|url| url.ends_with("/news.json")).count()
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_the_page_of_the_documentation_is_never_stale() {
    let place = Place::hold();
    let options = ["--topic", "news history=100"];
    let server = place.start(&options);
    let proxy = Proxy::to(server.address);
    let html = snippet("docs/browser.md", "html", "/news.json");
    let html = replaced(&html, "127.0.0.1:8080", &proxy.address.to_string());
    let html = replaced(&html, "the token", TOKEN);
    let site = Site::start(&[("/", &html), ("/news.json", "[]")]);
    // As a backend does: first it commits, and then it publishes the article that has changed.
    let change = |server: &Server, articles: &[&String], changed: &str| {
        let articles: Vec<&str> = articles.iter().map(|article| article.as_str()).collect();
        site.set("/news.json", &format!("[{}]", articles.join(",")));
        publish_all(&server.pull, [envelope("news", changed)]);
    };
    let [rain, snow] = [article(0, 1, "Rain"), article(0, 2, "Snow")];
    let [hail, sun] = [article(0, 3, "Hail"), article(0, 4, "Sun")];
    let wind = article(1, 1, "Wind");
    site.set("/news.json", &format!("[{rain}]"));
    let mut browser = Browser::start();
    let mut page = browser.page();
    page.navigate(&site.url("/"));
    shows(&mut page, "Rain: Up to date");
    change(&server, &[&snow], &snow);
    shows(&mut page, "Snow: Up to date");

    // Cut off, it says so, and then it hears of what it has missed.
    proxy.shut();
    shows(&mut page, "Snow: Not up to date (waiting)");
    change(&server, &[&hail], &hail);
    change(&server, &[&hail, &wind], &wind);
    proxy.open();
    shows(&mut page, "Wind,Hail: Up to date");
    assert_eq!(loads(&mut page), 1);

    // The history is gone, so it loads its state again, until it has it.
    proxy.shut();
    server.stop();
    site.set("/news.json", "no JSON");
    let server = place.start(&options);
    proxy.open();
    shows(&mut page, "Wind,Hail: Not up to date (open)");
    page.wait_until("a load that fails", |page| {
        page.has_said("warning: news.json:")
    });
    // What is published in the meantime is not lost.
    change(&server, &[&sun, &wind], &sun);
    shows(&mut page, "Wind,Sun: Up to date");
    assert!(loads(&mut page) > 2);

    // Of an article, the newer version stays.
    change(&server, &[&sun, &wind], &hail);
    let gone = r#"{"id":1,"version":2,"title":"Wind","withdrawn":true}"#;
    change(&server, &[&sun], gone);
    shows(&mut page, "Sun: Up to date");
    server.stop();
}

/// The other half of the walk-through is `clients_get_in_with_a_token_from_plain_php`.
#[test]
#[ignore = "needs Chromium"]
fn in_chromium_the_page_of_the_walk_through_fetches_its_token_and_listens() {
    let server = Server::start(&[]);
    let html = snippet("docs/tokens.md", "html", "fetchToken");
    let html = replaced(&html, "127.0.0.1:8080", &server.address.to_string());
    let site = Site::start(&[("/", &html), ("/push-token.php", TOKEN)]);
    let mut browser = Browser::start();
    let mut page = browser.page();
    page.navigate(&site.url("/"));
    is_heard(&server, &mut page, r#"{"n":1}"#, "log: news {n: 1}");
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_the_documentations_page_for_autobahn_listens() {
    the_documentation_listens("docs/browser.md", "ab.Session(");
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_the_browser_does_as_it_is_told() {
    let site = Site::start(&[(
        "/",
        "<!DOCTYPE html><meta name=viewport content='width=device-width'><button \
         onclick='document.title += 1'>1</button><input id=text><script>console.log({a: 1}, [2], \
         null)</script><script>nonsense()</script><img src=/missing.png>",
    )]);
    let mut browser = Browser::start();
    let mut page = browser.page();
    page.navigate(&site.url("/"));
    assert!(page.has_said("log: {a: 1} {0: 2} null"));
    assert!(page.has_said("thrown: Uncaught ReferenceError: nonsense is not defined"));
    page.wait_until("404", |page| {
        page.has_said("browser: Failed to load resource")
    });

    let size = "[innerWidth, innerHeight, matchMedia('(pointer: coarse)').matches].join()";
    for (width, height, expected) in [(360, 640, "360,640,true"), (1280, 800, "1280,800,false")] {
        page.viewport(width, height);
        assert_eq!(page.evaluate(size), expected);
    }
    for is_dark in [true, false] {
        page.prefers_dark(is_dark);
        let dark = page.evaluate("matchMedia('(prefers-color-scheme: dark)').matches");
        assert_eq!(dark, is_dark);
    }
    page.press("Tab");
    page.press("Enter");
    page.press("Tab");
    page.press("2");
    page.type_text("34");
    assert_eq!(page.evaluate("document.title + text.value"), "1234");

    let picture = std::env::temp_dir().join(format!("newswire-{}.png", std::process::id()));
    page.screenshot(&picture);
    let bytes = std::fs::read(&picture).expect("it was written");
    std::fs::remove_file(&picture).expect("it is there");
    assert!(bytes.starts_with(b"\x89PNG"));
    // RFC 2083 s. 4.1.1: its width and height.
    assert_eq!(bytes[16..24], [0, 0, 5, 0, 0, 0, 3, 32]);

    page.offline(true);
    assert_eq!(
        page.evaluate("fetch('/').then(() => 'there', () => 'gone')"),
        "gone"
    );
    page.offline(false);
    assert_eq!(
        page.evaluate("fetch('/').then(() => 'there', () => 'gone')"),
        "there"
    );
}

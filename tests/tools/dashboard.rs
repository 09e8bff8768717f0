//! The dashboard in a real browser, with the real binary; and, where a test needs ten minutes or a server's
//! bad days, with one that makes them up (`fake_admin.rs`).
//!
//! Ignored where there is no Chromium; `.ci/run` installs it. The pictures that
//! `in_chromium_pictures_of_it` takes are in `target/tmp/`, or where `NEWSWIRE_PICTURES` says.
#![expect(
    clippy::disallowed_methods,
    reason = "where pictures go is for whoever runs the tests to say"
)]

use std::collections::BTreeSet;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use crate::fake_admin::{self, Run, busy_day, vitals};
use kit::browser::{Browser, Page};
use kit::port::Place;
use kit::{Server, TOKEN, wait_until};
use newswire::stats::{Dropped, Recovery, Refusal};
use serde_json::{Value, json};

/// Opens it, and waits until it is live.
fn open(browser: &mut Browser, address: SocketAddr) -> Page {
    let mut page = browser.page();
    page.navigate(&format!("http://{address}/"));
    page.wait_for(LIVE);
    page
}

const LIVE: &str = "document.body.dataset.state === 'live'";

/// An expression: the card with this title.
fn card(title: &str) -> String {
    format!(
        "[...document.querySelectorAll('#plots article')]\
         .find((card) => card.querySelector('h3').textContent === '{title}')"
    )
}

/// An expression: the number of a card.
fn number(title: &str) -> String {
    format!("{}.querySelector('b').textContent", card(title))
}

/// Presses a button by hand.
fn click(page: &mut Page, selector: &str) {
    page.evaluate(&format!("document.querySelector('{selector}').click()"));
}

fn type_into(page: &mut Page, selector: &str, text: &str) {
    page.evaluate(&format!("document.querySelector('{selector}').select()"));
    page.type_text(text);
}

/// Nothing was thrown, nothing forbidden by the policy, and nobody else was asked.
fn is_clean(page: &mut Page, address: SocketAddr) {
    let said = page.console().to_vec();
    assert!(said.is_empty(), "{said:#?}");
    let (http, ws) = (format!("http://{address}/"), format!("ws://{address}/"));
    let asked = page.requests().to_vec();
    assert!(asked.iter().any(|url| url.starts_with(&ws)), "{asked:#?}");
    for url in asked {
        let is_own = url.starts_with(&http) || url.starts_with(&ws) || url.starts_with("data:");
        assert!(is_own, "{url}");
    }
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_numbers_appear_and_move() {
    let server = Server::start(&[]);
    let mut browser = Browser::start();
    let mut page = open(&mut browser, server.admin_address());
    // It does not count itself, nor the topic that it hears.
    page.wait_for(&format!("{} === '0'", number("Connections")));
    page.wait_for(&format!("{} === '0'", number("Subscriptions")));
    page.wait_for("document.getElementById('alive').textContent === 'of 0'");
    assert_eq!(page.evaluate(&number("Latency")), json!("–"));
    page.wait_for(&format!("{} !== '–'", number("Turns")));
    let clients: Vec<_> = (0..3)
        .map(|_| server.subscriber(&["news", "more"]))
        .collect();
    page.wait_for(&format!("{} === '3'", number("Connections")));
    page.wait_for(&format!("{} === '6'", number("Subscriptions")));
    page.wait_for("document.getElementById('alive').textContent === 'of 2'");
    assert_eq!(page.evaluate(&number("Deliveries")), json!("0"));

    let moves = format!(
        "{} !== '0' && {} !== '0'",
        number("Events"),
        number("Deliveries")
    );
    page.wait_until("events", |page| {
        server.post("/publish", r#"{"topic":"news","data":1}"#);
        page.evaluate(&moves) == json!(true)
    });
    page.wait_for(&format!("{} !== '–'", number("Latency")));
    let row = "[...document.querySelectorAll('#topics tbody tr')]\
               .find((row) => row.cells[0].textContent === 'news')";
    page.wait_for(&format!("{row}?.cells[1].textContent === '3'"));
    let rows = page.evaluate("document.querySelectorAll('#topics tbody tr').length");
    assert_eq!(rows, json!(1));
    server.post("/publish", r#"{"topic":"nobody","data":1}"#);
    page.wait_for("document.getElementById('reasons').textContent.includes('no_subscriber')");
    page.wait_for(&format!("Number({}) >= 1", number("Drops")));
    for title in ["Memory", "CPU"] {
        assert_ne!(page.evaluate(&number(title)), json!("–"), "{title}");
    }
    let drawn = page.evaluate(&format!("{}.getAttribute('d')", line("Events")));
    assert!(drawn.as_str().is_some_and(|d| d.contains('L')), "{drawn}");
    drop(clients);
    page.wait_for(&format!("{} === '0'", number("Connections")));
    is_clean(&mut page, server.admin_address());
    server.stop();
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_what_is_tried_is_seen_to_arrive() {
    let server = Server::start(&[]);
    let mut browser = Browser::start();
    let mut page = open(&mut browser, server.admin_address());
    let told = "document.getElementById('told').textContent";
    let first = "document.querySelector('#log li')?.textContent ?? ''";
    // At the first try, with nothing else said.
    click(&mut page, "#try .main");
    page.wait_for(&format!("{told} === 'Published to 1 subscriber.'"));
    page.wait_for(&format!(
        "({first}).endsWith('{{\"headline\": \"Hello, newswire\"}}')"
    ));
    let is_timed = format!(r"/^\d\d:\d\d:\d\d\.\d{{3}}package_created/.test({first})");
    assert_eq!(page.evaluate(&is_timed), json!(true));

    // From elsewhere, byte for byte; and no markup in it is any.
    let data =
        r#"{"n":1.0,"x":"</script><img src=x onerror=alert(1)>%s","big":12345678901234567890}"#;
    let data = data.replace("%s", "\u{202e}");
    server.post(
        "/publish",
        &format!("{{\"topic\":\"package_created\",\"data\":{data}}}"),
    );
    let shown = serde_json::to_string(&data.replace('\u{202e}', "\\u202e")).expect("text");
    page.wait_for(&format!("({first}).endsWith({shown})"));

    // However many come, some are shown.
    let many = vec![r#"{"topic":"package_created","data":0}"#; 200];
    server.post("/publish", &format!("[{}]", many.join(",")));
    page.wait_for("document.getElementById('heard').textContent.includes('202 arrived')");
    let shown = page.evaluate("document.querySelectorAll('#log li').length");
    assert_eq!(shown, json!(50));

    for (topic, data, expected) in [
        ("package_created", "{nope", "not JSON"),
        ("$sys/stats", "1", "$"),
        ("nobody", "1", "nobody is subscribed"),
    ] {
        type_into(&mut page, "#topic", topic);
        type_into(&mut page, "#data", data);
        click(&mut page, "#try .main");
        page.wait_for(&format!("{told}.includes({expected:?})"));
    }
    // To another topic, and to none.
    click(&mut page, "#listen");
    page.wait_for(
        "document.getElementById('heard').textContent.startsWith('Listening to nobody.')",
    );
    click(&mut page, "#try .main");
    page.wait_for(&format!("({first}).endsWith('nobody1')"));
    click(&mut page, "#listen");
    page.wait_for("!document.getElementById('heard').textContent.includes('Listening')");
    let subscriptions = format!("{} === '0'", number("Subscriptions"));
    page.wait_for(&subscriptions);
    server.stop();
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_it_is_back_after_a_restart() {
    let place = Place::hold();
    let server = place.start(&[]);
    let mut browser = Browser::start();
    let mut page = open(&mut browser, server.admin_address());
    click(&mut page, "#listen");
    let word = "document.getElementById('word').textContent";
    server.stop();
    page.wait_for(&format!("{word} === 'Reconnecting'"));
    page.wait_for("/^in \\d+ s$/.test(document.getElementById('wait').textContent)");
    assert_eq!(page.evaluate(LIVE), json!(false));

    let server = place.start(&[]);
    click(&mut page, "#retry");
    page.wait_for(LIVE);
    assert_eq!(page.evaluate(word), json!("Live"));
    // What was listened to still is.
    server.post("/publish", r#"{"topic":"package_created","data":"again"}"#);
    page.wait_for("document.querySelector('#log li')?.textContent.endsWith('\"again\"')");
    let negative = page.evaluate(r"/[-−]\d/.test(document.getElementById('plots').textContent)");
    assert_eq!(negative, json!(false));
    server.stop();
}

/// The longest, and those that would like to be something else than a name.
fn hostile_names() -> Vec<String> {
    vec![
        "<img src=x onerror=\"document.title='owned'\">".to_owned(),
        "\u{202e}gnp.exe \u{200f}\u{2067}".to_owned(),
        "</script><script>document.title='owned'</script>".to_owned(),
        "x".repeat(512),
        "{{constructor}} ${document.title} \" ' ` &lt;".to_owned(),
        "a\nb\tc\u{0}\u{85}".to_owned(),
    ]
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_a_hostile_name_is_text() {
    let server = Server::start(&[]);
    let names = hostile_names();
    let mut client = server.client();
    for name in &names {
        client.send(&json!([5, name]).to_string());
    }
    client.settle();
    let mut browser = Browser::start();
    let mut page = open(&mut browser, server.admin_address());
    // They are listed while there are events of them; and what they bring is as bad as they are.
    let listed = "[...document.querySelectorAll('#topics bdi')].map((b) => b.textContent)";
    page.wait_until("they are listed", |page| {
        for name in &names {
            let event = json!({"topic": name, "data": names});
            let answer = server.post("/publish", &event.to_string());
            assert_eq!(answer.json()["subscribers"], 1, "{answer:?}");
        }
        page.evaluate(&format!("{listed}.length === {}", names.len())) == json!(true)
    });
    let listed = page.evaluate(listed);
    let listed: BTreeSet<&str> = listed
        .as_array()
        .expect("a list")
        .iter()
        .filter_map(Value::as_str)
        .collect();
    let visible = [
        names[0].as_str(),
        "\\u202egnp.exe \\u200f\\u2067",
        &names[2],
        &names[3],
        &names[4],
        "a\\u000ab\\u0009c\\u0000\\u0085",
    ];
    assert_eq!(listed, BTreeSet::from(visible));
    // Into the box, exactly; and its event into the log.
    let exact = json!(names[0]).to_string();
    page.evaluate(&format!(
        "[...document.querySelectorAll('#topics button')].find((b) => b.textContent === {exact}).click()"
    ));
    page.wait_for(&format!(
        "document.getElementById('topic').value === {exact}"
    ));
    click(&mut page, "#listen");
    click(&mut page, "#try .main");
    page.wait_for("document.querySelectorAll('#log li').length > 0");
    let made = "document.querySelectorAll('img, main script, #log b, #topics b').length";
    assert_eq!(page.evaluate(made), json!(0));
    assert_ne!(page.evaluate("document.title"), json!("owned"));
    // The longest of them makes no page wider.
    for (width, height) in [(360, 740), (700, 900), (1100, 800)] {
        page.viewport(width, height);
        let is = page.evaluate("document.documentElement.scrollWidth");
        assert_eq!(is, json!(width));
    }
    is_clean(&mut page, server.admin_address());
    server.stop();
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_a_token_is_asked_for_kept_and_shown_nowhere() {
    let server = Server::start(&["--admin-token", TOKEN]);
    let address = server.admin_address();
    let mut browser = Browser::start();
    let mut page = browser.page();
    // In the address, as it is, and gone from there.
    page.navigate(&format!("http://{address}/?token={TOKEN}"));
    page.wait_for(LIVE);
    let is = page.evaluate("location.href");
    assert_eq!(is, json!(format!("http://{address}/")));
    click(&mut page, "#try .main");
    page.wait_for("document.querySelectorAll('#log li').length === 1");
    // Loaded again, it knows the token, and what was drawn.
    page.wait_for(&format!(
        "{}.querySelector('svg path:nth-of-type(3)').getAttribute('d').includes('L')",
        card("CPU")
    ));
    page.navigate(&format!("http://{address}/"));
    page.wait_for(LIVE);
    let html = page.evaluate("document.documentElement.outerHTML");
    assert!(!html.as_str().expect("text").contains(TOKEN));
    click(&mut page, "#forget");
    page.wait_for("document.getElementById('ask').open");
    assert_eq!(
        page.evaluate("sessionStorage.getItem('newswire.token')"),
        json!("")
    );

    // By hand: a wrong one, and the right one.
    page.type_text("wrong");
    page.press("Enter");
    page.wait_for("document.getElementById('asked').textContent.includes('refused')");
    page.type_text(TOKEN);
    page.press("Enter");
    page.wait_for(LIVE);
    assert_eq!(
        page.evaluate("document.getElementById('ask').open"),
        json!(false)
    );
    assert!(!server.log().contains(TOKEN));
    server.stop();
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_the_keyboard_reaches_everything() {
    let server = Server::start(&[]);
    let _client = server.subscriber(&["t"]);
    let mut browser = Browser::start();
    let mut page = open(&mut browser, server.admin_address());
    page.wait_until("a topic with events", |page| {
        server.post("/publish", r#"{"topic":"t","data":1}"#);
        page.evaluate("document.querySelector('#topics button') !== null") == json!(true)
    });
    let all = page.evaluate(
        "(window.all = [...document.querySelectorAll('a, button, input, textarea, [tabindex]')]\
         .filter((element) => element.checkVisibility())).length",
    );
    let all = all.as_u64().expect("a number");
    assert!(all > 20, "{all}");
    let mut reached = BTreeSet::new();
    for _ in 0..all + 2 {
        page.press("Tab");
        let at = page.evaluate("window.all.indexOf(document.activeElement)");
        let Some(at) = at.as_u64() else { continue };
        reached.insert(at);
        let outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle");
        assert_ne!(outline, json!("none"), "{at}");
        let name = page.evaluate(
            "((e) => e.ariaLabel || e.textContent.trim() || e.labels?.[0]?.textContent)(document.activeElement)",
        );
        assert!(name.as_str().is_some_and(|name| !name.is_empty()), "{at}");
    }
    assert_eq!(reached.len() as u64, all);

    // Plots are read by it, too.
    page.evaluate(&format!(
        "{}.querySelector('.plot').focus()",
        card("Connections")
    ));
    let value = "document.activeElement.ariaValueText";
    page.press("ArrowLeft");
    assert_eq!(page.evaluate(value), json!("1 s ago: 1"));
    page.press("Home");
    assert_eq!(page.evaluate(value), json!("10 min ago: not known"));
    page.wait_for(&format!("{} === '–'", number("Connections")));
    page.press("Escape");
    page.wait_for(&format!("{} === '1'", number("Connections")));
    server.stop();
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_kept_topics_are_shown_and_quiet_ones_are_reached() {
    let server = Server::start(&["--topic", "k* history=3"]);
    let mut browser = Browser::start();
    let mut page = open(&mut browser, server.admin_address());
    let is_hidden = |page: &mut Page| page.evaluate("document.getElementById('keeping').hidden");
    assert_eq!(is_hidden(&mut page), json!(true), "nothing is kept");
    for n in 0..105 {
        server.post(
            "/publish",
            &json!({"topic": format!("k{n}"), "data": 1}).to_string(),
        );
    }
    // Among the busiest.
    let rows = "[...document.querySelectorAll('#topics tbody tr')].map((row) => row.cells[0].innerText.replace(/\\s+/g, ' '))";
    page.wait_for(&format!(
        "{rows}.some((row) => /^k\\d+ 1 event kept, 70\\d.B, the oldest \\d+ s old$/.test(row))"
    ));
    assert_eq!(is_hidden(&mut page), json!(false));

    // All of them, a page at a time.
    let count = "document.querySelectorAll('#topics tbody tr').length";
    click(&mut page, "#keeping");
    page.wait_for(&format!("{count} === 100"));
    let title = "document.getElementById('topics-title').innerText";
    page.wait_for(&format!(
        "{title}.startsWith('Kept topics 105 events kept, ')"
    ));
    click(&mut page, "#further");
    page.wait_for(&format!("{count} === 105"));
    page.wait_for("document.getElementById('further').hidden");
    // What changes is seen, and the way back.
    server.post("/publish", r#"{"topic":"k7","data":1}"#);
    page.wait_for(&format!(
        "{rows}.some((row) => row.startsWith('k7 2 events kept'))"
    ));
    click(&mut page, "#keeping");
    page.wait_for(&format!("{title}.startsWith('Busiest topics of 105')"));
    is_clean(&mut page, server.admin_address());

    // A client that comes back to another run of the server.
    let mut client = server.connect();
    let request = format!(
        "GET /?token={TOKEN}&topic=k7&last_event_id=aaaaaaaa-1 HTTP/1.1\r\nHost: h\r\nAccept: text/event-stream\r\n\r\n"
    );
    client.write_all(request.as_bytes()).expect("sent");
    let reasons = "document.getElementById('reasons').innerText.replace(/\\s+/g, ' ')";
    let expected = format!("recovery epoch {} 1 1", Recovery::Epoch.meaning());
    page.wait_for(&format!("{reasons}.includes({})", json!(expected)));
    server.stop();
}

/// The numbers along a card's axis, from the lowest.
fn axis(page: &mut Page, title: &str) -> Value {
    page.evaluate(&format!(
        "[...{}.querySelectorAll('.plot span')].map((tick) => tick.textContent)",
        card(title)
    ))
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_what_was_before_the_page_is_shown_at_once() {
    let server = Server::start(&[]);
    let client = server.subscriber(&["t"]);
    server.post("/publish", r#"{"topic":"nobody","data":1}"#);
    assert_eq!(server.ask("GET / HTTP/1.1\r\nHost: h\r\n\r\n").0, 426);
    wait_until("some seconds with a client, and the drop", || {
        let samples = &server.get("/history").json()["samples"];
        let connections = samples["connections"].as_array().expect("a list");
        let seen = connections.iter().filter(|n| **n == json!(1)).count();
        seen >= 3
            && samples["dropped_per_minute"]
                .as_array()
                .and_then(|d| d.last())
                == Some(&json!(1))
    });
    drop(client);
    server.wait_for_connections(0);
    let mut browser = Browser::start();
    let mut page = open(&mut browser, server.admin_address());
    // What had gone when the page was opened is drawn: its first second is older than the page.
    let drawn = page.evaluate(&format!("{}.getAttribute('d')", line("Connections")));
    let drawn = drawn.as_str().expect("a path");
    assert!(drawn.matches('L').count() >= 3, "{drawn}");
    assert_ne!(axis(&mut page, "Connections"), json!([]));
    // In the column of ten minutes, too; and each reason says what it means.
    let rows = "[...document.querySelectorAll('#reasons tbody tr')]\
                .map((row) => [...row.cells].map((cell) => cell.innerText.replace(/\\s+/g, ' ')).join('|'))";
    for (reason, meaning) in [
        ("dropped no_subscriber ", Dropped::NoSubscriber.meaning()),
        ("refused not_upgrade ", Refusal::NotUpgrade.meaning()),
    ] {
        let expected = format!("{reason}{}|1|1", meaning.replace('`', ""));
        page.wait_for(&format!("{rows}.includes({})", json!(expected)));
    }
    is_clean(&mut page, server.admin_address());
    server.stop();
}

/// An expression: the line of a card that has one.
fn line(title: &str) -> String {
    format!(
        "{}.querySelector('svg').lastChild.previousSibling",
        card(title)
    )
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_a_gap_is_a_gap_and_a_restart_is_no_spike() {
    // A server that has dropped many ends, and two others follow, which have dropped few. The second one
    // has run for some seconds before the page is back, and of two of these seconds nothing is known.
    let with = |dropped: u64| {
        json!({
            "dropped": {"bad_json": dropped}, "events": dropped, "last_minute": {"dropped": 1},
            "last_ten_minutes": {"dropped": {"bad_json": 1}},
        })
    };
    let seconds = |from: u64, count: u64, dropped: u64| -> Vec<Value> {
        (from..from + count)
            .map(|n| vitals(n, with(dropped)))
            .collect()
    };
    let mut past = seconds(100_000, 3, 5);
    past.extend([Value::Null, Value::Null, Value::Null, Value::Null]);
    past.extend(seconds(100_007, 2, 5));
    let address = fake_admin::start(vec![
        Run {
            past: seconds(90_000, 300, 900_000),
            told: seconds(90_300, 1, 900_000),
        },
        Run {
            past: Vec::new(),
            told: seconds(1, 1, 2),
        },
        Run {
            past,
            told: seconds(100_009, 1, 5),
        },
    ]);
    let mut browser = Browser::start();
    let mut page = browser.page();
    page.navigate(&format!("http://{address}/"));
    let reasons = "document.querySelector('#reasons tbody tr')?.innerText.replace(/\\s+/g, ' ')";
    page.wait_for(&format!(
        "{reasons}.startsWith('dropped bad_json ') && {reasons}.endsWith(' 1 5') && {LIVE}"
    ));
    // The last server's history takes the place of what was heard in its nine seconds, and no more.
    let points = format!(
        "{}.getAttribute('d').match(/L/g).length",
        line("Connections")
    );
    page.wait_for(&format!("{points} > 290"));
    page.wait_for(&format!(
        "{}.getAttribute('d').split('M').length === 3",
        line("Connections")
    ));
    assert_eq!(page.evaluate(&number("Drops")), json!("1"));
    assert_eq!(axis(&mut page, "Drops"), json!(["0", "1", "2"]));
    is_clean(&mut page, address);
}

#[test]
#[ignore = "needs Chromium"]
fn in_chromium_pictures_of_it() {
    let folder = std::env::var_os("NEWSWIRE_PICTURES");
    let folder = folder.map_or_else(|| PathBuf::from(env!("CARGO_TARGET_TMPDIR")), PathBuf::from);
    let mut browser = Browser::start();
    for (name, mut past) in [("busy", busy_day()), ("empty", vec![vitals(3, json!({}))])] {
        let is_busy = name == "busy";
        let told = vec![past.pop().expect("a second")];
        let address = fake_admin::start(vec![Run { past, told }]);
        let mut page = browser.page();
        page.viewport(1440, 1000);
        page.navigate(&format!("http://{address}/"));
        page.wait_for(LIVE);
        let mut colours = BTreeSet::new();
        if is_busy {
            page.wait_for(&format!("{} !== '–'", number("Latency")));
            assert_eq!(axis(&mut page, "Connections"), json!(["0", "10k", "20k"]));
            assert_eq!(
                axis(&mut page, "Latency"),
                json!(["10\u{202f}µs", "1\u{202f}ms", "100\u{202f}ms"])
            );
            assert_eq!(
                axis(&mut page, "Memory"),
                json!(["0\u{202f}B", "64\u{202f}MiB", "128\u{202f}MiB"])
            );
        }
        for (looks, width, height, is_dark) in [
            ("light", 1440, 1000, false),
            ("dark", 1440, 1000, true),
            ("phone", 360, 740, true),
        ] {
            page.prefers_dark(is_dark);
            page.viewport(width, height);
            let is = page.evaluate("document.documentElement.scrollWidth");
            assert_eq!(is, json!(width), "{name} {looks}");
            let colour = page.evaluate("getComputedStyle(document.body).backgroundColor");
            colours.insert(colour.as_str().expect("a colour").to_owned());
            page.screenshot(&folder.join(format!("dashboard-{name}-{looks}.png")));
            // On a phone, it can be tried without scrolling.
            if width < 600 {
                let bottom = page.evaluate(
                    "document.querySelector('#trial .main').getBoundingClientRect().bottom",
                );
                assert!(
                    bottom
                        .as_f64()
                        .is_some_and(|bottom| bottom < f64::from(height)),
                    "{bottom}"
                );
            }
            let hidden = page.evaluate(
                "[...document.querySelectorAll('#plots .hint, td .hint')].filter((hint) => !hint.offsetHeight).length",
            );
            assert_eq!(hidden, json!(0), "explanations in {looks}");
        }
        assert_eq!(colours.len(), 2, "{colours:?}");
        // The mouse reads all plots at one moment.
        if is_busy {
            page.viewport(1440, 1000);
            let box_of = format!(
                "{}.querySelector('.plot').getBoundingClientRect()",
                card("Events")
            );
            let at = |what: &str, page: &mut Page| {
                page.evaluate(&format!("{box_of}.{what}"))
                    .as_f64()
                    .expect("a number")
            };
            let (left, top, width) = (
                at("left", &mut page),
                at("top", &mut page),
                at("width", &mut page),
            );
            page.point(left + width * 0.53, top + 20.0);
            page.wait_for(&format!("Number({}) > 450", number("Events")));
            page.screenshot(&folder.join("dashboard-busy-read.png"));
        }
        is_clean(&mut page, address);
    }
}

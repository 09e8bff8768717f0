//! The rules of the house that no other tool knows: which module may import which, that every file says what it is,
//! that no file is left over, and that no two types have one name.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Who may import whom, from the inside outwards. A file (or folder) may name itself and what
/// stands behind it; whoever wants more has to say so here.
const IMPORTS: &[(&str, &[&str])] = &[
    // Ring 0.
    ("limits", &[]),
    ("stats", &[]),
    // For whoever binds an address, and whoever measures the one that did.
    ("trim", &[]),
    ("wake", &[]),
    ("occupant", &[]),
    // Ring 1. The configuration holds tokens as such, so that nobody prints one by accident, and says how
    // those that are JWTs are signed.
    (
        "config",
        &[
            "exposure",
            "limits",
            "net::broker",
            "wire::jwt",
            "wire::nats",
            "wire::token",
            "wire::topic_rule",
        ],
    ),
    ("exposure", &[]),
    // Names and addresses, for whoever connects to somebody.
    ("net", &["limits"]),
    ("net::nats", &["limits", "net", "wire::nats"]),
    ("wire", &[]),
    // The form of a moment and of a name is one for all stores.
    ("wire::grant", &["limits"]),
    ("wire::jwt", &["wire::grant", "wire::json"]),
    // What two rings that do not know each other share: one writes it, the other reads.
    ("standing", &["stats", "wire::grant", "wire::token"]),
    ("health", &[]),
    ("wire::forwarded", &[]),
    // What a JSON string says is one thing for publishers and for clients.
    (
        "wire::envelope",
        &["limits", "stats", "wire::grant", "wire::id", "wire::json"],
    ),
    ("wire::protocol", &["wire::http"]),
    ("wire::publication", &["limits", "stats", "wire::envelope"]),
    ("wire::files", &["limits", "wire::http"]),
    (
        "wire::http",
        &["limits", "stats", "wire::http", "wire::json", "wire::past"],
    ),
    ("wire::json", &["wire::json"]),
    ("wire::nats", &["limits", "wire::json"]),
    // Two forms of a JWT are one token.
    ("wire::token", &["limits", "wire::jwt"]),
    // A list of tokens is made of tokens and of what they allow.
    (
        "wire::token_file",
        &["limits", "wire::grant", "wire::token"],
    ),
    // A pattern of topics means one thing everywhere.
    ("wire::topic_rule", &["limits", "wire::grant", "wire::json"]),
    ("wire::sse", &["stats", "wire::http", "wire::past"]),
    ("wire::wamp", &["limits", "wire::json"]),
    (
        "wire::wamp2",
        &["stats", "wire::id", "wire::json", "wire::past"],
    ),
    // A position is an id.
    ("wire::past", &["wire::id"]),
    ("wire::growth", &[]),
    (
        "wire::websocket",
        &["limits", "wire::growth", "wire::websocket"],
    ),
    // Ring 2. Numbers, places and blocks of memory, which know nothing of one another.
    ("engine::addresses", &[]),
    ("engine::batch", &["engine::names", "engine::topic_rules"]),
    ("engine::deadlines", &["limits"]),
    ("engine::idset", &[]),
    ("engine::incidents", &["limits", "standing", "stats"]),
    ("engine::names", &[]),
    ("engine::round", &[]),
    ("engine::slots", &[]),
    // What is said on one connection. One file knows WebSocket and WAMP.
    (
        "engine::session",
        &[
            "engine::session",
            "standing",
            "wire::growth",
            "wire::past",
            "wire::protocol",
            "wire::token",
            "wire::websocket::Decoder",
            "wire::websocket::Inflater",
        ],
    ),
    (
        "engine::session::encoder",
        &[
            "engine::session",
            "limits",
            "wire::envelope",
            "wire::id",
            "wire::json",
            "wire::protocol",
            "wire::websocket",
        ],
    ),
    (
        "engine::session::encoding",
        &[
            "engine::session",
            "stats",
            "wire::past",
            "wire::protocol",
            "wire::websocket",
        ],
    ),
    (
        "engine::session::frames",
        &["engine::session", "limits", "stats", "wire::websocket"],
    ),
    ("engine::session::id", &[]),
    (
        "engine::session::pending",
        &[
            "engine::session",
            "standing",
            "stats",
            "wire::http",
            "wire::past",
        ],
    ),
    ("engine::session::rules", &["limits", "wire::files"]),
    (
        "engine::session::step",
        &[
            "engine::session::encoding",
            "standing",
            "stats",
            "wire::past",
        ],
    ),
    (
        "engine::session::sse",
        &[
            "engine::session",
            "limits",
            "stats",
            "wire::http",
            "wire::json",
            "wire::past",
            "wire::sse",
        ],
    ),
    (
        "engine::session::upgrade",
        &["engine::session", "standing", "stats", "wire"],
    ),
    (
        "engine::session::wamp1",
        &[
            "engine::session",
            "limits",
            "standing",
            "stats",
            "wire::past",
            "wire::wamp",
            "wire::websocket",
        ],
    ),
    (
        "engine::session::wamp2",
        &[
            "engine::session",
            "standing",
            "stats",
            "wire::id",
            "wire::past",
            "wire::token",
            "wire::wamp",
            "wire::wamp2",
            "wire::websocket",
        ],
    ),
    // From an event to the members of its topic, and from there to a socket.
    (
        "engine::audiences",
        &[
            "engine::idset",
            "engine::names",
            "engine::session::Encoding",
        ],
    ),
    (
        "engine::topics",
        &[
            "engine::audiences",
            "engine::histories",
            "engine::idset",
            "engine::names",
            "engine::session::Encoding",
            "engine::topic_rules",
            "limits",
        ],
    ),
    (
        "engine::subscription_ids",
        &["engine::audiences", "engine::names"],
    ),
    // What is kept of topics, and what slow readers lose.
    ("engine::topic_rules", &["limits", "wire::topic_rule"]),
    ("engine::ring", &["engine::floor", "wire::id"]),
    (
        "engine::timeline",
        &["engine::floor", "limits", "wire::id", "wire::past"],
    ),
    (
        "engine::histories",
        &[
            "engine::audiences",
            "engine::names",
            "engine::ring",
            "engine::timeline",
            "limits",
            "wire::id",
            "wire::past",
            "wire::topic_rule",
        ],
    ),
    (
        "engine::shares",
        &["engine::audiences", "engine::batch", "engine::names"],
    ),
    ("engine::walk", &["engine::batch", "wire::id"]),
    (
        "engine::lanes",
        &[
            "engine::audiences",
            "engine::batch",
            "engine::walk",
            "limits",
        ],
    ),
    (
        "engine::merge",
        &[
            "engine::audiences",
            "engine::batch",
            "engine::lanes",
            "engine::walk",
            "limits",
        ],
    ),
    ("engine::floor", &[]),
    (
        "engine::flush",
        &[
            "engine::audiences",
            "engine::batch",
            "engine::idset",
            "engine::lanes",
            "engine::merge",
            "engine::topics",
            "engine::walk",
            "wire::id",
        ],
    ),
    (
        "engine::hub",
        &[
            "engine::audiences",
            "engine::batch",
            "engine::flush",
            "engine::histories",
            "engine::idset",
            "engine::session",
            "engine::subscription_ids",
            "engine::topic_rules",
            "engine::topics",
            "engine::walk",
            "wire::envelope",
            "wire::id",
            "wire::topic_rule",
        ],
    ),
    (
        "engine::hub::past",
        &[
            "engine::audiences",
            "engine::histories",
            "engine::hub",
            "engine::session",
            "engine::topic_rules",
            "engine::topics",
            "limits",
            "wire::envelope",
            "wire::id",
            "wire::past",
            "wire::topic_rule",
        ],
    ),
    (
        "engine::outbox",
        &["engine::batch", "engine::names", "engine::shares", "limits"],
    ),
    (
        "engine::link",
        &["engine::batch", "engine::names", "engine::outbox", "stats"],
    ),
    (
        "engine::connection",
        &["engine::idset", "engine::link", "engine::session"],
    ),
    // The engine itself. Its methods stand in files of their own, and call one another.
    (
        "engine::rules",
        &[
            "engine::session::SessionRules",
            "limits",
            "wire::id",
            "wire::topic_rule",
        ],
    ),
    (
        "engine",
        &["engine", "limits", "stats", "wire::websocket::Inflater"],
    ),
    (
        "engine::admission",
        &[
            "the engine",
            "engine::idset",
            "standing",
            "stats",
            "wire::http",
        ],
    ),
    (
        "engine::audit",
        &[
            "the engine",
            "engine::addresses",
            "engine::audiences",
            "engine::batch",
        ],
    ),
    (
        "engine::delivery",
        &[
            "the engine",
            "engine::batch",
            "engine::flush",
            "engine::gaps",
            "engine::hub",
            "engine::idset",
            "limits",
            "stats",
            "wire::envelope",
        ],
    ),
    ("engine::ending", &["the engine", "stats"]),
    ("engine::expiry", &["the engine", "limits", "stats"]),
    (
        "engine::handling",
        &[
            "the engine",
            "engine::audiences",
            "engine::batch",
            "engine::subscribing",
            "limits",
            "standing",
            "stats",
        ],
    ),
    (
        "engine::judging",
        &[
            "the engine",
            "engine::batch",
            "engine::subscribing",
            "limits",
            "standing",
            "stats",
        ],
    ),
    (
        "engine::overview",
        &[
            "the engine",
            "engine::audiences",
            "engine::topic_rules",
            "engine::topics",
            "stats",
        ],
    ),
    ("engine::paying", &["the engine", "limits", "stats"]),
    ("engine::reading", &["the engine", "limits", "stats"]),
    (
        "engine::reaping",
        &["the engine", "engine::reading::give_back", "limits"],
    ),
    (
        "engine::relief",
        &["the engine", "engine::round", "limits", "stats"],
    ),
    (
        "engine::review",
        &[
            "the engine",
            "engine::audiences",
            "engine::batch",
            "limits",
            "stats",
        ],
    ),
    (
        "engine::subscribing",
        &[
            "the engine",
            "engine::hub",
            "engine::idset",
            "engine::replay",
            "stats",
            "wire::past",
        ],
    ),
    (
        "engine::replay",
        &[
            "the engine",
            "engine::batch",
            "engine::histories",
            "engine::hub",
            "engine::names",
            "limits",
            "stats",
            "wire::json",
            "wire::protocol",
            "wire::id",
        ],
    ),
    (
        "engine::gaps",
        &[
            "the engine",
            "engine::audiences",
            "engine::batch",
            "engine::names",
            "engine::round",
            "limits",
            "stats",
            "wire::id",
        ],
    ),
    ("engine::room", &["the engine", "limits", "stats"]),
    ("engine::shutdown", &["the engine", "limits", "stats"]),
    ("engine::turn", &["the engine", "limits"]),
    // Ring 3. These do not know each other; only the server knows them.
    (
        "ingest",
        &["health", "limits", "net", "stats", "trim", "wake", "wire"],
    ),
    (
        "auth",
        &[
            "auth", "exposure", "limits", "net::tls", "standing", "stats", "wake", "wire",
        ],
    ),
    ("admin", &["admin", "health", "limits", "stats", "wire"]),
    ("web", &["wire::files"]),
    // Made of the sockets of `ingest`.
    ("relay", &["ingest", "limits", "wire"]),
    // Processes that serve clients. The parent asks them as an administrator does.
    ("workers", &["admin", "limits", "stats", "wake", "wire"]),
    (
        "server",
        &[
            "admin", "auth", "config", "engine", "exposure", "health", "ingest", "limits", "net",
            "occupant", "relay", "server", "standing", "stats", "trim", "wake", "web", "wire",
            "workers",
        ],
    ),
    // The program. Its commands are clients of a server and know nothing of one.
    (
        "cli",
        &["cli", "config", "limits", "net", "occupant", "wire"],
    ),
    ("logging", &["limits"]),
    (
        "main",
        &[
            "wire::json",
            "banner",
            "cli",
            "config",
            "crew",
            "logging",
            "memory",
            "ready",
            "role",
            "server",
            "summary",
            "workers",
        ],
    ),
    ("banner", &["config", "crew", "memory", "server"]),
    (
        "crew",
        &["cli", "config", "server", "wire::token", "workers"],
    ),
    ("role", &["config", "wire::token", "workers"]),
    ("memory", &["config", "limits"]),
    ("ready", &["banner", "config", "crew", "server"]),
    ("summary", &["stats"]),
    ("lib", &[]),
];

/// What every file of the engine's methods may import: "the engine" in the table above.
const ENGINE: &[&str] = &[
    "engine::Engine",
    "engine::connection",
    "engine::ending::Ending",
    "engine::link",
    "engine::second",
    "engine::session",
    "engine::slots",
];

/// What the inner rings never mention, so that they run in memory and in virtual time.
const NEVER: &[(&str, &[&str])] = &[
    ("wire", &["std::net", "std::time", "mio", "zmq"]),
    (
        "engine",
        &[
            "mio::",
            "zmq::",
            "Instant",
            "SystemTime",
            "std::thread",
            "RawFd",
        ],
    ),
    ("ingest", &["mio::"]),
    ("auth", &["mio::", "zmq::"]),
    (
        "auth::gate",
        &["Instant", "SystemTime", "std::thread", "std::fs"],
    ),
    (
        "admin",
        &["mio::", "zmq::", "Instant", "SystemTime", "std::thread"],
    ),
    (
        "server::turn",
        &["mio::", "zmq::", "Instant", "SystemTime", "std::thread"],
    ),
    (
        "server::orders",
        &["mio::", "zmq::", "Instant", "SystemTime", "std::fs"],
    ),
    (
        "server::views",
        &[
            "mio::",
            "zmq::",
            "Instant",
            "SystemTime",
            "std::fs",
            "super::orders",
        ],
    ),
    // These were circles of imports.
    ("server::pulse", &["super::orders"]),
    ("config::types", &["super::spec"]),
];

fn sources() -> Vec<PathBuf> {
    let found = sources_in("src");
    assert!(found.len() > 20, "the sources are here");
    found
}

fn sources_in(folder: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new(folder), &mut found);
    found.sort();
    found
}

/// `src/engine/mod.rs` is `engine`, `src/wire/http.rs` is `wire::http`.
fn module(path: &Path) -> String {
    let path = path
        .strip_prefix("src")
        .expect("below src")
        .with_extension("");
    let parts: Vec<_> = path.iter().map(|part| part.to_string_lossy()).collect();
    parts.join("::").trim_end_matches("::mod").to_owned()
}

/// Returns true when a module holds tests and nothing else.
fn is_of_tests(module: &str) -> bool {
    module.split("::").any(|part| part == "tests")
}

/// The code of a file: without its tests, its comments and its strings.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).expect("a text");
    let text = text
        .split("#[cfg(test)]\nmod tests {")
        .next()
        .expect("has a beginning");
    text.lines()
        .map(|line| line.split("//").next().unwrap_or(line))
        .collect::<Vec<_>>()
        .join("\n")
}

fn is_in(name: &str, whole: &str) -> bool {
    name == whole || name.starts_with(&format!("{whole}::"))
}

/// All of our own modules that `code` names, whole.
fn imports(code: &str, module: &str, is_folder: bool) -> Vec<String> {
    let flat: String = code.split_whitespace().collect::<Vec<_>>().join(" ");
    let parent = module.rsplit_once("::").map_or("", |(parent, _)| parent);
    let mut starts = vec![("crate::", String::new()), ("newswire::", String::new())];
    let here = if is_folder { module } else { parent };
    if !here.is_empty() {
        let above = here.rsplit_once("::").map_or("", |(above, _)| above);
        let super_is = if is_folder { above } else { parent };
        starts.push(("super::", format!("{super_is}::")));
        starts.push(("self::", format!("{here}::")));
    }
    let mut found = Vec::new();
    for (word, base) in starts {
        for (at, _) in flat.match_indices(word) {
            let before = flat[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || c == '_' || c == ':') {
                continue;
            }
            for path in expand(&flat[at + word.len()..]) {
                found.push(format!("{base}{path}").trim_start_matches("::").to_owned());
            }
        }
    }
    found
}

/// The paths that begin with `rest`: one, or those of a braced list.
fn expand(rest: &str) -> Vec<String> {
    if let Some(list) = rest.strip_prefix('{') {
        let mut depth = 1;
        let end = list
            .char_indices()
            .find(|&(_, c)| {
                depth += i32::from(c == '{') - i32::from(c == '}');
                depth == 0
            })
            .map_or(list.len(), |(at, _)| at);
        let mut parts = vec![String::new()];
        let mut depth = 0;
        for c in list[..end].chars() {
            depth += i32::from(c == '{') - i32::from(c == '}');
            if c == ',' && depth == 0 {
                parts.push(String::new());
            } else {
                parts.last_mut().expect("never empty").push(c);
            }
        }
        return parts.iter().flat_map(|part| expand(part.trim())).collect();
    }
    let name: String = rest
        .chars()
        .take_while(|&c| c.is_alphanumeric() || c == '_')
        .collect();
    match rest[name.len()..].strip_prefix("::") {
        Some(inner) => expand(inner)
            .into_iter()
            .map(|inner| format!("{name}::{inner}"))
            .collect(),
        None => vec![name],
    }
}

#[test]
fn imports_point_inwards() {
    let mut wrong = Vec::new();
    for path in sources() {
        let module = module(&path);
        // Tests of a folder may use all of it.
        if is_of_tests(&module) {
            continue;
        }
        let (_, allowed) = IMPORTS
            .iter()
            .filter(|(name, _)| is_in(&module, name))
            .max_by_key(|(name, _)| name.len())
            .unwrap_or_else(|| panic!("{module} is in no ring: say where it belongs"));
        let is_folder = path.ends_with("mod.rs");
        for import in imports(&code(&path), &module, is_folder) {
            let (top, _) = import.split_once("::").unwrap_or((&import, ""));
            let is_ours = IMPORTS
                .iter()
                .any(|(name, _)| is_in(name, top) || *name == top);
            let folder = module.split("::").next().expect("has a name");
            // Within `config`, `cli` and the like, the whole folder is one entry of the table.
            let within = IMPORTS.iter().any(|(name, _)| *name == folder)
                && top == folder
                && !["engine", "wire"].contains(&folder);
            let is_allowed = |allowed: &&str| match *allowed {
                "the engine" => ENGINE.iter().any(|part| is_in(&import, part)),
                allowed => is_in(&import, allowed),
            };
            let fine =
                !is_ours || within || is_in(&import, &module) || allowed.iter().any(is_allowed);
            if !fine {
                wrong.push(format!("{module} imports {import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn inner_rings_know_no_sockets_and_no_clocks() {
    for path in sources() {
        let module = module(&path);
        let code = code(&path);
        for (_, words) in NEVER.iter().filter(|(ring, _)| is_in(&module, ring)) {
            for word in *words {
                // A socket address is a value; a socket is not.
                let code = code
                    .replace("std::net::{IpAddr", "")
                    .replace("std::net::SocketAddr", "");
                assert!(!code.contains(word), "{module} mentions {word}");
            }
        }
    }
}

#[test]
fn the_check_of_imports_sees_what_it_is_to_see() {
    let code = "use crate::{limits, engine::{Engine, slots::SlotId}}; use super::http::parse; \
                fn f() { crate::server::run(); }";
    let mut found = imports(code, "wire::wamp", false);
    found.sort();
    let expected = [
        "engine::Engine",
        "engine::slots::SlotId",
        "limits",
        "server::run",
        "wire::http::parse",
    ];
    assert_eq!(found, expected);
}

#[test]
fn every_file_says_what_it_is_and_what_is_never_in_it() {
    for path in sources() {
        let text = fs::read_to_string(&path).expect("a text");
        let page: Vec<&str> = text.lines().take_while(|l| l.starts_with("//!")).collect();
        assert!(!page.is_empty(), "{} begins with no `//!`", path.display());
        let page = page.join(" ").replace("//! ", "");
        let says = page.contains("Never here") || page.contains("must never be");
        assert!(
            says || is_of_tests(&module(&path)),
            "{}: what is never here?",
            path.display()
        );
    }
}

/// The name of the type that a line without indentation declares.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split(' ');
    let is_visibility = |word: &&str| word.starts_with("pub") || word.ends_with(')');
    let kind = words.find(|word| !is_visibility(word))?;
    let name = words.next()?;
    let end = name.find(|c: char| !c.is_alphanumeric());
    matches!(kind, "struct" | "enum" | "trait").then(|| &name[..end.unwrap_or(name.len())])
}

#[test]
fn no_two_types_have_one_name() {
    let mut known = HashMap::new();
    for path in sources() {
        if is_of_tests(&module(&path)) {
            continue;
        }
        for name in code(&path).lines().filter_map(declared) {
            let other = known.insert(name.to_owned(), path.clone());
            assert_eq!(other, None, "{name} is also in {}", path.display());
        }
    }
    assert!(known.contains_key("Engine") && known.contains_key("SlotId"));
}

#[test]
fn no_file_is_left_over() {
    for path in sources() {
        let stem = path.file_stem().expect("has a name").to_string_lossy();
        let folder = path.parent().expect("has a folder");
        let (owners, name) = match &*stem {
            "main" | "lib" if folder == Path::new("src") => continue,
            "mod" => {
                let above = folder.parent().expect("below src");
                let name = folder.file_name().expect("has a name").to_string_lossy();
                (above, name.into_owned())
            }
            _ => (folder, stem.into_owned()),
        };
        let declared = ["mod.rs", "lib.rs", "main.rs"].iter().any(|owner| {
            fs::read_to_string(owners.join(owner))
                .is_ok_and(|text| text.contains(&format!("mod {name};")))
        });
        assert!(declared, "{} is no module of any other", path.display());
    }
}

/// The table at the head of `tests/wire/hostile/mod.rs` names limits, options and tests that exist.
#[test]
fn the_table_of_bounds_names_what_there_is() {
    let read = |path: &str| fs::read_to_string(path).expect("a text");
    let table = read("tests/wire/hostile/mod.rs");
    let rows: Vec<&str> = table
        .lines()
        .filter_map(|line| line.strip_prefix("//! | "))
        .skip(1)
        .collect();
    assert!(rows.len() > 20, "{rows:?}");
    let limits = read("src/limits.rs");
    let mut tests = String::new();
    for folder in ["src/engine/tests", "tests"] {
        for path in sources_in(folder) {
            tests.push_str(&fs::read_to_string(path).expect("a text"));
        }
    }
    for row in rows {
        let names: Vec<&str> = row.split('`').skip(1).step_by(2).collect();
        let test = names.last().expect("a test");
        assert!(tests.contains(&format!("fn {test}()")), "{row}");
        for name in &names[..names.len() - 1] {
            let is_limit = limits.contains(&format!("pub const {name}:"));
            let is_option = newswire::config::option(name).is_some();
            let is_file = Path::new("src").join(name).exists();
            assert!(is_limit || is_option || is_file, "{name}: {row}");
        }
    }
}

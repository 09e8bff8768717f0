//! The documentation holds together and is complete: the README is short, every link leads somewhere, every
//! page can be reached, every section of the wire that the code cites exists, and every command, path and
//! reason has its row.
//!
//! Never here: the pages that are made of tables (`reference`), and running snippets.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use newswire::admin::routes::{ROUTES, Route};
use newswire::stats::{Cause, Dropped, PeerRefusal};

/// In lines. A README that is longer is a manual, and a manual is in `docs/`.
const README_LINES_MAX: usize = 200;

/// In bytes. It is loaded with the README.
const PICTURE_BYTES_MAX: u64 = 150_000;

/// All pages: the README, the changelog, and `docs/`.
fn pages() -> BTreeMap<PathBuf, String> {
    let entries = fs::read_dir("docs").expect("a folder");
    let pages = entries.map(|entry| entry.expect("an entry").path());
    let pages = pages.filter(|path| path.extension().is_some_and(|e| e == "md"));
    let pages = pages.chain(["README.md", "CHANGELOG.md"].map(PathBuf::from));
    pages
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a text");
            (path, text)
        })
        .collect()
}

/// The lines of a page that are not in a block of code.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_code = false;
    text.lines().filter(move |line| {
        let is_fence = line.trim_start().starts_with("```");
        is_code ^= is_fence;
        !is_code && !is_fence
    })
}

/// What a page's links lead to.
fn links(text: &str) -> Vec<&str> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .map(|rest| rest.split(')').next().expect("has a beginning"))
        .collect()
}

/// The anchors of a page's headings, as GitHub makes them.
fn anchors(text: &str) -> Vec<String> {
    let headings = prose(text).filter_map(|line| {
        let text = line.trim_start_matches('#');
        (text.len() < line.len()).then(|| text.strip_prefix(' '))?
    });
    let anchor = |heading: &str| {
        let kept = heading
            .chars()
            .filter(|&c| c.is_alphanumeric() || " -_".contains(c));
        kept.collect::<String>().to_lowercase().replace(' ', "-")
    };
    headings.map(anchor).collect()
}

/// `docs/a.md` and `../README.md` is `README.md`.
fn resolve(page: &Path, target: &str) -> PathBuf {
    let mut path = page.parent().expect("in a folder").to_owned();
    for part in target.split('/') {
        match part {
            ".." => assert!(path.pop(), "{target} of {} leads out", page.display()),
            part => path.push(part),
        }
    }
    path
}

/// A page's links into the repository: the file, and the anchor if one is named.
fn own_links(page: &Path, text: &str) -> Vec<(PathBuf, Option<String>)> {
    let own = links(text).into_iter().filter(|link| !link.contains("://"));
    own.map(|link| {
        let (target, anchor) = match link.split_once('#') {
            Some((target, anchor)) => (target, Some(anchor.to_owned())),
            None => (link, None),
        };
        let path = match target {
            "" => page.to_owned(),
            target => resolve(page, target),
        };
        (path, anchor)
    })
    .collect()
}

#[test]
fn the_readme_is_short() {
    let readme = fs::read_to_string("README.md").expect("a README");
    let lines = readme.lines().count();
    assert!(lines <= README_LINES_MAX, "{lines} lines");
}

#[test]
fn every_link_leads_somewhere() {
    let pages = pages();
    let mut count = 0;
    let mut dead = Vec::new();
    for (page, text) in &pages {
        for (path, anchor) in own_links(page, text) {
            count += 1;
            let there = match (&anchor, pages.get(&path)) {
                (None, _) => path.exists(),
                (Some(anchor), Some(text)) => anchors(text).contains(anchor),
                (Some(_), None) => false,
            };
            if !there {
                dead.push(format!("{}: {} {anchor:?}", page.display(), path.display()));
            }
        }
    }
    assert!(count > 50, "the links are seen");
    assert!(dead.is_empty(), "{}", dead.join("\n"));
}

/// Paths in backticks, such as `src/lib.rs`. A `*` stands for several files.
#[test]
fn every_file_that_is_named_exists() {
    const FOLDERS: &[&str] = &["src/", "tests/", "benches/", "packaging/", "docs/", ".ci/"];
    let mut count = 0;
    for (page, text) in pages() {
        let named = prose(&text).flat_map(|line| line.split('`').skip(1).step_by(2));
        for path in named.filter(|path| FOLDERS.iter().any(|folder| path.starts_with(folder))) {
            let path = path.split([' ', '*']).next().expect("has a beginning");
            count += 1;
            assert!(Path::new(path).exists(), "{}: {path}", page.display());
        }
    }
    assert!(count > 30, "the paths are seen: {count}");
}

/// Two headings of one text would have one anchor.
#[test]
fn no_page_has_two_headings_of_one_name() {
    for (page, text) in pages() {
        let all = anchors(&text);
        let different: BTreeSet<&String> = all.iter().collect();
        assert_eq!(all.len(), different.len(), "{}: {all:?}", page.display());
    }
}

#[test]
fn every_page_is_in_the_readmes_index() {
    let pages = pages();
    let readme = &pages[Path::new("README.md")];
    let (_, index) = readme
        .split_once("\n## Documentation\n")
        .expect("the section");
    let named = own_links(Path::new("README.md"), index);
    let mut named: BTreeSet<PathBuf> = named.into_iter().map(|(path, _)| path).collect();
    named.insert("README.md".into());
    let missing: Vec<&PathBuf> = pages.keys().filter(|page| !named.contains(*page)).collect();
    assert!(missing.is_empty(), "{missing:?}");
}

#[test]
fn the_picture_is_small() {
    let bytes = fs::metadata("docs/dashboard.png").expect("a picture").len();
    assert!(bytes <= PICTURE_BYTES_MAX, "{bytes}");
}

/// Code and tests cite the contract as `docs/wire.md s. 2`, or `docs/wire.md s. 2 and s. 3`.
#[test]
fn every_section_of_the_wire_that_is_cited_exists() {
    fn walk(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            match path.extension() {
                _ if path.is_dir() => walk(&path, found),
                Some(extension) if extension == "rs" || extension == "txt" => found.push(path),
                _ => {}
            }
        }
    }
    let mut files = Vec::new();
    walk(Path::new("src"), &mut files);
    walk(Path::new("tests"), &mut files);
    let wire = fs::read_to_string("docs/wire.md").expect("the contract");
    // In two pieces, so that this file cites nothing.
    let page = format!("wire.md{}", ' ');
    let mut count = 0;
    for file in files {
        let text = fs::read_to_string(&file).expect("a text");
        for (at, _) in text.match_indices(&format!("{page}s. ")) {
            count += 1;
            assert!(text[..at].ends_with("docs/"), "{}", file.display());
            let rest = &text[at + page.len()..];
            let end = rest.find(['`', ')', '\n', '"']).unwrap_or(rest.len());
            let sections = rest[..end].split("s. ").skip(1);
            for section in sections {
                let number: String = section.chars().take_while(char::is_ascii_digit).collect();
                // A pattern names no section.
                assert!(
                    number.is_empty() || wire.contains(&format!("\n## {number}. ")),
                    "{}: {section}",
                    file.display()
                );
            }
        }
    }
    assert!(count > 40, "the citations are seen: {count}");
}

#[test]
fn these_tests_see_what_they_are_to_see() {
    let text = "# A `b` & C-d\n[x](a.md#b) and ![y](c.png)\n```sh\n# no\n[no](no.md)\n```\n";
    assert_eq!(anchors(text), ["a-b--c-d"]);
    assert_eq!(links(text), ["a.md#b", "c.png"]);
    let page = Path::new("docs/tokens.md");
    assert_eq!(resolve(page, "../README.md"), Path::new("README.md"));
}

/// An example that has expired is one that does not work.
#[test]
fn no_date_in_the_documentation_passes_soon() {
    let year = |text: &str| text.parse::<u32>().ok().filter(|_| text.len() == 4);
    let mut count = 0;
    for (page, text) in pages() {
        for (at, _) in text.match_indices('-') {
            let before = text[..at].get(at.saturating_sub(4)..).and_then(year);
            let after = text[at + 1..].split(|c: char| !c.is_ascii_digit()).next();
            if let (Some(year), Some([_, _])) = (before, after.map(str::as_bytes)) {
                count += 1;
                let date = &text[at - 4..at + 3];
                assert!(year >= 2090, "{}: {date}", page.display());
            }
        }
    }
    assert!(count > 1, "the examples have dates");
}

/// What the first cells of the table below `head` on `page` say, in backticks.
fn first_cells(page: &str, head: &str) -> Vec<String> {
    let text = fs::read_to_string(page).expect("a page");
    let (_, table) = text.split_once(head).expect("the table's head");
    let rows = table
        .lines()
        .skip(2)
        .take_while(|line| line.starts_with('|'));
    rows.map(|row| row.split('`').nth(1).expect("a name").to_owned())
        .collect()
}

#[test]
fn the_readme_has_every_command_and_no_other() {
    let mut listed = first_cells("README.md", "| command | does |");
    let command = newswire::cli::command();
    let mut commands: Vec<&str> = command.get_subcommands().map(|c| c.get_name()).collect();
    listed.sort();
    commands.sort();
    assert_eq!(listed, commands);
}

#[test]
fn troubleshoot_has_every_reason_for_a_drop_and_no_other() {
    let reasons: Vec<&str> = Dropped::ALL.iter().map(|reason| reason.name()).collect();
    let listed = first_cells("docs/troubleshoot.md", "| reason | the message | log |");
    assert_eq!(listed, reasons);
}

#[test]
fn tokens_has_every_cause_for_refusing_a_token_and_no_other() {
    let causes: Vec<&str> = Cause::ALL.iter().map(|cause| cause.name()).collect();
    let listed = first_cells("docs/tokens.md", "| cause | the token |");
    assert_eq!(listed, causes);
}

#[test]
fn troubleshoot_has_every_reason_for_refusing_a_zeromq_peer_and_no_other() {
    let reasons: Vec<&str> = PeerRefusal::ALL.iter().map(|r| r.name()).collect();
    let listed = first_cells("docs/troubleshoot.md", "| reason | the peer | log |");
    assert_eq!(listed, reasons);
}

#[test]
fn operate_has_every_path_of_the_admin_listener_and_no_other() {
    let mut listed = first_cells("docs/operate.md", "| path | does |");
    let method = |route: &Route| if route.is_post { "POST" } else { "GET" };
    let mut routes: Vec<String> = ROUTES
        .iter()
        .map(|route| format!("{} {}", method(route), route.path))
        .collect();
    listed.sort();
    routes.sort();
    assert_eq!(listed, routes);
}

#[test]
fn performance_names_every_option_of_load() {
    let text = fs::read_to_string("docs/performance.md").expect("a page");
    let (_, section) = text.split_once("\n## Load test\n").expect("the section");
    let section = section.split("\n## ").next().unwrap_or(section);
    let command = newswire::cli::command();
    let load = command.find_subcommand("load").expect("the command");
    let shown = load.get_arguments().filter(|option| !option.is_hide_set());
    for name in shown.filter_map(|option| option.get_long()) {
        let flag = format!("--{name}");
        let named = section
            .match_indices(&flag)
            .any(|(at, _)| section[at + flag.len()..].starts_with(['`', ' ']));
        assert!(named, "{flag}");
    }
}

//! What peers send on the wire, as short scripts (`tests/transcripts/*.txt`). Each script runs on two stages: the engine
//! in memory, where the clients' bytes are also cut at random places and must have the same result; and the real binary
//! with publishers over ZeroMQ.
//!
//! `script.rs` has the language. A new behaviour is a new file in that folder, and nothing else.
//! `NEWSWIRE_SEED` replays the cuts of a run that failed.

mod binary;
mod engine;
mod script;

use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use binary::BinaryStage;
use engine::{Cuts, EngineStage};
use kit::dice::seed;
use kit::raw::Heard;
use kit::web::Answer;
use script::{Action, Script, Step};

/// Where scripts are played. `who` has connected before.
trait Stage {
    fn connect(&mut self, who: &str);
    fn send(&mut self, who: &str, bytes: &[u8]);
    fn end(&mut self, who: &str);
    fn publish(&mut self, parts: &[Vec<u8>]);
    fn wait(&mut self, seconds: u64);
    fn shutdown(&mut self);

    /// The next thing that `who` hears.
    ///
    /// # Errors
    /// Nothing comes.
    fn hear(&mut self, who: &str) -> Result<Heard, String>;

    /// All that was sent and published is dealt with, and `who` has heard nothing of it.
    ///
    /// # Errors
    /// What it has heard.
    fn hear_nothing(&mut self, who: &str) -> Result<(), String>;
}

/// In runs of each script with its bytes cut at random places.
const RUNS: u64 = 40;

fn scripts() -> Vec<Script> {
    let mut files: Vec<_> = std::fs::read_dir("tests/transcripts")
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|e| e == "txt"))
        .collect();
    files.sort();
    let scripts = files.iter().map(|path| {
        let text = std::fs::read_to_string(path).expect("a text");
        let file = path.display().to_string();
        script::parse(&file, &text).unwrap_or_else(|error| panic!("{error}"))
    });
    scripts.collect()
}

/// Plays a script to its end.
///
/// # Errors
/// `file:line: what came instead`.
fn play(script: &Script, stage: &mut dyn Stage) -> Result<(), String> {
    let mut play = Play {
        answer: None,
        ids: BTreeSet::new(),
        open: BTreeSet::new(),
        ending: BTreeSet::new(),
    };
    for step in &script.steps {
        play.step(step, stage)
            .map_err(|what| format!("{}:{}: {what}", script.file, step.line))?;
    }
    for who in &play.ending {
        let heard = stage.hear(who)?;
        if heard != Heard::End {
            return Err(format!("{}: at the end {who} hears: {heard}", script.file));
        }
    }
    // Nothing is left unheard.
    for who in &play.open {
        stage
            .hear_nothing(who)
            .map_err(|what| format!("{}: at the end {who} hears: {what}", script.file))?;
    }
    Ok(())
}

struct Play {
    /// The last one, which `header`, `lacks` and `body` are about.
    answer: Option<Answer>,
    /// Session ids heard.
    ids: BTreeSet<String>,
    /// Who is between 101 and Close.
    open: BTreeSet<String>,
    /// Who has heard a refusal or a Close frame, and so has to hear the end.
    ending: BTreeSet<String>,
}

impl Play {
    fn step(&mut self, step: &Step, stage: &mut dyn Stage) -> Result<(), String> {
        let who = step.who.as_str();
        match &step.action {
            Action::Connect => stage.connect(who),
            Action::Send(bytes) => stage.send(who, bytes),
            Action::EndHalf => stage.end(who),
            Action::Publish(parts) => stage.publish(parts),
            Action::Wait(seconds) => stage.wait(*seconds),
            Action::Shutdown => stage.shutdown(),
            Action::Http(status) => match stage.hear(who)? {
                Heard::Http(http) if http.status == *status => {
                    let is_stream = http.values("content-type") == ["text/event-stream"];
                    let has_come_to = match http.status {
                        101 => Some(&mut self.open),
                        _ if is_stream => None,
                        _ => Some(&mut self.ending),
                    };
                    has_come_to.map(|clients| clients.insert(who.to_owned()));
                    self.answer = Some(http);
                }
                heard => return Err(heard.to_string()),
            },
            Action::Header(name, value) => {
                let values = self.answer()?.values(name);
                if values != [value] {
                    return Err(format!("{values:?}"));
                }
            }
            Action::Lacks(name) => {
                let values = self.answer()?.values(name);
                if !values.is_empty() {
                    return Err(format!("{values:?}"));
                }
            }
            Action::Body(text) => {
                let body = &self.answer()?.body;
                if !body.contains(text) {
                    return Err(body.clone());
                }
            }
            Action::Text(expected) => match stage.hear(who)? {
                Heard::Frame(0x81, payload) => self.compare(expected, &payload)?,
                heard => return Err(heard.to_string()),
            },
            Action::Deflated(expected) => {
                let heard = stage.hear(who)?;
                let message = match &heard {
                    Heard::Frame(0xC1, payload) => kit::deflate::inflate(payload),
                    _ => None,
                };
                let text = message.and_then(|message| String::from_utf8(message).ok());
                if text.is_none_or(|text| !is_as(expected, &text)) {
                    return Err(heard.to_string());
                }
            }
            Action::Event(expected) => match stage.hear(who)? {
                Heard::Event(lines) if is_as(expected, &lines) => {}
                heard => return Err(heard.to_string()),
            },
            Action::Frame(first, payload) => {
                let heard = stage.hear(who)?;
                if heard != Heard::Frame(*first, payload.clone()) {
                    return Err(heard.to_string());
                }
                if *first == 0x88 {
                    self.open.remove(who);
                    self.ending.insert(who.to_owned());
                }
            }
            Action::Nothing => stage.hear_nothing(who)?,
            Action::End => {
                let heard = stage.hear(who)?;
                if heard != Heard::End {
                    return Err(heard.to_string());
                }
                self.open.remove(who);
                self.ending.remove(who);
            }
        }
        Ok(())
    }

    fn answer(&self) -> Result<&Answer, String> {
        self.answer.as_ref().ok_or("there was no answer".to_owned())
    }

    /// Byte for byte, but for a session id and the version.
    fn compare(&mut self, expected: &str, payload: &[u8]) -> Result<(), String> {
        let wrong = || Heard::Frame(0x81, payload.to_vec()).to_string();
        let expected = expected.replace("<version>", env!("CARGO_PKG_VERSION"));
        let text = str::from_utf8(payload).map_err(|_| wrong())?;
        let Some((before, after)) = expected.split_once("<id>") else {
            return match is_as(&expected, text) {
                true => Ok(()),
                false => Err(wrong()),
            };
        };
        let id = text
            .strip_prefix(before)
            .and_then(|rest| rest.strip_suffix(after))
            .ok_or_else(wrong)?;
        if id.is_empty() || !id.bytes().all(|b| b.is_ascii_alphanumeric()) {
            return Err(wrong());
        }
        match self.ids.insert(id.to_owned()) {
            true => Ok(()),
            false => Err("two sessions have one id".to_owned()),
        }
    }
}

/// Compares byte for byte; each `<n>` stands for any number, and each `<event>` for the id of any event.
fn is_as(expected: &str, text: &str) -> bool {
    let Some(at) = expected.find('<') else {
        return expected == text;
    };
    let (before, pattern) = expected.split_at(at);
    let Some(rest) = text.strip_prefix(before) else {
        return false;
    };
    if let Some(pattern) = pattern.strip_prefix("<event>") {
        let Some((epoch, rest)) = rest.split_once('-') else {
            return false;
        };
        let is_epoch = epoch.len() == 8 && epoch.bytes().all(|b| b.is_ascii_alphanumeric());
        return is_epoch && is_as(&format!("<n>{pattern}"), rest);
    }
    if let Some(pattern) = pattern.strip_prefix("<n>") {
        let after = rest.trim_start_matches(|c: char| c.is_ascii_digit());
        return after.len() < rest.len() && is_as(pattern, after);
    }
    rest.starts_with('<') && is_as(&pattern[1..], &rest[1..])
}

#[test]
fn on_the_engine_however_the_bytes_are_cut() {
    let seed = seed();
    let mut cuts = vec![Cuts::None, Cuts::Everywhere];
    cuts.extend(
        (0..RUNS).map(|run| Cuts::Random((seed + run).wrapping_mul(0x9E37_79B9_7F4A_7C15))),
    );
    let mut failed = Vec::new();
    for script in scripts().iter().filter(|script| script.on_engine) {
        let wrong = cuts.iter().find_map(|&cuts| {
            let mut stage = EngineStage::new(&script.options, cuts);
            let error = play(script, &mut stage).err()?;
            Some(format!("{error} (cuts: {cuts:?}, NEWSWIRE_SEED={seed})"))
        });
        failed.extend(wrong);
    }
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn on_the_binary() {
    let scripts: Vec<Script> = scripts().into_iter().filter(|s| s.on_binary).collect();
    let (next, failed) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(script) = scripts.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let mut stage = BinaryStage::new(&script.options);
                    if let Err(error) = play(script, &mut stage) {
                        failed.lock().expect("no panic").push(error);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().expect("no panic");
    assert!(failed.is_empty(), "\n{}", failed.join("\n"));
}

#[test]
fn a_mistake_in_a_script_is_told_with_its_place() {
    let parse = |step: &str| script::parse("a.txt", &format!("# x, docs/wire.md s. 2\n\n{step}\n"));
    for (step, error) in [
        (
            "connected",
            "a.txt:3: no such step (or not here): connected",
        ),
        ("server text", ""),
        (
            "server shout",
            "a.txt:3: a server does not say that: server shout",
        ),
        (
            "client bytes 0",
            "a.txt:3: \"0\" is neither text in quotes nor bytes: client bytes 0",
        ),
        (
            "client frame 81 'x",
            "a.txt:3: a quote is not closed: client frame 81 'x",
        ),
        ("wait 25", "a.txt:3: how long, as in `25s`?: wait 25"),
        ("# only", "a.txt:1: nothing happens"),
    ] {
        assert_eq!(parse(step).err().unwrap_or_default(), error);
    }
    let error = script::parse("a.txt", "connect\n").expect_err("no comment");
    assert!(error.starts_with("a.txt:1: "), "{error}");
}

//! The language of the transcripts. A line is one step; `#` begins a line that is a comment; empty
//! lines mean nothing. A file begins with a comment: what it shows, and the section of the contract.
//!
//! | step | meaning |
//! |---|---|
//! | `option --NAME VALUE` | the server runs with it; these stand before all other steps |
//! | `only engine`, `only binary` | the script does not run on the other stage |
//! | `connect` | a TCP connection |
//! | `> LINE` | the client sends a line of a head; `>` alone is the empty line that ends it |
//! | `open [TARGET]` | `connect`, an upgrade that offers `wamp`, 101 and WELCOME |
//! | `open2 [TARGET]` | `connect`, an upgrade that offers `wamp.2.json`, 101, HELLO and WELCOME |
//! | `client text TEXT` | the client sends a text frame |
//! | `client deflated TEXT` | the client sends a compressed text frame |
//! | `client frame FIRST DATA` | a frame with that first byte (hexadecimal), masked |
//! | `client bytes DATA` | bytes as they are |
//! | `client end` | the client ends its half of the connection |
//! | `server http STATUS` | the client receives an HTTP answer |
//! | `server header NAME: VALUE` | which had this header, once |
//! | `server lacks NAME` | … and not this one |
//! | `server body TEXT` | … and this in its body |
//! | `server text TEXT` | the client receives this text frame; `<id>` stands for any session id, `<n>` for any number, `<event>` for the id of any event, `<version>` for the server's |
//! | `server deflated TEXT` | this text, compressed |
//! | `server frame FIRST DATA` | this frame |
//! | `server event LINES` | this server-sent event; `¶` stands between its lines |
//! | `server close CODE [REASON]` | this Close frame |
//! | `server nothing` | nothing, although all that was sent and published has been dealt with |
//! | `server end` | the end of the connection |
//! | `publish JSON` | a publisher's message of one part, the rest of the line |
//! | `publish parts DATA…` | one of so many parts |
//! | `wait 25s` | time passes; the script runs on the engine only, where time is an argument |
//! | `shutdown` | the server is asked to end (SIGTERM) |
//!
//! DATA is pieces with spaces between them: `'…'` or `"…"` is text without escapes, `0a ff` or `0aff`
//! are bytes, and `*1000` repeats the piece before it. (Of `publish parts`, each piece is a part.)
//!
//! With several clients a step begins with a name: `ann: client text [5,"t"]`. A script names all that the server sends,
//! in order: at the end of a script nothing may be left unread.

use kit::raw::frame_of;

/// One file.
#[derive(Debug)]
pub struct Script {
    pub file: String,
    /// As flags.
    pub options: Vec<(String, String)>,
    pub on_engine: bool,
    pub on_binary: bool,
    pub steps: Vec<Step>,
}

#[derive(Debug)]
pub struct Step {
    pub line: usize,
    /// Whose; `client` where the script names nobody.
    pub who: String,
    pub action: Action,
}

#[derive(Debug)]
pub enum Action {
    Connect,
    Send(Vec<u8>),
    EndHalf,
    Http(u16),
    Header(String, String),
    Lacks(String),
    Body(String),
    Text(String),
    Deflated(String),
    Frame(u8, Vec<u8>),
    Event(String),
    Nothing,
    End,
    Publish(Vec<Vec<u8>>),
    Wait(u64),
    Shutdown,
}

/// What a client that hides nothing asks for. Lines are as RFC 6455 has them.
pub const OPEN_TARGET: &str = "/?token=b64+with/every=sign==";
const OPEN_HEAD: &str = "Host: push.example\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
    Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\
    Sec-WebSocket-Protocol: ";
pub const WELCOME: &str = "[0,\"<id>\",1,\"newswire/<version>\"]";
const HELLO_2: &str = "[1,\"realm1\",{\"roles\":{\"subscriber\":{}}}]";
const WELCOME_2: &str = "[2,<id>,{\"agent\":\"newswire/<version>\",\"roles\":{\"broker\":{\"features\":\
    {\"subscription_revocation\":true}}}}]";

/// Parses a file's text.
///
/// # Errors
/// `file:line: what is wrong`.
pub fn parse(file: &str, text: &str) -> Result<Script, String> {
    let mut script = Script {
        file: file.to_owned(),
        options: Vec::new(),
        on_engine: true,
        on_binary: true,
        steps: Vec::new(),
    };
    let first = text.lines().next().unwrap_or_default();
    if !first.starts_with("# ") {
        return Err(format!(
            "{file}:1: the first line is a comment: what it shows"
        ));
    }
    let comment = text.lines().take_while(|line| line.starts_with('#'));
    if !comment.collect::<String>().contains("docs/wire.md s. ") {
        return Err(format!(
            "{file}:1: the first comment names a section, as in `docs/wire.md s. 2`"
        ));
    }
    for (index, line) in text.lines().enumerate() {
        let number = index + 1;
        if !line.is_empty() && !line.starts_with('#') {
            script
                .take(number, line)
                .map_err(|what| format!("{file}:{number}: {what}: {line}"))?;
        }
    }
    if script.steps.is_empty() {
        return Err(format!("{file}:1: nothing happens"));
    }
    Ok(script)
}

impl Script {
    fn take(&mut self, line: usize, text: &str) -> Result<(), String> {
        let (who, step) = match text.split_once(": ") {
            Some((who, step)) if is_name(who) => (who, step),
            _ => ("client", text),
        };
        let (verb, rest) = step.split_once(' ').unwrap_or((step, ""));
        let is_first = self.steps.is_empty();
        let mut push = |action| {
            self.steps.push(Step {
                line,
                who: who.to_owned(),
                action,
            });
        };
        match verb {
            "option" if is_first => {
                let (flag, value) = rest.split_once(' ').ok_or("an option has a value")?;
                let name = flag
                    .strip_prefix("--")
                    .ok_or("an option begins with `--`")?;
                self.options.push((name.to_owned(), value.to_owned()));
            }
            "only" if rest == "engine" => self.on_binary = false,
            "only" if rest == "binary" => self.on_engine = false,
            "connect" if rest.is_empty() => push(Action::Connect),
            "open" => {
                let target = if rest.is_empty() { OPEN_TARGET } else { rest };
                push(Action::Connect);
                push(Action::Send(
                    format!("GET {target} HTTP/1.1\r\n{OPEN_HEAD}wamp\r\n\r\n").into(),
                ));
                push(Action::Http(101));
                push(Action::Text(WELCOME.to_owned()));
            }
            "open2" => {
                let target = if rest.is_empty() { OPEN_TARGET } else { rest };
                push(Action::Connect);
                push(Action::Send(
                    format!("GET {target} HTTP/1.1\r\n{OPEN_HEAD}wamp.2.json\r\n\r\n").into(),
                ));
                push(Action::Http(101));
                push(Action::Send(frame_of(0x81, HELLO_2.as_bytes())));
                push(Action::Text(WELCOME_2.to_owned()));
            }
            ">" => push(Action::Send(format!("{rest}\r\n").into())),
            "client" => push(client(rest)?),
            "server" => push(server(rest)?),
            "publish" => push(Action::Publish(match rest.strip_prefix("parts ") {
                Some(parts) => pieces(parts)?,
                None => vec![rest.into()],
            })),
            "wait" => {
                let seconds = rest.strip_suffix('s').and_then(|s| s.parse().ok());
                push(Action::Wait(seconds.ok_or("how long, as in `25s`?")?));
                self.on_binary = false;
            }
            "shutdown" if rest.is_empty() => push(Action::Shutdown),
            _ => return Err("no such step (or not here)".to_owned()),
        }
        Ok(())
    }
}

fn is_name(word: &str) -> bool {
    !word.is_empty() && word.bytes().all(|b| b.is_ascii_lowercase())
}

fn client(rest: &str) -> Result<Action, String> {
    let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match verb {
        "text" => Ok(Action::Send(frame_of(0x81, rest.as_bytes()))),
        "deflated" => {
            let payload = kit::deflate::deflate(rest.as_bytes());
            Ok(Action::Send(frame_of(0xC1, &payload)))
        }
        "frame" => {
            let (first, payload) = frame(rest)?;
            Ok(Action::Send(frame_of(first, &payload)))
        }
        "bytes" => Ok(Action::Send(pieces(rest)?.concat())),
        "end" if rest.is_empty() => Ok(Action::EndHalf),
        _ => Err("a client says `text`, `deflated`, `frame`, `bytes` or `end`".to_owned()),
    }
}

fn server(rest: &str) -> Result<Action, String> {
    let (verb, rest) = rest.split_once(' ').unwrap_or((rest, ""));
    match verb {
        "http" => Ok(Action::Http(rest.parse().map_err(|_| "which status?")?)),
        "header" => {
            let (name, value) = rest.split_once(": ").ok_or("NAME: VALUE")?;
            Ok(Action::Header(name.to_owned(), value.to_owned()))
        }
        "lacks" => Ok(Action::Lacks(rest.to_owned())),
        "body" => Ok(Action::Body(rest.to_owned())),
        "text" => Ok(Action::Text(rest.to_owned())),
        "deflated" => Ok(Action::Deflated(rest.to_owned())),
        "event" => Ok(Action::Event(rest.replace('¶', "\n"))),
        "frame" => frame(rest).map(|(first, payload)| Action::Frame(first, payload)),
        "close" => {
            let (code, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            let code = code.parse().map_err(|_| "which close code?")?;
            let payload = kit::raw::close_payload(code, reason);
            Ok(Action::Frame(0x88, payload))
        }
        "nothing" if rest.is_empty() => Ok(Action::Nothing),
        "end" if rest.is_empty() => Ok(Action::End),
        _ => Err("a server does not say that".to_owned()),
    }
}

fn frame(rest: &str) -> Result<(u8, Vec<u8>), String> {
    let (first, data) = rest.split_once(' ').unwrap_or((rest, ""));
    let first = u8::from_str_radix(first, 16).map_err(|_| "the first byte, in hexadecimal")?;
    Ok((first, pieces(data)?.concat()))
}

/// DATA, piece by piece.
fn pieces(data: &str) -> Result<Vec<Vec<u8>>, String> {
    let mut pieces: Vec<Vec<u8>> = Vec::new();
    let mut rest = data.trim_start();
    while let Some(first) = rest.chars().next() {
        if first == '\'' || first == '"' {
            let (inner, after) = rest[1..].split_once(first).ok_or("a quote is not closed")?;
            pieces.push(inner.into());
            rest = after.trim_start();
            continue;
        }
        let (word, after) = rest.split_once(' ').unwrap_or((rest, ""));
        rest = after.trim_start();
        if let Some(times) = word.strip_prefix('*') {
            let times: usize = times.parse().map_err(|_| "how often, as in `*1000`?")?;
            let piece = pieces.last_mut().ok_or("nothing to repeat")?;
            *piece = piece.repeat(times);
            continue;
        }
        let digits = word.as_bytes();
        if digits.len() % 2 != 0 || !digits.iter().all(u8::is_ascii_hexdigit) {
            return Err(format!("{word:?} is neither text in quotes nor bytes"));
        }
        let byte = |pair: &[u8]| {
            let pair = str::from_utf8(pair).expect("digits");
            u8::from_str_radix(pair, 16).expect("digits")
        };
        pieces.push(digits.chunks(2).map(byte).collect());
    }
    Ok(pieces)
}

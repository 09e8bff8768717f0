//! The second stage: the real binary, TCP, and publishers over ZeroMQ.
//!
//! No wait has a fixed time. The answer to a later ping proves that the server has handled what a client sent. A later
//! event on a topic of its own proves that the server has handled what was published.

use std::collections::BTreeMap;

use super::{Stage, is_as};
use kit::Server;
use kit::raw::{Heard, Raw, frame_of};

/// See above.
pub struct BinaryStage {
    server: Option<Server>,
    publisher: (zmq::Context, zmq::Socket),
    peers: BTreeMap<String, Peer>,
    has_published: bool,
    barriers: usize,
}

struct Peer {
    raw: Raw,
    /// True exactly between the 101 and a Close frame or the end.
    is_open: bool,
    /// True exactly when something was sent of which it is not known that it was dealt with.
    is_unsettled: bool,
    /// True exactly when the client has offered WAMP v2.
    has_wamp2: bool,
}

impl BinaryStage {
    /// A server with the options of a script.
    pub fn new(options: &[(String, String)]) -> Self {
        let options: Vec<String> = options
            .iter()
            .flat_map(|(name, value)| [format!("--{name}"), value.clone()])
            .collect();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let server = Server::start(&options);
        Self {
            publisher: server.publisher(),
            server: Some(server),
            peers: BTreeMap::new(),
            has_published: false,
            barriers: 0,
        }
    }

    fn peer(&mut self, who: &str) -> &mut Peer {
        self.peers.get_mut(who).expect("it has connected")
    }

    /// What clients have sent is dealt with.
    fn settle(&mut self) {
        for peer in self.peers.values_mut() {
            if peer.is_open && peer.is_unsettled {
                peer.raw.settle().expect("an answer");
                peer.is_unsettled = false;
            }
        }
    }

    /// What was published is dealt with, and so are the events that came of it for `who`.
    fn settle_events(&mut self, who: &str) -> Result<(), String> {
        self.barriers += 1;
        let topic = format!("barrier-{}", self.barriers);
        let peer = self.peer(who);
        let text = |text: &str| frame_of(0x81, text.as_bytes());
        let (mut event, mut leave) = (format!("[8,\"{topic}\",0]"), format!("[6,\"{topic}\"]"));
        if peer.has_wamp2 {
            peer.raw.send(&text(&format!("[32,9,{{}},\"{topic}\"]")));
            let subscribed = peer.raw.hear()?;
            let number = subscribed.text().and_then(|text| {
                let number = text.strip_prefix("[33,9,")?.strip_suffix(']')?;
                Some(number.to_owned())
            });
            let number = number.ok_or_else(|| subscribed.to_string())?;
            event = format!("[36,{number},<n>,{{\"x_id\":\"<event>\"}},[0]]");
            leave = format!("[34,9,{number}]");
        } else {
            peer.raw.send(&text(&format!("[5,\"{topic}\"]")));
            peer.raw.settle()?;
            if let Some(heard) = peer.raw.kept() {
                return Err(heard.to_string());
            }
        }
        let (_, socket) = &self.publisher;
        let published = format!("{{\"topic\":\"{topic}\",\"data\":0}}");
        socket.send(&published, 0).expect("sent");
        let peer = self.peer(who);
        let heard = peer.raw.hear()?;
        if !heard.text().is_some_and(|text| is_as(&event, text)) {
            return Err(heard.to_string());
        }
        peer.raw.send(&text(&leave));
        match peer.has_wamp2.then(|| peer.raw.hear()).transpose()? {
            Some(heard) if heard.text() != Some("[35,9]") => Err(heard.to_string()),
            _ => Ok(()),
        }
    }
}

impl Stage for BinaryStage {
    fn connect(&mut self, who: &str) {
        let stream = self.server.as_ref().expect("it runs").connect();
        let peer = Peer {
            raw: Raw::new(stream),
            is_open: false,
            is_unsettled: false,
            has_wamp2: false,
        };
        self.peers.insert(who.to_owned(), peer);
    }

    fn send(&mut self, who: &str, bytes: &[u8]) {
        let peer = self.peer(who);
        peer.is_unsettled = true;
        peer.has_wamp2 |= bytes.windows(11).any(|some| some == b"wamp.2.json");
        peer.raw.send(bytes);
    }

    fn end(&mut self, who: &str) {
        self.peer(who).raw.end();
    }

    fn publish(&mut self, parts: &[Vec<u8>]) {
        self.settle();
        self.has_published = true;
        let (_, socket) = &self.publisher;
        socket.send_multipart(parts, 0).expect("sent");
    }

    fn wait(&mut self, _seconds: u64) {
        panic!("scripts that wait run on the engine");
    }

    fn shutdown(&mut self) {
        self.settle();
        if let Some(server) = self.server.take() {
            // It has to be heard while it goes down, so its end is waited for elsewhere.
            server.signal("TERM");
            std::thread::spawn(move || server.wait());
        }
    }

    fn hear(&mut self, who: &str) -> Result<Heard, String> {
        let peer = self.peer(who);
        let heard = peer.raw.hear()?;
        match &heard {
            Heard::Http(http) => peer.is_open = http.status == 101,
            Heard::Frame(0x88, _) | Heard::End | Heard::Reset => peer.is_open = false,
            _ => {}
        }
        Ok(heard)
    }

    fn hear_nothing(&mut self, who: &str) -> Result<(), String> {
        let has_published = self.has_published;
        let peer = self.peer(who);
        if !peer.is_open {
            return Err("only an open session can prove that it hears nothing".to_owned());
        }
        peer.raw.settle()?;
        if let Some(heard) = peer.raw.kept() {
            return Err(heard.to_string());
        }
        match has_published {
            true => self.settle_events(who),
            false => Ok(()),
        }
    }
}

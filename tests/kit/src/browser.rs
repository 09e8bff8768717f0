//! A real browser, driven over the DevTools protocol; and a server for the pages that a test shows it.
//!
//! The browser is `chromium` of the `PATH`, or what the variable `CHROMIUM` names: headless, with a
//! profile of its own that is gone when the test ends. Each [`Page`] is a tab with a WebSocket of its
//! own to it. What a page writes to its console, throws or cannot load is kept, and is shown when a
//! wait fails.

use std::collections::BTreeMap;
use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, Instant};

use data_encoding::BASE64;
use serde_json::{Value, json};
use tungstenite::WebSocket;
use tungstenite::protocol::Message;

use super::scripts::interpreter;
use super::stream::Patient;
use super::wait_until;

/// How long one command, or one condition in a page, may take. A browser starts slowly on a machine
/// that runs other tests.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// One process. Dropped, it is gone, and its profile with it.
pub struct Browser {
    child: Child,
    profile: PathBuf,
    /// Where it listens for us.
    address: SocketAddr,
    control: Wire,
}

impl Browser {
    /// Starts one.
    pub fn start() -> Self {
        static STARTED: AtomicUsize = AtomicUsize::new(0);
        let number = STARTED.fetch_add(1, Ordering::Relaxed);
        let name = format!("newswire-{}-browser-{number}", std::process::id());
        let profile = std::env::temp_dir().join(name);
        fs::create_dir(&profile).expect("a writable directory");
        let mut command = interpreter("CHROMIUM", "chromium");
        command
            .args(["--headless", "--no-sandbox", "--disable-gpu"])
            // It writes to no small /dev/shm, and speaks to nobody but us and the tests' servers.
            .args(["--disable-dev-shm-usage", "--no-first-run"])
            .args([
                "--disable-background-networking",
                "--disable-component-update",
            ])
            .args(["--hide-scrollbars", "--force-device-scale-factor=1"])
            .arg("--remote-debugging-port=0")
            .arg(format!("--user-data-dir={}", profile.display()))
            .arg("about:blank")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        // Its first line is the port, its second the path of what controls it all.
        let mut told = String::new();
        wait_until("the browser tells its port", || {
            if let Some(status) = child.try_wait().expect("a child") {
                panic!("{command:?} has ended: {status}");
            }
            told = fs::read_to_string(profile.join("DevToolsActivePort")).unwrap_or_default();
            told.lines().count() == 2
        });
        let (port, path) = told.split_once('\n').expect("two lines");
        let port: u16 = port.parse().expect("a port");
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        let control = Wire::connect(address, path.trim());
        Self {
            child,
            profile,
            address,
            control,
        }
    }

    /// A new tab, with nothing in it.
    pub fn page(&mut self) -> Page {
        let made = self
            .control
            .command("Target.createTarget", json!({"url": "about:blank"}));
        let id = made["targetId"].as_str().expect("an id");
        let mut page = Page {
            wire: Wire::connect(self.address, &format!("/devtools/page/{id}")),
        };
        for domain in ["Page", "Runtime", "Log", "Network"] {
            page.wire.command(&format!("{domain}.enable"), json!({}));
        }
        page
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        // By its own hand, so that its other processes end with it and leave the profile alone.
        let _ = self.control.send("Browser.close", json!({}));
        let deadline = now() + Duration::from_secs(5);
        while matches!(self.child.try_wait(), Ok(None)) && now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.profile);
    }
}

fn now() -> Instant {
    Instant::now()
}

/// A tab.
pub struct Page {
    wire: Wire,
}

impl Page {
    /// Loads a page, its scripts and pictures included.
    pub fn navigate(&mut self, url: &str) {
        self.wire.is_loaded = false;
        let answer = self.wire.command("Page.navigate", json!({"url": url}));
        assert!(answer["errorText"].is_null(), "{url}: {answer}");
        self.wire.hear_until(url, |wire| wire.is_loaded);
    }

    /// What an expression is, when it is settled if it is a promise.
    pub fn evaluate(&mut self, expression: &str) -> Value {
        let answer = self.wire.command(
            "Runtime.evaluate",
            json!({"expression": expression, "awaitPromise": true, "returnByValue": true}),
        );
        let thrown = &answer["exceptionDetails"];
        assert!(thrown.is_null(), "{expression}: {}", exception(thrown));
        answer["result"]["value"].clone()
    }

    /// Waits until an expression is true, or anything that counts as true.
    pub fn wait_for(&mut self, expression: &str) {
        let condition = format!("Boolean({expression})");
        self.wait_until(expression, |page| page.evaluate(&condition) == json!(true));
    }

    /// Waits for `condition`, with a deadline.
    pub fn wait_until(&mut self, what: &str, mut condition: impl FnMut(&mut Self) -> bool) {
        let deadline = now() + PATIENCE;
        while !condition(self) {
            if now() > deadline {
                let html = self.evaluate("document.documentElement.outerHTML");
                let html = html.as_str().unwrap_or_default().to_owned();
                let console = self.console();
                panic!("in vain: {what}\nconsole: {console:#?}\npage: {html:.2000}");
            }
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Runs a script in every document to come, before any of the document's own.
    pub fn before_load(&mut self, script: &str) {
        self.wire.command(
            "Page.addScriptToEvaluateOnNewDocument",
            json!({"source": script}),
        );
    }

    /// Every address that it has asked for anything, by HTTP or with a WebSocket.
    pub fn requests(&mut self) -> &[String] {
        self.console();
        &self.wire.requests
    }

    /// What it has said on its console, `level: text`; what it has thrown; and what the browser says of
    /// it. Since the tab was made, in order.
    pub fn console(&mut self) -> &[String] {
        // An answer comes after all that was said before it.
        self.wire
            .command("Runtime.evaluate", json!({"expression": "0"}));
        &self.wire.console
    }

    /// Returns true when the console has `text`, alone or as a part of a line.
    pub fn has_said(&mut self, text: &str) -> bool {
        self.console().iter().any(|line| line.contains(text))
    }

    /// The size that it is shown at, in CSS pixels. Under 600 wide it is a phone with a touch screen.
    pub fn viewport(&mut self, width: u32, height: u32) {
        let is_mobile = width < 600;
        self.wire.command(
            "Emulation.setDeviceMetricsOverride",
            json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": is_mobile}),
        );
        self.wire.command(
            "Emulation.setTouchEmulationEnabled",
            json!({"enabled": is_mobile}),
        );
    }

    /// Sets whether the user prefers a dark page.
    pub fn prefers_dark(&mut self, is_dark: bool) {
        let value = if is_dark { "dark" } else { "light" };
        self.wire.command(
            "Emulation.setEmulatedMedia",
            json!({"features": [{"name": "prefers-color-scheme", "value": value}]}),
        );
    }

    /// Sets whether the page has a network.
    pub fn offline(&mut self, is_offline: bool) {
        self.wire.command(
            "Network.emulateNetworkConditions",
            json!({"offline": is_offline, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}),
        );
    }

    /// A key, as `KeyboardEvent.key` names it: `Tab`, `Enter`, `Escape`, `ArrowDown`, or a letter.
    pub fn press(&mut self, key: &str) {
        let (code, text) = match key {
            "Tab" => (9, ""),
            "Enter" => (13, "\r"),
            "Escape" => (27, ""),
            "ArrowLeft" => (37, ""),
            "ArrowUp" => (38, ""),
            "ArrowRight" => (39, ""),
            "ArrowDown" => (40, ""),
            "PageDown" => (34, ""),
            "Home" => (36, ""),
            letter => (0, letter),
        };
        let down = if text.is_empty() {
            "rawKeyDown"
        } else {
            "keyDown"
        };
        for kind in [down, "keyUp"] {
            let text = if kind == "keyUp" { "" } else { text };
            self.wire.command(
                "Input.dispatchKeyEvent",
                json!({"type": kind, "key": key, "code": key, "windowsVirtualKeyCode": code, "text": text}),
            );
        }
    }

    /// Types a text into whatever has the focus.
    pub fn type_text(&mut self, text: &str) {
        self.wire.command("Input.insertText", json!({"text": text}));
    }

    /// Moves the mouse, in CSS pixels.
    pub fn point(&mut self, x: f64, y: f64) {
        self.wire.command(
            "Input.dispatchMouseEvent",
            json!({"type": "mouseMoved", "x": x, "y": y}),
        );
    }

    /// Writes all of it, what would have to be scrolled to included, into a PNG file.
    pub fn screenshot(&mut self, path: &Path) {
        let answer = self.wire.command(
            "Page.captureScreenshot",
            json!({"format": "png", "captureBeyondViewport": true}),
        );
        let data = answer["data"].as_str().expect("a picture");
        let bytes = BASE64.decode(data.as_bytes()).expect("base64");
        fs::write(path, bytes).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }
}

/// One WebSocket to the browser.
struct Wire {
    socket: WebSocket<Patient<TcpStream>>,
    last_id: u64,
    /// Answers to commands that were not waited for yet.
    answers: BTreeMap<u64, Value>,
    console: Vec<String>,
    requests: Vec<String>,
    /// True exactly when the page that was navigated to last has had its `load` event.
    is_loaded: bool,
}

impl Wire {
    fn connect(address: SocketAddr, path: &str) -> Self {
        let stream = TcpStream::connect(address).expect("the browser listens");
        stream.set_read_timeout(Some(PATIENCE)).expect("set");
        stream.set_nodelay(true).expect("set");
        let url = format!("ws://{address}{path}");
        let (socket, _) = tungstenite::client(url, Patient(stream)).expect("an upgrade");
        Self {
            socket,
            last_id: 0,
            answers: BTreeMap::new(),
            console: Vec::new(),
            requests: Vec::new(),
            is_loaded: false,
        }
    }

    fn send(&mut self, method: &str, parameters: Value) -> tungstenite::Result<()> {
        self.last_id += 1;
        let command = json!({"id": self.last_id, "method": method, "params": parameters});
        self.socket.send(Message::text(command.to_string()))
    }

    /// Sends a command; its result.
    fn command(&mut self, method: &str, parameters: Value) -> Value {
        self.send(method, parameters).expect("the browser is there");
        let id = self.last_id;
        self.hear_until(method, |wire| wire.answers.contains_key(&id));
        let mut answer = self.answers.remove(&id).expect("it came");
        assert!(answer["error"].is_null(), "{method}: {answer}");
        answer["result"].take()
    }

    fn hear_until(&mut self, what: &str, is_there: impl Fn(&Self) -> bool) {
        let deadline = now() + PATIENCE;
        while !is_there(self) {
            assert!(now() < deadline, "in vain: {what}: {:#?}", self.console);
            let message = self.socket.read();
            match message.unwrap_or_else(|error| panic!("{what}: {error}: {:#?}", self.console)) {
                Message::Text(text) => {
                    self.hear(serde_json::from_str(&text).expect("the browser speaks JSON"));
                }
                Message::Close(_) => panic!("{what}: the browser has closed"),
                _ => {}
            }
        }
    }

    fn hear(&mut self, message: Value) {
        if let Some(id) = message["id"].as_u64() {
            self.answers.insert(id, message);
            return;
        }
        let told = &message["params"];
        match message["method"].as_str().unwrap_or_default() {
            "Page.loadEventFired" => self.is_loaded = true,
            "Runtime.consoleAPICalled" => {
                let said: Vec<String> = told["args"]
                    .as_array()
                    .map_or(Vec::new(), |values| values.iter().map(shown).collect());
                let level = told["type"].as_str().unwrap_or_default();
                self.console.push(format!("{level}: {}", said.join(" ")));
            }
            "Network.requestWillBeSent" | "Network.webSocketCreated" => {
                let url = told["request"]["url"].as_str().or(told["url"].as_str());
                self.requests.push(url.unwrap_or_default().to_owned());
            }
            "Runtime.exceptionThrown" => {
                let thrown = exception(&told["exceptionDetails"]);
                self.console.push(format!("thrown: {thrown}"));
            }
            "Log.entryAdded" => {
                let text = told["entry"]["text"].as_str().unwrap_or_default();
                self.console.push(format!("browser: {text}"));
            }
            _ => {}
        }
    }
}

/// A value of the console: as it is, or for an object, what there is of it: `{"n": 1}` is `{n: 1}`.
fn shown(value: &Value) -> String {
    if let Some(properties) = value["preview"]["properties"].as_array() {
        let pairs: Vec<String> = properties
            .iter()
            .map(|property| {
                let text = |name: &str| property[name].as_str().unwrap_or_default().to_owned();
                format!("{}: {}", text("name"), text("value"))
            })
            .collect();
        return format!("{{{}}}", pairs.join(", "));
    }
    match &value["value"] {
        Value::String(text) => text.clone(),
        // `undefined` has no value, and neither has a thing with no preview.
        Value::Null => {
            let named = value["description"].as_str().or(value["type"].as_str());
            named
                .filter(|&name| name != "object")
                .unwrap_or("null")
                .to_owned()
        }
        other => other.to_string(),
    }
}

fn exception(details: &Value) -> String {
    let description = details["exception"]["description"].as_str();
    let text = details["text"].as_str().unwrap_or_default();
    format!("{text} {}", description.unwrap_or_default())
}

/// Pages of a web site that is not newswire's: another origin.
pub struct Site {
    address: SocketAddr,
    pages: Arc<Mutex<BTreeMap<String, String>>>,
}

impl Site {
    /// Serves the body of each path, as HTML or (`.js`, `.mjs`) JavaScript, until the tests end.
    pub fn start(pages: &[(&str, &str)]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let pages: BTreeMap<String, String> = pages
            .iter()
            .map(|&(path, body)| (path.to_owned(), body.to_owned()))
            .collect();
        let site = Self {
            address,
            pages: Arc::new(Mutex::new(pages)),
        };
        let pages = Arc::clone(&site.pages);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let pages = Arc::clone(&pages);
                // A browser opens connections to spare, on which nothing comes.
                thread::spawn(move || serve(stream, &pages));
            }
        });
        site
    }

    /// Serves another body from now on.
    pub fn set(&self, path: &str, body: &str) {
        let mut pages = self.pages.lock().expect("nobody panics");
        pages.insert(path.to_owned(), body.to_owned());
    }

    /// Where a path is.
    pub fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

fn serve(mut stream: TcpStream, pages: &Mutex<BTreeMap<String, String>>) -> std::io::Result<()> {
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut head = Vec::new();
    let mut piece = [0; 4096];
    while !head.windows(4).any(|four| four == b"\r\n\r\n") {
        match Patient(&stream).read(&mut piece)? {
            0 => return Ok(()),
            n => head.extend_from_slice(&piece[..n]),
        }
    }
    let head = String::from_utf8_lossy(&head);
    let path = head.split(['?', ' ']).nth(1).unwrap_or_default();
    let body = pages.lock().expect("nobody panics").get(path).cloned();
    let (status, body) = match &body {
        Some(body) => ("200 OK", body.as_str()),
        // Every browser asks for it, and says so on the console if it is not there.
        None if path == "/favicon.ico" => ("204 No Content", ""),
        None => ("404 Not Found", "no such page"),
    };
    let kind = match path.ends_with("js") {
        true => "text/javascript",
        false => "text/html",
    };
    write!(
        stream,
        "HTTP/1.1 {status}\r\nContent-Type: {kind}; charset=utf-8\r\nContent-Length: {}\r\n\
         Connection: close\r\n\r\n{body}",
        body.len()
    )
}

//! The file that says for scripts what a server has bound, so that no script has to guess a free port. The server writes
//! it when everything is bound, and removes it at the end.
//!
//! A reader never sees a part of the file, because the server writes it under another name and renames it. It replaces a
//! file that a crash left behind.
//! Anything else at the path is an error: a path that was named by mistake must not cost a device, a link or
//! somebody's file.
//!
//! Never here: binding, and what an operator reads (the banner).

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use newswire::config::Config;
use newswire::server::Server;
use serde_json::{Value, json};

use crate::banner::relays;
use crate::crew::Crew;

/// In bytes, a ready file with thousands of addresses. A longer file is something else.
const BYTES_MAX: u64 = 1024 * 1024;

/// The file of this run; it is removed when this is dropped.
#[derive(Debug)]
pub struct ReadyFile {
    path: PathBuf,
    text: String,
}

impl ReadyFile {
    /// Writes what `server` has bound.
    ///
    /// # Errors
    /// One line that names the file.
    pub fn write(
        path: &Path,
        config: &Config,
        server: &Server,
        crew: Option<&Crew>,
    ) -> Result<Self, String> {
        Self::write_text(path, text(config, server, crew))
            .map_err(|error| format!("ready-file {}: {error}", path.display()))
    }

    fn write_text(path: &Path, text: String) -> io::Result<Self> {
        if !is_replaceable(path)? {
            return Err(io::Error::other(
                "it is there, and is no ready file: it is not overwritten; name another",
            ));
        }
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        // A crash left it behind, or somebody put a link there who hopes that it is followed.
        match fs::remove_file(&beside) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = File::create_new(&beside)?;
        file.write_all(text.as_bytes())
            .and_then(|()| fs::rename(&beside, path))
            .inspect_err(|_| {
                // The caller reports the error; nobody needs what is left of the file.
                let _ = fs::remove_file(&beside);
            })?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }
}

/// Returns true when nothing is at `path`, or an empty file (`mktemp` makes one), or a ready file.
fn is_replaceable(path: &Path) -> io::Result<bool> {
    let metadata = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(true),
        metadata => metadata?,
    };
    if !metadata.is_file() || metadata.len() > BYTES_MAX {
        return Ok(false);
    }
    let text = fs::read(path)?;
    let found = serde_json::from_slice::<Value>(&text).unwrap_or_default();
    Ok(text.is_empty() || found["pid"].is_u64() && found["listen"].is_array())
}

impl Drop for ReadyFile {
    fn drop(&mut self) {
        // Another server may have put its own in this place.
        if fs::read_to_string(&self.path).is_ok_and(|text| text == self.text)
            && let Err(error) = fs::remove_file(&self.path)
        {
            log::warn!("ready-file {}: {error}", self.path.display());
        }
    }
}

/// One line of JSON.
fn text(config: &Config, server: &Server, crew: Option<&Crew>) -> String {
    let bound = json!({
        "pid": std::process::id(),
        "listen": crew.map_or(server.listeners(), Crew::listeners),
        "pull": server.pulls(),
        "sub": config.ingest.sub,
        "admin": server.admins(),
        "publish": server.publishers(),
        "relay": relays(server, crew),
    });
    format!("{bound}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_replaced_and_removed_by_whoever_wrote_it_last() {
        let name = format!("newswire-ready-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        fs::write(&path, "").expect("written");
        let write = |text: &str| ReadyFile::write_text(&path, text.to_owned()).expect("written");
        let read = || fs::read_to_string(&path).ok();
        let [text, other] = [1, 2].map(|pid| format!("{{\"listen\":[],\"pid\":{pid}}}"));
        // A crash leaves the file behind.
        std::mem::forget(write(&text));
        let first = write(&text);
        assert_eq!(read(), Some(text));
        let second = write(&other);
        drop(first);
        assert_eq!(read(), Some(other));
        drop(second);
        assert_eq!(read(), None);
    }
}

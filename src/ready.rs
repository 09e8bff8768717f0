//! The file that says for scripts what a server has bound, so that no script has to guess a free port. The server writes
//! it when everything is bound, and removes it at the end.
//!
//! A reader never sees a part of the file, because the server writes it under another name and renames it. It replaces a
//! file that a crash left behind.
//!
//! Never here: binding, and what an operator reads (the banner).

use std::fs;
use std::path::{Path, PathBuf};

use newswire::config::Config;
use newswire::server::Server;
use serde_json::json;

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
    pub fn write(path: &Path, config: &Config, server: &Server) -> Result<Self, String> {
        Self::write_text(path, text(config, server))
            .map_err(|error| format!("ready-file {}: {error}", path.display()))
    }

    fn write_text(path: &Path, text: String) -> std::io::Result<Self> {
        let mut beside = path.as_os_str().to_owned();
        beside.push(format!(".{}", std::process::id()));
        fs::write(&beside, &text)?;
        fs::rename(&beside, path).inspect_err(|_| {
            // What failed is told; what is left of it is nobody's loss.
            let _ = fs::remove_file(&beside);
        })?;
        Ok(Self {
            path: path.to_owned(),
            text,
        })
    }
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
fn text(config: &Config, server: &Server) -> String {
    let bound = json!({
        "pid": std::process::id(),
        "listen": server.listeners(),
        "pull": server.pulls(),
        "sub": config.ingest.sub,
        "admin": server.admins(),
        "publish": server.publishers(),
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
        fs::write(&path, "what a crash has left").expect("written");
        let write = |text: &str| ReadyFile::write_text(&path, text.to_owned()).expect("written");
        let read = || fs::read_to_string(&path).ok();
        let first = write("first");
        assert_eq!(read().as_deref(), Some("first"));
        let second = write("second");
        drop(first);
        assert_eq!(read().as_deref(), Some("second"));
        drop(second);
        assert_eq!(read(), None);
    }
}

//! Ring 3: the files that browsers load from newswire itself, compiled into the binary.
//!
//! `newswire.js` is the client for pages. It is written once, as a classic script which makes the
//! globals `newswire` and `ab`; in a module its `var`s are the module's own, so the module is the same
//! text with a line that exports them. `newswire.d.ts` has the types of both. `dashboard.html` is the
//! administrators' page.
//!
//! Never here: how a file is asked for and answered (`wire/files.rs`).

use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};

use crate::wire::files::File;

/// The page at the admin listener's `/`.
pub const DASHBOARD: &str = include_str!("dashboard.html");

const SCRIPT: &str = include_str!("newswire.js");
const TYPES: &str = include_str!("newswire.d.ts");

/// What makes a module of the script.
const EXPORTS: &str = "export { ab };\nexport const { connect } = newswire;\n";

const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// In bytes of a SHA-256: enough to tell one version of a file from another.
const ETAG_BYTES: usize = 8;

/// Every file, as it is served.
pub fn files() -> Vec<File> {
    vec![
        file("newswire.js", JAVASCRIPT, SCRIPT.to_owned()),
        file("newswire.mjs", JAVASCRIPT, format!("{SCRIPT}{EXPORTS}")),
        // No media type is registered for TypeScript; as text, a browser shows it.
        file(
            "newswire.d.ts",
            "text/plain; charset=utf-8",
            TYPES.to_owned(),
        ),
    ]
}

fn file(name: &'static str, content_type: &'static str, body: String) -> File {
    let digest = Sha256::digest(&body);
    File {
        name,
        content_type,
        etag: format!("\"{}\"", HEXLOWER.encode(&digest[..ETAG_BYTES])),
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// In bytes: the client is small, or nobody loads it.
    const CLIENT_BYTES_MAX: usize = 6_000;

    #[test]
    fn the_client_is_small_and_the_same_in_both_forms() {
        let files = files();
        let body = |name| &files.iter().find(|file| file.name == name).unwrap().body;
        let (script, module) = (body("newswire.js"), body("newswire.mjs"));
        assert!(module.len() < CLIENT_BYTES_MAX, "{} bytes", module.len());
        assert!(module.starts_with(script.as_str()));
        assert!(script.ends_with("\n") && !script.contains("export "));
        // Anything else at its outermost level would be one more global of every page.
        let outermost = script.lines().filter(|line| line.starts_with("var "));
        assert_eq!(outermost.count(), 2);
    }

    #[test]
    fn every_body_has_its_own_tag() {
        let mut tags: Vec<String> = files().into_iter().map(|file| file.etag).collect();
        assert!(tags.iter().all(|tag| tag.len() == 2 * ETAG_BYTES + 2));
        tags.sort();
        tags.dedup();
        assert_eq!(tags.len(), files().len());
    }
}

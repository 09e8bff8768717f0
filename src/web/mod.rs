//! Ring 3: the files that browsers load from newswire itself, compiled into the binary.
//!
//! `newswire.js` is the client for pages. It is written once, as a classic script which makes the
//! globals `newswire` and `ab`; in a module its `var`s are the module's own, so the module is the same
//! text with a line that exports them. `newswire.d.ts` has the types of both.
//!
//! `dashboard.html` is the administrators' page, whole: style, script and pictures are in it, and it
//! speaks WAMP by itself, so that it works wherever the admin listener does. What it is told of topics
//! and events was written by strangers. It only ever makes text of it, and its policy lets a browser
//! run no other script than its own, and ask no other server.
//!
//! Never here: how a file is asked for and answered (`wire/files.rs`).

use std::sync::LazyLock;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use crate::wire::files::File;

/// The page at the admin listener's `/`.
pub const DASHBOARD: &str = include_str!("dashboard.html");

/// What a browser may do for [`DASHBOARD`]: the value of `Content-Security-Policy`. The parts of the page
/// are named by their hashes, so it is made once.
pub static DASHBOARD_POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (hash("<style>"), hash("<script type=\"module\">"));
    format!(
        "default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// How a policy names what stands in the dashboard between a tag and the next end.
fn hash(tag: &str) -> String {
    let (_, rest) = DASHBOARD.split_once(tag).unwrap_or_default();
    let (text, _) = rest.split_once("</").unwrap_or_default();
    format!("sha256-{}", BASE64.encode(&Sha256::digest(text)))
}

/// `newswire.js`.
pub const SCRIPT: &str = include_str!("newswire.js");
const TYPES: &str = include_str!("newswire.d.ts");

/// What makes a module of the script.
const EXPORTS: &str = "export { ab };\nexport const { connect } = newswire;\n";

/// What [`SCRIPT`] is: the value of `Content-Type`.
pub const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

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
    const CLIENT_BYTES_MAX: usize = 8_400;

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

    /// In bytes. It is in the binary as it is.
    const DASHBOARD_BYTES_MAX: usize = 34_500;

    #[test]
    fn the_dashboard_is_whole_and_small() {
        assert!(
            DASHBOARD.len() < DASHBOARD_BYTES_MAX,
            "{} bytes",
            DASHBOARD.len()
        );
        // A policy names one of each; attributes with code or style in them would be none of these.
        for element in ["style", "script"] {
            let tags = [format!("<{element}"), format!("</{element}>")];
            let counts = tags.map(|tag| DASHBOARD.matches(&tag).count());
            assert_eq!(counts, [1, 1], "{element}");
        }
        for word in ["http://", "https://", "//cdn", "src=", "@import", "url("] {
            let found = DASHBOARD.replace("http://www.w3.org/2000/svg", "");
            assert!(!found.contains(word), "{word}");
        }
        // Names and data are strangers'.
        for word in [
            "innerHTML",
            "outerHTML",
            "insertAdjacent",
            "document.write",
            "eval(",
        ] {
            assert!(!DASHBOARD.contains(word), "{word}");
        }
        let nothing = format!("sha256-{}", BASE64.encode(&Sha256::digest("")));
        assert!(
            !DASHBOARD_POLICY.contains(&nothing),
            "{}",
            *DASHBOARD_POLICY
        );
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

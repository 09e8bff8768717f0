//! Ring 3: the files that browsers load from newswire itself, compiled into the binary.
//!
//! `newswire.js` is the client for pages. It is written once, as a classic script which makes the
//! globals `newswire` and `ab`; in a module its `var`s are the module's own, so the module is the same
//! text with a line that exports them. `newswire.d.ts` has the types of both. Pages get `newswire.min.js`, the same
//! script without comments and with short names, which `src/web/pack` makes: a page pays for each byte.
//!
//! `dashboard.html` is the administrators' page. It is one file with its style, script and pictures, and speaks WAMP
//! without `newswire.js`, so that it works wherever the admin listener does. The names of topics and the data of events
//! that it shows were written by strangers. So it only ever inserts them as text, and its policy lets a browser run no
//! script but its own and connect to no other server.
//!
//! Never here: requests for a file, and the answers (`wire/files.rs`).

use std::sync::LazyLock;

use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};

use crate::wire::files::File;

/// The page at the admin listener's `/`.
pub const DASHBOARD: &str = include_str!("dashboard.html");

/// What a browser may do for [`DASHBOARD`]: the value of `Content-Security-Policy`. It names the parts of the page by
/// their hashes, and is made once.
pub static DASHBOARD_POLICY: LazyLock<String> = LazyLock::new(|| {
    let (style, script) = (hash("<style>"), hash("<script type=\"module\">"));
    format!(
        "default-src 'none'; style-src '{style}'; script-src '{script}'; img-src data:; \
         connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
});

/// Returns how a policy names the dashboard's text between `tag` and the next end tag.
fn hash(tag: &str) -> String {
    let (_, rest) = DASHBOARD.split_once(tag).unwrap_or_default();
    let (text, _) = rest.split_once("</").unwrap_or_default();
    format!("sha256-{}", BASE64.encode(&Sha256::digest(text)))
}

/// What is served as `newswire.js`.
pub const SCRIPT: &str = include_str!("newswire.min.js");
const TYPES: &str = include_str!("newswire.d.ts");

/// The lines that make a module of the script.
const EXPORTS: &str = "export { ab };\nexport const { connect } = newswire;\n";

/// The value of `Content-Type` for [`SCRIPT`].
pub const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

/// In bytes of a SHA-256: enough to distinguish the versions of a file.
const ETAG_BYTES: usize = 8;

/// Returns all files that the server sends.
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
    use crate::stats::Refusal;
    use crate::wire::http;

    /// In bytes. A page can afford a client of this size.
    const CLIENT_BYTES_MAX: usize = 9_000;
    const SOURCE: &str = include_str!("newswire.js");

    #[test]
    fn the_client_was_packed_since_its_source_was_changed() {
        let hash = HEXLOWER.encode(&Sha256::digest(SOURCE)[..ETAG_BYTES]);
        let (first_line, _) = SCRIPT.split_once('\n').unwrap();
        assert!(
            first_line.contains(&format!("({hash})")),
            "run src/web/pack: {first_line}"
        );
    }

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
        assert_eq!(script.lines().count(), 3);
    }

    /// The client takes no other 403 for the refusal of a topic.
    #[test]
    fn the_client_knows_the_refusal_of_a_topic() {
        let (_, rest) = SOURCE.split_once("const DENIED = \"").unwrap();
        let (words, _) = rest.split_once('"').unwrap();
        for (refusal, expected) in [(Refusal::TopicDenied, true), (Refusal::Origin, false)] {
            let mut answer = Vec::new();
            http::encode_refusal(refusal, false, &mut answer);
            let answer = String::from_utf8(answer).unwrap();
            assert!(answer.starts_with("HTTP/1.1 403 "), "{answer}");
            assert_eq!(answer.contains(words), expected, "{answer}");
        }
    }

    /// In bytes. The binary has the page uncompressed.
    const DASHBOARD_BYTES_MAX: usize = 36_000;

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

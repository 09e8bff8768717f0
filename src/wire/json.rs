//! What a JSON string says: for names, which are borrowed where nothing in them is escaped.
//!
//! Never here: whole messages, and values other than strings.

use std::borrow::Cow;

/// What `json`, one string with its quotes that is known to be JSON, says. `None`: half of a surrogate
/// pair is JSON's grammar (RFC 8259 s. 8.2), but no text.
pub fn unquote(json: &str) -> Option<Cow<'_, str>> {
    match json.strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Some(Cow::Borrowed(inner)),
        _ => serde_json::from_str(json).map(Cow::Owned).ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_escape_makes_a_copy() {
        assert!(matches!(unquote("\"a\""), Some(Cow::Borrowed("a"))));
        let Some(Cow::Owned(text)) = unquote(r#""a\u00e9\"""#) else {
            panic!("a copy");
        };
        assert_eq!(text, "aé\"");
        assert_eq!(unquote(r#""\ud800""#), None);
    }
}

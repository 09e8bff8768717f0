//! Reading a message that is a JSON list: its first elements are kept as text, and the rest is checked and skipped.
//!
//! Never here: what an element means.

use serde::de::{Deserializer, IgnoredAny, SeqAccess, Visitor};
use serde_json::value::RawValue;

/// Returns the JSON texts of a list's first `N` elements; `None` stands for those that it does not have.
///
/// # Errors
/// Returns why the text is not a JSON list.
pub fn first_elements<const N: usize>(text: &[u8]) -> Result<[Option<&RawValue>; N], &'static str> {
    // The payload of a text frame is known to be UTF-8. That of a binary frame may be anything, and the elements
    // that are skipped are not looked at again.
    let text = str::from_utf8(text).map_err(|_| "not UTF-8")?;
    let mut json = serde_json::Deserializer::from_str(text);
    let list = json.deserialize_seq(ListVisitor).map_err(|error| {
        // A data error means that the text is JSON, but not a list.
        match error.is_data() {
            true => "not a JSON list",
            false => "not JSON",
        }
    })?;
    json.end().map_err(|_| "not JSON")?;
    Ok(list)
}

struct ListVisitor<const N: usize>;

impl<'a, const N: usize> Visitor<'a> for ListVisitor<N> {
    type Value = [Option<&'a RawValue>; N];

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a list")
    }

    fn visit_seq<A: SeqAccess<'a>>(self, mut elements: A) -> Result<Self::Value, A::Error> {
        let mut list = [None; N];
        for place in &mut list {
            *place = elements.next_element()?;
            if place.is_none() {
                return Ok(list);
            }
        }
        while elements.next_element::<IgnoredAny>()?.is_some() {}
        Ok(list)
    }
}

//! Values become JSON. Members of an object stand in the order in which they are put.
//!
//! Never here: indentation, and JSON that somebody else wrote.

use std::collections::BTreeMap;
use std::fmt::{Arguments, Write as _};

use serde_json::Number;

/// Appends `text` as a JSON string, quotes included. A byte becomes six bytes at most.
pub fn quote(text: &str, out: &mut String) {
    quote_pieces(text, |piece| out.push_str(piece));
}

/// Hands a JSON string out in pieces, quotes included.
///
/// RFC 8259 s. 7: quote, reverse solidus and controls are escaped, nothing else. A solidus stays,
/// where PHP would have escaped it: to a parser it is the same.
pub fn quote_pieces(text: &str, mut push: impl FnMut(&str)) {
    const HEX: &str = "0123456789abcdef";
    push("\"");
    let mut rest = text;
    // All that is escaped is ASCII, so each cut is between characters.
    let is_escaped = |byte| matches!(byte, b'"' | b'\\' | 0..=0x1F);
    while let Some(at) = rest.bytes().position(is_escaped) {
        let (plain, escaped) = rest.split_at(at);
        push(plain);
        match escaped.as_bytes()[0] {
            b'"' => push("\\\""),
            b'\\' => push("\\\\"),
            b'\n' => push("\\n"),
            b'\r' => push("\\r"),
            b'\t' => push("\\t"),
            control => {
                let low = usize::from(control & 0x0F);
                push(if control < 0x10 { "\\u000" } else { "\\u001" });
                push(&HEX[low..=low]);
            }
        }
        rest = &escaped[1..];
    }
    push(rest);
    push("\"");
}

/// Anything that can be written as JSON.
pub trait ToJson {
    /// Appends the value.
    fn to_json(&self, out: &mut String);
}

impl ToJson for str {
    fn to_json(&self, out: &mut String) {
        quote(self, out);
    }
}

impl ToJson for String {
    fn to_json(&self, out: &mut String) {
        quote(self, out);
    }
}

/// What is formatted is JSON already: a number with a fixed count of decimals, or a list.
impl ToJson for Arguments<'_> {
    fn to_json(&self, out: &mut String) {
        out.write_fmt(*self).expect("a String takes everything");
    }
}

macro_rules! as_displayed {
    ($($type:ty)*) => {$(
        impl ToJson for $type {
            fn to_json(&self, out: &mut String) {
                format_args!("{self}").to_json(out);
            }
        }
    )*};
}

// A finite `f32` is displayed without an exponent.
as_displayed!(bool u16 u32 u64 usize f32);

/// As serde_json writes it: always with a point or an exponent, and `null` where it is no number.
impl ToJson for f64 {
    fn to_json(&self, out: &mut String) {
        match Number::from_f64(*self) {
            Some(number) => format_args!("{number}").to_json(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: ToJson> ToJson for Option<T> {
    fn to_json(&self, out: &mut String) {
        match self {
            Some(value) => value.to_json(out),
            None => out.push_str("null"),
        }
    }
}

impl<T: ToJson + ?Sized> ToJson for &T {
    fn to_json(&self, out: &mut String) {
        (**self).to_json(out);
    }
}

impl<T: ToJson> ToJson for [T] {
    fn to_json(&self, out: &mut String) {
        Each(self.iter()).to_json(out);
    }
}

/// An object with the map's keys.
impl<V: ToJson> ToJson for BTreeMap<&str, V> {
    fn to_json(&self, out: &mut String) {
        object(out, |object| {
            for (key, value) in self {
                object.put(key, value);
            }
        });
    }
}

/// A list of all that an iterator has.
#[derive(Clone, Debug)]
pub struct Each<I>(pub I);

impl<I: Iterator<Item: ToJson> + Clone> ToJson for Each<I> {
    fn to_json(&self, out: &mut String) {
        out.push('[');
        for (at, value) in self.0.clone().enumerate() {
            if at > 0 {
                out.push(',');
            }
            value.to_json(out);
        }
        out.push(']');
    }
}

/// An object under way.
#[derive(Debug)]
pub struct Object<'o> {
    out: &'o mut String,
    is_empty: bool,
}

impl Object<'_> {
    /// Adds a member.
    pub fn put(&mut self, key: &str, value: impl ToJson) -> &mut Self {
        self.begin(key);
        value.to_json(self.out);
        self
    }

    /// Adds a member that is an object with the members that `fill` puts into it.
    pub fn put_object(&mut self, key: &str, fill: impl FnOnce(&mut Object<'_>)) -> &mut Self {
        self.begin(key);
        object(self.out, fill);
        self
    }

    fn begin(&mut self, key: &str) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(',');
        }
        quote(key, self.out);
        self.out.push(':');
    }
}

/// Appends an object with the members that `fill` puts into it.
pub fn object(out: &mut String, fill: impl FnOnce(&mut Object<'_>)) {
    out.push('{');
    fill(&mut Object {
        out: &mut *out,
        is_empty: true,
    });
    out.push('}');
}

/// Returns an object with the members that `fill` puts into it.
pub fn text(fill: impl FnOnce(&mut Object<'_>)) -> String {
    let mut out = String::new();
    object(&mut out, fill);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quoting_is_undone_by_parsing() {
        let all: String = (0..0x300).filter_map(char::from_u32).collect();
        for text in ["", "a", "http://x/y#z", "\"\\\"", "☃\u{2028}𝄞\u{7F}", &all] {
            let mut quoted = String::new();
            quote(text, &mut quoted);
            assert_eq!(serde_json::from_str::<String>(&quoted).unwrap(), text);
            assert_eq!(
                quoted,
                serde_json::to_string(text)
                    .unwrap()
                    .replace("\\b", "\\u0008")
                    .replace("\\f", "\\u000c")
            );
            assert!(quoted.len() <= 6 * text.len() + 2);
        }
    }

    #[test]
    fn values_of_every_kind() {
        let counts = BTreeMap::from([("b", 2_u64), ("a", 1)]);
        let written = text(|object| {
            object
                .put("text", "a\"\\\n\u{1}é/")
                .put("numbers", Each([1.0, 1e-7, f64::NAN].iter()))
                .put("short", 0.55_f32)
                .put("fixed", format_args!("{:.3}", 0.25))
                .put("none", None::<&str>)
                .put("yes", true)
                .put("empty", &[0_usize; 0][..])
                .put("counts", counts)
                .put_object("inner", |_| {});
        });
        let expected = r#"{"text":"a\"\\\n\u0001é/","numbers":[1.0,1e-7,null],"short":0.55,"fixed":0.250,"none":null,"yes":true,"empty":[],"counts":{"a":1,"b":2},"inner":{}}"#;
        assert_eq!(written, expected);
    }
}

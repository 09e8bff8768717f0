//! Reading JSON: names, which are borrowed where nothing in them is escaped; the members of an object that somebody
//! asks for; and objects that decide who may have what.
//!
//! Two readers of an object in which a key occurs twice may take different ones of its values. Where that
//! would decide about rights (a JWT, a set of keys, the answer of an API, an administrator's order), such
//! an object is refused, at whatever depth: [`strict`] is the one reader for all of these.
//!
//! Never here: events, whose data is passed on as it came.

use std::borrow::Cow;
use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;
use serde_json::{Map, Value};

/// Returns the text of a JSON string. `json` is known to be one, with its quotes. Returns `None` for half of a
/// surrogate pair: JSON's grammar allows it (RFC 8259 s. 8.2), but it is no text.
pub fn unquote(json: &str) -> Option<Cow<'_, str>> {
    match json.strip_prefix('"').and_then(|s| s.strip_suffix('"')) {
        Some(inner) if !inner.contains('\\') => Some(Cow::Borrowed(inner)),
        _ => serde_json::from_str(json).map(Cow::Owned).ok(),
    }
}

/// Returns the text of the JSON string with which `text` begins, and what stands behind it. Returns `None` when `text`
/// begins with something else.
pub fn leading_string(text: &str) -> Option<(String, &str)> {
    let mut strings = serde_json::Deserializer::from_str(text).into_iter();
    let first = strings.next()?.ok()?;
    Some((first, &text[strings.byte_offset()..]))
}

/// Returns the JSON texts of an object's members with these names; all others are checked and skipped. Of a name that
/// occurs twice, the last one counts. `None` when `json` is no object.
pub fn members<'a, const N: usize>(
    json: &'a str,
    names: [&str; N],
) -> Option<[Option<&'a RawValue>; N]> {
    struct Members<'n, const N: usize>([&'n str; N]);

    impl<'a, const N: usize> Visitor<'a> for Members<'_, N> {
        type Value = [Option<&'a RawValue>; N];

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("an object")
        }

        fn visit_map<A: MapAccess<'a>>(self, mut object: A) -> Result<Self::Value, A::Error> {
            let mut found = [None; N];
            while let Some(key) = object.next_key::<Cow<'_, str>>()? {
                match self.0.iter().position(|&name| name == key) {
                    Some(place) => found[place] = Some(object.next_value()?),
                    None => drop(object.next_value::<IgnoredAny>()?),
                }
            }
            Ok(found)
        }
    }

    let mut reader = serde_json::Deserializer::from_str(json);
    let found = reader.deserialize_map(Members(names)).ok()?;
    reader.end().ok()?;
    Some(found)
}

/// Why JSON may not decide about rights.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum JsonFlaw {
    /// The text is no JSON.
    Syntax,
    /// A key occurs twice in one object.
    Twice,
}

/// Returns the value of `json`, in which no key occurs twice in an object (RFC 7515 s. 4, RFC 7519 s. 4).
///
/// # Errors
/// Returns what is wrong. No part of `json` is in it.
pub fn strict(json: &[u8]) -> Result<Value, JsonFlaw> {
    match serde_json::from_slice(json) {
        Ok(Strict(value)) => Ok(value),
        // Every value is welcome, so this is what `Strict` itself objects to.
        Err(error) if error.is_data() => Err(JsonFlaw::Twice),
        Err(_) => Err(JsonFlaw::Syntax),
    }
}

struct Strict(Value);

impl<'de> Deserialize<'de> for Strict {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Any;

        impl<'de> Visitor<'de> for Any {
            type Value = Value;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("JSON")
            }

            fn visit_unit<E>(self) -> Result<Value, E> {
                Ok(Value::Null)
            }

            fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_f64<E>(self, value: f64) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_str<E>(self, value: &str) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_string<E>(self, value: String) -> Result<Value, E> {
                Ok(value.into())
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
                let mut values = Vec::new();
                while let Some(Strict(value)) = list.next_element()? {
                    values.push(value);
                }
                Ok(values.into())
            }

            fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
                let mut members = Map::new();
                while let Some((key, Strict(value))) = object.next_entry()? {
                    if members.insert(key, value).is_some() {
                        return Err(A::Error::custom("a key occurs twice"));
                    }
                }
                Ok(members.into())
            }
        }

        deserializer.deserialize_any(Any).map(Strict)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decides_about_rights_says_each_thing_once() {
        let same = r#"{"a":[1,-2,1.5,1e300,true,null,{"a":"b"}],"b":{"a":{}},"é":"\ud83d\ude00"} "#;
        let value = serde_json::from_str(same).expect("JSON");
        assert_eq!(strict(same.as_bytes()), Ok(value));
        for json in ["7", "\"a\"", "null", "[]", "18446744073709551615"] {
            assert!(strict(json.as_bytes()).is_ok(), "{json}");
        }
        for json in [
            r#"{"a":1,"a":1}"#,
            r#"{"a":1,"\u0061":2}"#,
            r#"[{"a":{"b":1,"c":2,"b":1}}]"#,
        ] {
            assert_eq!(strict(json.as_bytes()), Err(JsonFlaw::Twice), "{json}");
        }
        let deep = "[".repeat(10_000);
        for json in [
            "",
            "{",
            "{}x",
            "{\"a\":}",
            "1e999",
            "\"\\ud800\"",
            &deep,
            "<html>",
        ] {
            assert_eq!(strict(json.as_bytes()), Err(JsonFlaw::Syntax), "{json}");
        }
        assert_eq!(strict(b"\"\xff\""), Err(JsonFlaw::Syntax));
    }

    #[test]
    fn members_are_found_and_the_rest_is_skipped() {
        let json = r#" {"x":[{"a":0}],"a":1,"\u0062":{"c": 2},"a":3} "#;
        let found = members(json, ["a", "b", "c"]).expect("an object");
        let found = found.map(|text| text.map(RawValue::get));
        assert_eq!(found, [Some("3"), Some("{\"c\": 2}"), None]);
        assert!(members("{}", ["a"]).is_some());
        for json in ["", "[]", "null", "5", "{\"a\":1", "{} {}", "{\"x\":}"] {
            assert!(members(json, ["a"]).is_none(), "{json}");
        }
    }

    #[test]
    fn a_string_at_the_beginning_is_read_and_the_rest_is_left() {
        for (text, found) in [
            (r#""a b" c"#, Some(("a b", " c"))),
            (r#""a\"\u00e9"c"#, Some(("a\"é", "c"))),
            (r#""""#, Some(("", ""))),
            ("", None),
            ("a", None),
            ("7", None),
            (r#""a"#, None),
            (r#""a\"#, None),
            (r#""\ud800" a"#, None),
        ] {
            let found = found.map(|(text, rest)| (text.to_owned(), rest));
            assert_eq!(leading_string(text), found, "{text}");
        }
    }

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

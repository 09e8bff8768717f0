//! JSON, for all who read or write it: `read` understands strings, members of objects, and objects that decide who may have what; `list`
//! reads messages that are lists; `write` escapes strings, and writes objects and lists.
//!
//! Never here: what an object means, and events, whose data is passed on as it came.

mod list;
mod read;
mod write;

pub use list::first_elements;
pub use read::{JsonFlaw, leading_string, members, strict, unquote};
pub use write::{Each, Object, ToJson, object, quote, quote_pieces, text};

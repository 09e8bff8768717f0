//! The meaning of a row.
//!
//! A row accepts the token. newswire understands four columns, by name, and none has to be there: `name`, `topics`,
//! `expires`, `token_id`. It does not guess the meaning of a column whose type is ambiguous: it refuses the
//! statement when it prepares it, and says how to write the column.
//!
//! Never here: connections, statements.

use std::error::Error;

use tokio_postgres::types::{FromSql, Kind, Type};
use tokio_postgres::{Column, Row};

use crate::auth::Answer;
use crate::stats::{Cause, Store};
use crate::wire::grant::{Flaw, Grant, moment_of_seconds};

/// In seconds, from 1970 to 2000: PostgreSQL counts from there.
const Y2000_UNIX_SECONDS: i64 = 946_684_800;

/// The columns that the statement has.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Columns {
    name: Option<usize>,
    topics: Option<usize>,
    expires: Option<usize>,
    token_id: Option<usize>,
}

impl Columns {
    /// Looks at the columns of a statement.
    ///
    /// # Errors
    /// One of them has a type that is not understood: which one, and what to write instead.
    pub fn of(columns: &[Column]) -> Result<Self, String> {
        let columns = columns.iter().map(|column| (column.name(), column.type_()));
        Self::of_types(columns)
    }

    fn of_types<'a>(columns: impl Iterator<Item = (&'a str, &'a Type)>) -> Result<Self, String> {
        let mut found = Self::default();
        for (index, (name, kind)) in columns.enumerate() {
            let (place, is_good, advice) = match name {
                "name" => (
                    &mut found.name,
                    is_text(kind),
                    "it has to be text: name::text",
                ),
                "topics" => (
                    &mut found.topics,
                    matches!(kind.kind(), Kind::Array(item) if is_text(item)),
                    "it has to be text[]: string_to_array(topics, ',') makes one of a list with commas",
                ),
                "expires" => (
                    &mut found.expires,
                    Expires::accepts(kind),
                    "it has to be a number of seconds since 1970 or a timestamptz: expires::timestamptz \
                     takes a timestamp for one of auth-postgres-time-zone",
                ),
                "token_id" => (
                    &mut found.token_id,
                    is_text(kind),
                    "it has to be text: token_id::text",
                ),
                _ => continue,
            };
            if !is_good {
                return Err(format!("the column {name} is of the type {kind}; {advice}"));
            }
            place.get_or_insert(index);
        }
        Ok(found)
    }

    /// The answer in `row`.
    ///
    /// # Errors
    /// The row cannot be understood: what is wrong with it.
    pub fn answer(&self, row: &Row) -> Result<Answer, String> {
        let name: Option<String> = get(row, self.name)?;
        let topics: Option<Vec<String>> = get(row, self.topics)?;
        let expires: Option<Expires> = get(row, self.expires)?;
        let expires_at = expires.and_then(|expires| expires.0);
        let token_id: Option<String> = get(row, self.token_id)?;
        // A char(n) has spaces at its end, which mean nothing.
        let is_padded = |index: usize| *row.columns()[index].type_() == Type::BPCHAR;
        let token_id = match token_id {
            Some(id) if self.token_id.is_some_and(is_padded) => {
                Some(id.trim_end_matches(' ').to_owned())
            }
            id => id,
        };
        match Grant::new(name.as_deref(), Store::Postgres.name(), topics, expires_at) {
            Ok(grant) => Ok(Answer::Accepted(grant.with_token_id(token_id))),
            Err(flaw @ Flaw::NoTopic) => Ok(Answer::Refused(Cause::NoTopics, flaw.to_string())),
            Err(flaw @ Flaw::Topic { .. }) => Err(flaw.to_string()),
        }
    }
}

fn is_text(kind: &Type) -> bool {
    <String as FromSql>::accepts(kind)
}

/// The value of a column, if the column is there and not NULL.
fn get<'a, T: FromSql<'a>>(row: &'a Row, index: Option<usize>) -> Result<Option<T>, String> {
    let Some(index) = index else {
        return Ok(None);
    };
    row.try_get(index).map_err(|error| {
        let cause = error.source().map(ToString::to_string);
        let name = row.columns()[index].name();
        format!("{name} is not understood ({})", cause.unwrap_or_default())
    })
}

/// The last second since 1970 at which a token is good; `None`: for ever.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
struct Expires(Option<u64>);

impl Expires {
    fn from_seconds(seconds: f64) -> Result<Self, &'static str> {
        if seconds == f64::INFINITY {
            return Ok(Self(None));
        }
        let moment = moment_of_seconds(seconds);
        let moment = moment.ok_or("it is no number of seconds since 1970")?;
        Ok(Self(Some(moment)))
    }
}

impl<'a> FromSql<'a> for Expires {
    fn from_sql(kind: &Type, raw: &'a [u8]) -> Result<Self, Box<dyn Error + Sync + Send>> {
        let seconds = match *kind {
            Type::INT4 => i32::from_sql(kind, raw)?.into(),
            Type::INT8 => i64::from_sql(kind, raw)? as f64,
            Type::FLOAT4 => f32::from_sql(kind, raw)?.into(),
            Type::FLOAT8 => f64::from_sql(kind, raw)?,
            // The type of `extract(epoch FROM …)` from PostgreSQL 14 on.
            Type::NUMERIC => numeric(raw).ok_or("it is cut")?,
            // In microseconds; the smallest and the largest number stand for `-infinity` and `infinity`.
            _ => match i64::from_sql(kind, raw)? {
                i64::MAX => f64::INFINITY,
                i64::MIN => f64::NEG_INFINITY,
                n => (n.div_euclid(1_000_000) + Y2000_UNIX_SECONDS) as f64,
            },
        };
        Ok(Self::from_seconds(seconds)?)
    }

    fn accepts(kind: &Type) -> bool {
        [
            Type::INT4,
            Type::INT8,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::TIMESTAMPTZ,
        ]
        .contains(kind)
    }
}

/// A `numeric`, rounded down to a whole number. On the wire it has four numbers of 16 bits (how many digits, the
/// weight of the first, the sign, the scale), and the digits, to the base of 10,000.
fn numeric(raw: &[u8]) -> Option<f64> {
    let mut words = raw
        .chunks_exact(2)
        .map(|pair| u16::from_be_bytes([pair[0], pair[1]]));
    let (_, weight, sign, _) = (words.next()?, words.next()?, words.next()?, words.next()?);
    let whole = (0..=weight as i16).fold(0.0, |whole, _| {
        whole * 10_000.0 + f64::from(words.next().unwrap_or(0))
    });
    Some(match sign {
        0x0000 => whole,
        // A moment before 1970, which is over.
        0x4000 | 0xF000 => -1.0,
        0xD000 => f64::INFINITY,
        _ => f64::NAN,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(columns: &[(&str, Type)]) -> Result<Columns, String> {
        Columns::of_types(columns.iter().map(|(name, kind)| (*name, kind)))
    }

    #[test]
    fn columns_are_found_by_name_and_understood_by_type() {
        let found = of(&[
            ("id", Type::UUID),
            ("expires", Type::FLOAT8),
            ("name", Type::VARCHAR),
            ("topics", Type::TEXT_ARRAY),
            ("name", Type::TEXT),
            ("token_id", Type::BPCHAR),
        ]);
        let expected = Columns {
            name: Some(2),
            topics: Some(3),
            expires: Some(1),
            token_id: Some(5),
        };
        assert_eq!(found, Ok(expected));
        assert_eq!(of(&[("Name", Type::INT4)]), Ok(Columns::default()));
        for (name, kind) in [
            ("name", Type::INT4),
            ("topics", Type::TEXT),
            ("topics", Type::JSONB),
            ("topics", Type::INT4_ARRAY),
            ("expires", Type::TIMESTAMP),
            ("expires", Type::DATE),
            ("expires", Type::TEXT),
            ("token_id", Type::UUID),
        ] {
            let sentence = of(&[(name, kind.clone())]).expect_err("refused");
            assert!(
                sentence.contains(name) && sentence.contains(kind.name()),
                "{sentence}"
            );
        }
    }

    #[test]
    fn expiries_are_whole_seconds() {
        let read = |kind: &Type, raw: &[u8]| Expires::from_sql(kind, raw).map(|e| e.0).ok();
        for (kind, raw, expected) in [
            (Type::INT4, &7i32.to_be_bytes()[..], Some(Some(7))),
            (Type::INT8, &1_795_521_600_000i64.to_be_bytes()[..], None),
            (Type::INT8, &(-7i64).to_be_bytes()[..], Some(Some(0))),
            (Type::FLOAT8, &1.9f64.to_be_bytes()[..], Some(Some(1))),
            (Type::FLOAT8, &(-1.9f64).to_be_bytes()[..], Some(Some(0))),
            (Type::FLOAT8, &f64::INFINITY.to_be_bytes()[..], Some(None)),
            (
                Type::FLOAT8,
                &f64::NEG_INFINITY.to_be_bytes()[..],
                Some(Some(0)),
            ),
            (Type::FLOAT8, &f64::NAN.to_be_bytes()[..], None),
            (Type::FLOAT4, &2.5f32.to_be_bytes()[..], Some(Some(2))),
            (
                Type::TIMESTAMPTZ,
                &1_999_999i64.to_be_bytes()[..],
                Some(Some(946_684_801)),
            ),
            (
                Type::TIMESTAMPTZ,
                &(-1i64).to_be_bytes()[..],
                Some(Some(946_684_799)),
            ),
            (Type::TIMESTAMPTZ, &i64::MAX.to_be_bytes()[..], Some(None)),
            (
                Type::TIMESTAMPTZ,
                &i64::MIN.to_be_bytes()[..],
                Some(Some(0)),
            ),
            (Type::FLOAT8, b"short", None),
            (Type::NUMERIC, b"short", None),
        ] {
            assert_eq!(read(&kind, raw), expected, "{kind} {raw:?}");
        }
    }

    #[test]
    fn numerics_are_digits_to_the_base_of_ten_thousand() {
        let read = |words: &[u16]| {
            let raw: Vec<u8> = words.iter().flat_map(|word| word.to_be_bytes()).collect();
            numeric(&raw)
        };
        // 1795521600.250000, and 100000000, whose trailing zeros are not sent.
        assert_eq!(
            read(&[4, 2, 0, 6, 17, 9552, 1600, 2500]),
            Some(1_795_521_600.0)
        );
        assert_eq!(read(&[1, 2, 0, 0, 1]), Some(1e8));
        // 0.5 and 0.
        assert_eq!(read(&[1, -1i16 as u16, 0, 1, 5000]), Some(0.0));
        assert_eq!(read(&[0, 0, 0, 0]), Some(0.0));
        assert_eq!(read(&[1, 0, 0x4000, 0, 5]), Some(-1.0));
        assert_eq!(read(&[0, 0, 0xD000, 0]), Some(f64::INFINITY));
        assert!(read(&[0, 0, 0xC000, 0]).is_some_and(f64::is_nan));
    }
}

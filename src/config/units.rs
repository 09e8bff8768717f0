//! Numbers with a unit: how an operator may write them, and how newswire shows them.
//!
//! Never here: which numbers an option allows.

/// What a number counts: how it may be written, and how it is read out.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Unit {
    /// Plain things: connections, events.
    Count,
    /// Whole seconds.
    Seconds,
    /// Bytes; `64k`, `64KiB`, `2M`, `2MiB` are understood too.
    Bytes,
}

impl Unit {
    /// `value` with its unit, to be read by people; for [`Unit::Bytes`] also by [`number`].
    pub fn show(self, value: u64) -> String {
        match self {
            Self::Count => value.to_string(),
            Self::Seconds => format!("{value} s"),
            Self::Bytes => exact_bytes(value),
        }
    }
}

/// A whole number from `min` to `max`.
pub fn number(text: &str, unit: Unit, min: u64, max: u64) -> Result<u64, String> {
    let range = || format!("from {} to {}", unit.show(min), unit.show(max));
    let digits_end = text
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(text.len());
    let (digits, suffix) = text.split_at(digits_end);
    let factor: Option<u64> = match (unit, suffix.trim_start()) {
        (_, "") => Some(1),
        (Unit::Bytes, "B") => Some(1),
        (Unit::Bytes, "k" | "K" | "KiB") => Some(1 << 10),
        (Unit::Bytes, "m" | "M" | "MiB") => Some(1 << 20),
        (Unit::Bytes, "g" | "G" | "GiB") => Some(1 << 30),
        _ => None,
    };
    let Some(factor) = factor.filter(|_| !digits.is_empty()) else {
        return Err(match unit {
            Unit::Count => format!("a whole number is needed, {}", range()),
            Unit::Seconds => format!(
                "a whole number of seconds without a unit is needed, {}",
                range()
            ),
            Unit::Bytes => format!(
                "a number of bytes is needed, plain or with KiB or MiB, {}",
                range()
            ),
        });
    };
    digits
        .parse()
        .ok()
        .and_then(|value: u64| value.checked_mul(factor))
        .filter(|value| (min..=max).contains(value))
        .ok_or_else(|| format!("it must be {}", range()))
}

/// `4KiB`, `2MiB`: exact, and understood by [`number`]; plain where it is no whole number of them.
pub(super) fn exact_bytes(value: u64) -> String {
    for (suffix, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if value > 0 && value.trailing_zeros() >= shift {
            return format!("{}{suffix}", value >> shift);
        }
    }
    value.to_string()
}

/// `1.4 GiB`, `2 MiB`: rounded, for people.
pub fn rough_bytes(value: u64) -> String {
    for (suffix, shift) in [("GiB", 30), ("MiB", 20), ("KiB", 10)] {
        if value >= 1 << shift {
            let tenths = (u128::from(value) * 10 + (1 << (shift - 1))) >> shift;
            return match tenths % 10 {
                0 => format!("{} {suffix}", tenths / 10),
                tenth => format!("{}.{tenth} {suffix}", tenths / 10),
            };
        }
    }
    format!("{value} bytes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bytes_are_plain_or_binary_multiples() {
        let bytes = |text: &str| number(text, Unit::Bytes, 0, 1 << 40);
        for (text, value) in [
            ("0", 0),
            ("4096", 4096),
            ("4k", 4096),
            ("4KiB", 4096),
            ("4 KiB", 4096),
            ("2M", 2 << 20),
            ("2MiB", 2 << 20),
            ("1GiB", 1 << 30),
        ] {
            assert_eq!(bytes(text), Ok(value), "{text}");
            assert_eq!(bytes(&exact_bytes(value)), Ok(value), "{text}");
        }
        // `kB` is a thousand to some and 1,024 to others.
        for text in [
            "",
            "k",
            "-1",
            "+1",
            "1.5M",
            "4kB",
            "4MB",
            "18446744073709551615k",
        ] {
            assert!(bytes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn seconds_have_a_range_and_no_suffix() {
        let seconds = |text: &str| number(text, Unit::Seconds, 1, 250);
        assert_eq!(seconds("250"), Ok(250));
        let sentence = "it must be from 1 s to 250 s".to_owned();
        assert_eq!(seconds("0"), Err(sentence.clone()));
        assert_eq!(seconds("251"), Err(sentence));
        assert!(seconds("5s").is_err());
        assert!(seconds("5k").is_err());
    }

    #[test]
    fn rough_bytes_round_to_a_tenth() {
        assert_eq!(rough_bytes(17), "17 bytes");
        assert_eq!(rough_bytes(1536), "1.5 KiB");
        assert_eq!(rough_bytes((1 << 20) - 1), "1024 KiB");
        assert_eq!(rough_bytes(u64::MAX), "17179869184 GiB");
    }
}

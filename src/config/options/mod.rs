//! The options, each declared once: one file a group, one entry an option.
//!
//! An entry is all that an option needs. From it follow the field of [`Config`], its default and its
//! documentation, the flag and its help, the variable, the key of the file, the output of `newswire check`, what a
//! reload changes, and `docs/options.md`. A group belongs to one part of the program, which gets that group and no
//! more. To add an option, write an entry, and obey the field in the part that the group belongs to.
//!
//! ```text
//! /// What it does, and why the default is what it is: the help, the documentation of the field, the page.
//! #[option("name", "VALUE_NAME", secret, restart, brief("One line for -h"))]
//! field: Type = type of the option with its default,
//! ```
//! `secret` (newswire never shows the value), `restart` (a reload does not change it) and `brief` are left out
//! where they do not apply.
//!
//! Never here: where a value came from (that is `merge`), and what the values mean together (that is `check`).

use std::net::SocketAddr;

use super::spec::OptionSpec;
use super::types::{List, WhenNone};
use super::values;

/// Declares a group: a struct with a field an option, its `Default`, and the options themselves.
macro_rules! group {
    (
        $(#[doc = $about:literal])+
        $group:ident at $place:ident, $heading:literal {
            $(
                $(#[doc = $help:literal])+
                #[option($name:literal, $value_name:literal $(, $attribute:ident $(($text:literal))?)*)]
                $field:ident: $type:ty = $kind:expr,
            )+
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Clone, PartialEq)]
        pub struct $group {
            $($(#[doc = $help])+ pub $field: $type,)+
        }

        impl Default for $group {
            fn default() -> Self {
                use $crate::config::types::OptionType as _;
                Self { $($field: $kind.default(),)+ }
            }
        }

        pub(super) static OPTIONS: &[$crate::config::spec::OptionSpec] = &[
            $($crate::config::spec::OptionSpec::new(
                $heading,
                [$name, $value_name, concat!($($help),+)],
                &$crate::config::types::FieldOf {
                    kind: $kind,
                    get: |config| &config.$place.$field,
                    get_mut: |config| &mut config.$place.$field,
                },
            )$(.$attribute($($text)?))*,)+
        ];
    };
}

/// A whole number: unit, default, minimum, maximum.
macro_rules! number {
    ($unit:ident, $default:expr, $min:expr, $max:expr) => {
        $crate::config::types::Number {
            unit: $crate::config::units::Unit::$unit,
            default: $default as u64,
            min: $min as u64,
            max: $max as u64,
            held_as: std::marker::PhantomData,
        }
    };
}

mod admin;
mod auth;
mod brokers;
mod clients;
mod ingest;
mod listen;
mod process;
mod publish;
mod relay;
mod topics;

pub use admin::AdminOptions;
pub use auth::{AuthOptions, StoreOption};
pub use brokers::BrokerOptions;
pub use clients::ClientOptions;
pub use ingest::IngestOptions;
pub use listen::ListenOptions;
pub use process::{ProcessOptions, ShutdownClose, WorkerCount};
pub use publish::PublishOptions;
pub use relay::RelayOptions;
pub use topics::TopicOptions;

/// The groups, in the order in which the help lists them.
static GROUPS: [&[OptionSpec]; 10] = [
    listen::OPTIONS,
    ingest::OPTIONS,
    brokers::OPTIONS,
    publish::OPTIONS,
    relay::OPTIONS,
    admin::OPTIONS,
    auth::OPTIONS,
    clients::OPTIONS,
    topics::OPTIONS,
    process::OPTIONS,
];

/// All options, in the order in which the help lists them.
pub fn options() -> impl Iterator<Item = &'static OptionSpec> + Clone {
    GROUPS.into_iter().flatten()
}

/// The option called `name`.
pub fn option(name: &str) -> Option<&'static OptionSpec> {
    options().find(|option| option.name == name)
}

/// A list of which no item may be given twice.
const fn list<T>(
    parse: fn(&str) -> Result<T, String>,
    show: fn(&T) -> String,
    when_none: WhenNone,
    default: &'static [&'static str],
) -> List<T> {
    List {
        default,
        when_none,
        parse,
        show,
        may_repeat: |_| false,
    }
}

/// Addresses of a listener that can be switched off.
const fn addresses(default: &'static [&'static str]) -> List<SocketAddr> {
    list(
        values::address,
        SocketAddr::to_string,
        WhenNone::Off,
        default,
    )
}

/// Finds `text` among the names of `all`.
fn choice<T: Copy>(all: &[(&str, T)], text: &str) -> Result<T, String> {
    let chosen = all.iter().find(|(name, _)| *name == text);
    chosen.map(|&(_, value)| value).ok_or_else(|| {
        let names: Vec<String> = all.iter().map(|(name, _)| format!("`{name}`")).collect();
        format!("{} is needed", names.join(" or "))
    })
}

/// The name of `value` among `all`.
fn name_of<T: PartialEq>(all: &[(&str, T)], value: &T) -> String {
    let named = all.iter().find(|(_, other)| other == value);
    named.expect("all values have a name").0.to_owned()
}

//! The address of a database, from the text that the operator wrote.
//!
//! The text may hold a password, and when the password is not percent-encoded, pieces of it look like a host or an
//! option. So no error repeats a text that cannot be parsed, and of a text that can, only
//! [`DatabaseAddress::place`] is ever shown.
//!
//! Never here: connections, certificates.

use std::fmt::Write as _;
use std::net::IpAddr;
use std::time::Duration;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// The name of a session, unless the address has another one.
const APPLICATION_NAME: &str = "newswire";

/// A database.
#[derive(Clone)]
pub struct DatabaseAddress {
    /// It has the password.
    pub config: Config,
    /// `host:port/database`, for logs.
    pub place: String,
}

impl DatabaseAddress {
    /// Parses `text`, a URL or key=value pairs. `timeout` is the time for one question.
    ///
    /// # Errors
    /// The reason, without a piece of the text.
    pub fn parse(text: &str, timeout: Duration) -> Result<Self, String> {
        let mut config: Config = text.parse().map_err(|_| unreadable(text).to_owned())?;
        if config.get_hosts().is_empty() && config.get_hostaddrs().is_empty() {
            return Err("it names no host".to_owned());
        }
        let is_name = |c: char| c.is_alphanumeric() || ".-_:".contains(c);
        let is_host = |host: &Host| match host {
            Host::Tcp(name) => name.chars().all(is_name),
            Host::Unix(_) => true,
        };
        if !config.get_hosts().iter().all(is_host) {
            return Err(UNREADABLE.to_owned());
        }
        if config.get_application_name().is_none() {
            config.application_name(APPLICATION_NAME);
        }
        if config.get_connect_timeout().is_none() {
            // A name may have two addresses, and the first one may be dead.
            config.connect_timeout(timeout / 2);
        }
        if config.get_tcp_user_timeout().is_none() {
            config.tcp_user_timeout(timeout);
        }
        if config.get_ssl_mode() == SslMode::Prefer && is_local(&config) {
            // Debian's server shows a certificate that no authority has signed, and nobody can read along on this
            // machine.
            config.ssl_mode(SslMode::Disable);
        }
        let place = place(&config);
        Ok(Self { config, place })
    }
}

const UNREADABLE: &str = "it cannot be read: either it has an option that is not known here (sslmode, \
                          options, application_name, connect_timeout, target_session_attrs and the \
                          keepalives are), or its user or password has a character that must be \
                          percent-encoded";

const NO_SSLMODE: &str = "sslmode is disable, prefer or require; require checks the certificate and the \
                          host's name in it, as verify-full does elsewhere";

/// The driver would name the unknown option, which may be half of a password.
fn unreadable(text: &str) -> &'static str {
    let known = ["disable", "prefer", "require"].map(|mode| format!("sslmode={mode}"));
    let has_mode = text.contains("sslmode=");
    if has_mode && !known.iter().any(|known| text.contains(known)) {
        return NO_SSLMODE;
    }
    UNREADABLE
}

fn is_local(config: &Config) -> bool {
    let hosts = config.get_hosts().iter().all(|host| match host {
        Host::Tcp(name) => {
            name == "localhost" || name.parse().is_ok_and(|ip: IpAddr| ip.is_loopback())
        }
        Host::Unix(_) => true,
    });
    hosts && config.get_hostaddrs().iter().all(IpAddr::is_loopback)
}

fn place(config: &Config) -> String {
    let hosts = config.get_hosts().iter().map(|host| match host {
        Host::Tcp(name) => name.clone(),
        Host::Unix(path) => path.display().to_string(),
    });
    let mut hosts: Vec<String> = hosts.collect();
    if hosts.is_empty() {
        hosts = config
            .get_hostaddrs()
            .iter()
            .map(IpAddr::to_string)
            .collect();
    }
    let mut place = String::new();
    let ports = config.get_ports();
    for (index, host) in hosts.iter().enumerate() {
        let port = ports.get(index).or_else(|| ports.first()).unwrap_or(&5432);
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(place, "{comma}{host}:{port}");
    }
    if let Some(name) = config.get_dbname().or_else(|| config.get_user()) {
        let _ = write!(place, "/{name}");
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<DatabaseAddress, String> {
        DatabaseAddress::parse(text, Duration::from_secs(4))
    }

    #[test]
    fn a_place_is_shown_without_its_password() {
        for (text, place) in [
            (
                "postgres://swp:sesame@db.example.com/publisher",
                "db.example.com:5432/publisher",
            ),
            (
                "postgresql://swp:sesame@127.0.0.1:5433/publisher",
                "127.0.0.1:5433/publisher",
            ),
            (
                "postgres://swp:sesame@a,b:5433/publisher",
                "a:5432,b:5433/publisher",
            ),
            (
                "postgres://swp:sesame@%2Frun%2Fpostgresql/publisher",
                "/run/postgresql:5432/publisher",
            ),
            (
                "host=/run/postgresql user=swp password=sesame",
                "/run/postgresql:5432/swp",
            ),
            (
                "hostaddr=10.0.0.1 user=swp dbname=x password=sesame",
                "10.0.0.1:5432/x",
            ),
        ] {
            assert_eq!(
                parse(text).map(|address| address.place).as_deref(),
                Ok(place)
            );
        }
    }

    #[test]
    fn a_sentence_about_an_address_does_not_repeat_it() {
        for text in [
            "postgres://swp:se@same@db/publisher",
            "postgres://swp:@sesame@db/publisher",
            "postgres://swp:sesame/db/publisher",
            "postgres://swp:sesame@db:port/publisher",
            "postgres://swp:sesame@/publisher",
            "postgres://swp:sesame@db/publisher?serverVersion=14",
            "postgres://swp:sesame@db/publisher?sslmode=verify-full",
            "host=db password=se same",
            "host=db password='sesame",
            "password=sesame",
        ] {
            let sentence = parse(text)
                .err()
                .unwrap_or_else(|| panic!("{text} is refused"));
            for word in ["swp", "same", "sesame", "se%", "serverVersion"] {
                assert!(!sentence.contains(word), "{sentence}");
            }
        }
        let sentence = parse("postgres://db/x?sslmode=verify-full").err();
        assert!(sentence.is_some_and(|sentence| sentence.starts_with("sslmode")));
    }

    #[test]
    fn what_does_not_leave_the_machine_is_not_encrypted_unless_asked() {
        for (text, mode) in [
            ("postgres://localhost/x", SslMode::Disable),
            ("postgres://[::1]/x", SslMode::Disable),
            ("host=/run/postgresql", SslMode::Disable),
            ("postgres://localhost/x?sslmode=require", SslMode::Require),
            ("postgres://localhost,db/x", SslMode::Prefer),
            ("host=localhost hostaddr=10.0.0.1", SslMode::Prefer),
            ("postgres://db/x", SslMode::Prefer),
            ("postgres://db/x?sslmode=disable", SslMode::Disable),
        ] {
            let address = parse(text).unwrap_or_else(|error| panic!("{text}: {error}"));
            assert_eq!(address.config.get_ssl_mode(), mode, "{text}");
        }
    }

    #[test]
    fn times_of_the_address_come_first() {
        let given = parse("postgres://db/x?connect_timeout=1").expect("good");
        assert_eq!(
            given.config.get_connect_timeout(),
            Some(&Duration::from_secs(1))
        );
        let own = parse("postgres://db/x").expect("good");
        assert_eq!(
            own.config.get_connect_timeout(),
            Some(&Duration::from_secs(2))
        );
        assert_eq!(
            own.config.get_tcp_user_timeout(),
            Some(&Duration::from_secs(4))
        );
    }
}

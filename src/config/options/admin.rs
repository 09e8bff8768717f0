//! The admin listener.
//!
//! Never here: publishing over HTTP (that is `publish`).

use std::net::SocketAddr;

use super::super::types::Word;
use super::addresses;
use crate::config::values;
use crate::wire::token::Token;

group! {
    /// The admin listener.
    AdminOptions at admin, "Administration" {
        /// Address of the admin listener: metrics, health, connections, publishing by HTTP and the dashboard. On
        /// this machine alone it asks for no token; where other machines reach it, it needs admin-token. `off` opens
        /// none.
        #[option("admin", "ADDR:PORT", restart, brief("Address of the dashboard and the metrics"))]
        addresses: Vec<SocketAddr> = addresses(&["127.0.0.1:8081"]),

        /// Token that the admin listener asks for, as Authorization: Bearer TOKEN. Empty: it asks for none, and
        /// newswire refuses an admin address that other machines reach. Prefer the variable or the file, because
        /// every user of the machine can read a command line.
        #[option("admin-token", "TOKEN", secret)]
        token: Option<Token> = Word {
            default: "",
            parse: values::optional_token,
            show: values::token_text,
        },
    }
}

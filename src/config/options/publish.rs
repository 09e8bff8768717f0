//! Who may publish over HTTP, and at which address beside the admin listener.
//!
//! Never here: ZeroMQ (that is `ingest`), and how large an event may be (that is there too).

use std::net::SocketAddr;

use super::super::types::{WhenNone, Word};
use super::{addresses, list};
use crate::config::values;
use crate::wire::token::Token;

group! {
    /// Who may publish over HTTP, and at which address beside the admin listener.
    PublishOptions at publish, "Publishing over HTTP" {
        /// Address of a listener that takes events by HTTP (POST /publish) and does nothing else. Publishers on
        /// other machines then need not reach the admin listener. It needs publish-token. `off` opens none.
        #[option("publish", "ADDR:PORT", restart, brief("Address for POST /publish alone"))]
        addresses: Vec<SocketAddr> = addresses(&[]),

        /// Token that POST /publish asks for, as Authorization: Bearer TOKEN. Empty: only those who may use the
        /// admin listener may publish, and only there. Prefer the variable or the file, because every user of the
        /// machine can read a command line.
        #[option("publish-token", "TOKEN", secret)]
        token: Option<Token> = Word {
            default: "",
            parse: values::optional_token,
            show: values::token_text,
        },

        /// Origin of pages of another site that may send POST /publish, as browsers send it, such as
        /// `https://example.com`. Such a page needs publish-token too, and whoever uses the page can read that
        /// token.
        #[option("publish-origin", "ORIGIN")]
        origins: Vec<String> = list(values::origin, String::clone, WhenNone::Empty, &[]),
    }
}

//! Where clients connect, and from which pages and proxies.
//!
//! Never here: who may subscribe (that is `auth`), and what a client may use (that is `clients`).

use std::net::SocketAddr;

use ipnet::IpNet;

use super::super::types::{List, WhenNone};
use super::list;
use crate::config::values;
use crate::limits;

group! {
    /// Where clients connect, and from which pages and proxies.
    ListenOptions at listen, "Where clients connect" {
        /// Address on which browsers connect. newswire speaks plain ws:// there, so the default stays on this
        /// machine, for a proxy that ends TLS. Port 0 takes a free port; the start prints it.
        #[option("listen", "ADDR:PORT", restart, brief("Address on which browsers connect"))]
        addresses: Vec<SocketAddr> = List {
            default: &["127.0.0.1:8080"],
            when_none: WhenNone::Refused,
            parse: values::address,
            show: SocketAddr::to_string,
            // Each takes another port.
            may_repeat: |address| address.port() == 0,
        },

        /// Origin of pages that may connect, as browsers send it, such as `https://example.com`. Without this option
        /// every page with a good token may connect. newswire does not check clients that send no Origin, which are
        /// no browsers. A page from a file has the origin `null` in browsers and `file://` in some web views; `null`
        /// also lets in every page that hides its origin in a sandboxed frame.
        #[option("origin", "ORIGIN", brief("Origin of pages that may connect"))]
        origins: Vec<String> = list(values::origin, String::clone, WhenNone::Empty, &[]),

        /// Proxy whose X-Forwarded-For newswire believes, or a network of such proxies, such as 127.0.0.1 or
        /// 10.0.0.0/8. The limits for one address then count the client's own address. A client for whom the proxy
        /// names no address (`unknown`) has none: those limits do not concern it. Without this option newswire
        /// ignores the header, since every client could write it.
        #[option("trusted-proxy", "ADDRESS[/BITS]", brief("Proxy in front whose X-Forwarded-For is believed"))]
        trusted_proxies: Vec<IpNet> = list(values::network, IpNet::to_string, WhenNone::Empty, &[]),

        /// What the kernel may hold unsent for one client (TCP_NOTSENT_LOWAT). Without this bound a client that
        /// stalls costs up to 4 MB of the kernel's memory.
        #[option("unsent-bytes-max", "BYTES", restart)]
        unsent_bytes_max: usize = number!(Bytes, limits::UNSENT_BYTES_MAX, 4096, limits::BYTES_CEILING),

        /// Time for which sent bytes may stay unacknowledged, after which the kernel ends the connection
        /// (TCP_USER_TIMEOUT). The default is as long as ping-interval and ping-timeout together.
        #[option("unacknowledged-timeout", "SECONDS", restart)]
        unacknowledged_seconds: u32 = number!(
            Seconds, limits::UNACKNOWLEDGED_SECONDS, 1, limits::UNACKNOWLEDGED_SECONDS_CEILING
        ),
    }
}

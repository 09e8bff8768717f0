//! TLS to databases and brokers: which authorities are trusted.
//!
//! newswire always checks the certificate and the host's name in it.
//!
//! Never here: connections.

use std::fs;
use std::sync::Arc;

use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::CertificateDer;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// Trusts the `authorities`, each as DER; `None`: Mozilla's, which are part of the program.
///
/// # Errors
/// One of them cannot be an authority's.
pub fn connector<'a>(
    authorities: Option<impl Iterator<Item = &'a [u8]>>,
) -> Result<TlsConnector, String> {
    let mut roots = RootCertStore::empty();
    match authorities {
        None => roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned()),
        Some(authorities) => {
            for authority in authorities {
                let added = roots.add(CertificateDer::from_slice(authority));
                added.map_err(|error| format!("it cannot be used: {error}"))?;
            }
        }
    }
    let config = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| format!("TLS cannot be used: {error}"))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config).into())
}

/// Trusts the authorities of the PEM file `path`; an empty path is Mozilla's.
///
/// # Errors
/// The file cannot be used; the sentence begins with `option`, which names the file.
pub fn load(option: &str, path: &str) -> Result<TlsConnector, String> {
    let failed = |what: &dyn std::fmt::Display| format!("{option} ({path}): {what}");
    if path.is_empty() {
        return connector(None::<std::iter::Empty<&[u8]>>);
    }
    let text = fs::read(path).map_err(|error| failed(&error))?;
    let authorities = CertificateDer::pem_slice_iter(&text).collect::<Result<Vec<_>, _>>();
    let authorities = authorities.map_err(|error| failed(&format_args!("not PEM: {error}")))?;
    if authorities.is_empty() {
        return Err(failed(&"there is no certificate in it"));
    }
    connector(Some(authorities.iter().map(|authority| &**authority))).map_err(|what| failed(&what))
}

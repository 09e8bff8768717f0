//! A certificate for a test's own server, and the authority that has signed it.

use rcgen::{BasicConstraints, Certificate, CertificateParams, IsCa, Issuer, KeyPair};

/// See above.
pub struct Certified {
    /// The authority's certificate, as PEM.
    pub authority: String,
    /// The server's.
    pub certificate: Certificate,
    /// The server's key.
    pub key: KeyPair,
}

impl Certified {
    /// A new certificate for the server `name`.
    pub fn new(name: &str) -> Self {
        let key = KeyPair::generate().expect("a key");
        let mut params = CertificateParams::new([]).expect("no names");
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = params.self_signed(&key).expect("signed").pem();
        let issuer = Issuer::new(params, key);
        let key = KeyPair::generate().expect("a key");
        let params = CertificateParams::new([name.to_owned()]).expect("a name");
        let certificate = params.signed_by(&key, &issuer).expect("signed");
        Self {
            authority,
            certificate,
            key,
        }
    }
}

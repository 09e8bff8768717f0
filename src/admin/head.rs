//! What the clients of the admin and publish listeners are told whose head has a fault.
//!
//! Never here: how a head is parsed (`wire/http`), whether what it asks for exists, and who may have it.

use super::response::Response;
use crate::limits::{ADMIN_HEAD_BYTES_MAX, HEADERS_MAX};
use crate::stats::HttpStatus;
use crate::wire::http::{BodyFault, Head, HeadFault};

fn malformed(error: &str) -> Response {
    let hint =
        "send an HTTP/1.1 request with one Host, without TLS (https:// is a proxy's to speak)";
    Response::refusal(HttpStatus::BadRequest, error, hint).closing()
}

impl From<HeadFault> for Response {
    fn from(fault: HeadFault) -> Self {
        match fault {
            HeadFault::TooLarge => Self::refusal(
                HttpStatus::HeadTooLarge,
                "the request's head is too large",
                &format!(
                    "send at most {ADMIN_HEAD_BYTES_MAX} bytes of head, in {HEADERS_MAX} lines"
                ),
            )
            .closing(),
            HeadFault::OtherVersion | HeadFault::NoVersion => Self::refusal(
                HttpStatus::HttpVersion,
                "this version of HTTP is not spoken here",
                "speak HTTP/1.1",
            )
            .closing(),
            HeadFault::Syntax => malformed("the request is malformed"),
        }
    }
}

impl From<BodyFault> for Response {
    fn from(fault: BodyFault) -> Self {
        match fault {
            BodyFault::Chunked => Self::refusal(
                HttpStatus::LengthRequired,
                "the body comes in chunks, without a length",
                "send a Content-Length (curl: --data-binary @FILE, and not -T -)",
            )
            .closing(),
            BodyFault::OtherCoding => Self::refusal(
                HttpStatus::NotImplemented,
                "this Transfer-Encoding is not known here",
                "send the body as it is, with a Content-Length",
            )
            .closing(),
            BodyFault::NotANumber => malformed("Content-Length is not one number"),
        }
    }
}

/// Checks that a head names one host (RFC 9112 s. 3.2). A head of HTTP/1.0 may name none.
///
/// # Errors
/// Returns the answer to any other head.
pub fn check(head: &Head<'_, '_>) -> Result<(), Response> {
    match head.text("host") {
        Ok(Some(_)) => Ok(()),
        Ok(None) if head.is_http_1_0 => Ok(()),
        _ => Err(malformed("there has to be one Host")),
    }
}

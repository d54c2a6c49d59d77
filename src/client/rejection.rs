//! What a request gets that isn't let through.

use http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tonic::Status;

use crate::proto::v1::Verdict;

use super::VerifyError;

/// Why a request isn't let through. What the key's holder is told is less than we know: not what became of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Rejection {
    /// Nothing that could be a secret.
    NoSecret,
    /// A key that isn't good.
    BadKey,
    /// A good key that may not do this, or not from there.
    NotAllowed,
    /// Nobody knows.
    NoVerdict,
}

impl From<VerifyError> for Rejection {
    fn from(error: VerifyError) -> Self {
        match error {
            VerifyError::Refused { verdict: Verdict::ScopeMissing | Verdict::AddressNotAllowed, .. } => {
                Self::NotAllowed
            }
            VerifyError::Refused { .. } => Self::BadKey,
            VerifyError::NoVerdict(status) => {
                tracing::warn!(code = ?status.code(), message = status.message(), "no verdict about a key");
                Self::NoVerdict
            }
        }
    }
}

impl Rejection {
    /// An answer without a body, in the manner of the request with these headers.
    pub(super) fn response<R: Default>(self, request: &HeaderMap) -> Response<R> {
        let content_type = request.get(CONTENT_TYPE).map(HeaderValue::as_bytes);
        if content_type.is_some_and(|value| value.starts_with(b"application/grpc")) {
            return self.status().into_http();
        }
        let mut response = Response::new(R::default());
        let (status, name, value) = self.http();
        *response.status_mut() = status;
        response.headers_mut().insert(name, HeaderValue::from_static(value));
        response
    }

    fn status(self) -> Status {
        match self {
            Self::NoSecret => Status::unauthenticated("present a key as `authorization: Bearer …`, exactly once"),
            Self::BadKey => Status::unauthenticated("the presented key is not valid; use another one"),
            Self::NotAllowed => {
                Status::permission_denied("the presented key may not do this from here; ask its owner for one that may")
            }
            Self::NoVerdict => Status::unavailable("the key can't be checked now; try again"),
        }
    }

    /// Challenges as in RFC 6750, section 3.
    fn http(self) -> (StatusCode, http::HeaderName, &'static str) {
        match self {
            Self::NoSecret => (StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer"),
            Self::BadKey => (StatusCode::UNAUTHORIZED, WWW_AUTHENTICATE, "Bearer error=\"invalid_token\""),
            Self::NotAllowed => (StatusCode::FORBIDDEN, WWW_AUTHENTICATE, "Bearer error=\"insufficient_scope\""),
            Self::NoVerdict => (StatusCode::SERVICE_UNAVAILABLE, RETRY_AFTER, "1"),
        }
    }
}

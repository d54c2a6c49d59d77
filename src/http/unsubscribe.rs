//! Links that end mails: GET shows a button, POST acts, by hand or by the reader's mail program (RFC 8058).
//!
//! Mail programs and virus scanners follow every link they see, so GET changes nothing. POST takes no session and no
//! cookie, any body, and says the same however often it comes.

use axum::body::Bytes;
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{Html, IntoResponse, Response};
use http::{StatusCode, header};

use crate::authority::AuthorityError;
use crate::domain::{ids::SubscriberId, limits};

use super::{Port, pages};

/// The two parts of a link's path.
type Parts = Result<Path<(String, String)>, PathRejection>;

/// `GET /unsubscribe/{subscriber}/{code}`
pub(super) async fn ask(State(port): State<Port>, parts: Parts) -> Response {
    match subscriber(&port, parts) {
        Some(_) => Html(pages::ask()).into_response(),
        None => invalid(),
    }
}

/// `POST /unsubscribe/{subscriber}/{code}`
pub(super) async fn act(State(port): State<Port>, parts: Parts, _any: Bytes) -> Response {
    match subscriber(&port, parts) {
        Some(subscriber) => answer(port.authority.unsubscribe(&subscriber).await),
        None => invalid(),
    }
}

fn subscriber(port: &Port, parts: Parts) -> Option<SubscriberId> {
    let Path((subscriber, code)) = parts.ok()?;
    port.links.check(&subscriber, &code)
}

fn answer(unsubscribed: Result<bool, AuthorityError>) -> Response {
    match unsubscribed {
        Ok(true) => Html(pages::done()).into_response(),
        Ok(false) => invalid(),
        Err(error) => {
            tracing::warn!(%error, "somebody could not be unsubscribed");
            let later = [(header::RETRY_AFTER, limits::HTTP_RETRY_AFTER.as_secs())];
            (StatusCode::SERVICE_UNAVAILABLE, later, Html(pages::later())).into_response()
        }
    }
}

/// One answer for a link that was never made and one whose subscriber is gone.
fn invalid() -> Response {
    (StatusCode::NOT_FOUND, Html(pages::invalid())).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_unknown_and_failed_are_told_apart() {
        let status = |result| answer(result).status();
        assert_eq!(status(Ok(true)), StatusCode::OK);
        assert_eq!(status(Ok(false)), StatusCode::NOT_FOUND);
        let failed = answer(Err(AuthorityError::Defect("a cause".to_owned())));
        assert_eq!(failed.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(failed.headers()[header::RETRY_AFTER], "10");
    }
}

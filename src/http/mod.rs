//! The HTTP port: whether the process lives and can answer, its metrics, and the links of mails.
//!
//! `/livez` and `/readyz` are for probes, `/metrics` is for Prometheus, `/unsubscribe/…` for people and their mail
//! programs. Nothing here needs a credential, so nothing here tells anything about a tenant, and no path is ever logged:
//! a link is as good as the right to unsubscribe.

pub mod pages;
pub mod server;
pub mod unsubscribe;

use std::sync::Arc;

use axum::Router;
use axum::extract::{DefaultBodyLimit, State};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::{HeaderValue, StatusCode, header};

use crate::authority::Authority;
use crate::domain::{limits, unsubscribe::Links};
use crate::metrics::Metrics;
use crate::verify::Verifier;

/// Prometheus' text format.
const METRICS_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";
/// For pages without scripts, pictures and frames, whose form leads back to us.
const CONTENT_SECURITY: &str = "default-src 'none'; style-src 'unsafe-inline'; form-action 'self'; base-uri 'none'; \
                                frame-ancestors 'none'";

/// What the routes need. Cheap to clone.
#[derive(Clone)]
struct Port {
    verifier: Arc<Verifier>,
    authority: Authority,
    metrics: Arc<Metrics>,
    links: Arc<Links>,
}

/// Everything that the port answers.
pub fn routes(verifier: Arc<Verifier>, authority: Authority, metrics: Arc<Metrics>, links: Arc<Links>) -> Router {
    Router::new()
        .route("/livez", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .route(
            "/unsubscribe/{subscriber}/{code}",
            get(unsubscribe::ask).post(unsubscribe::act).layer(map_response(say_goodbye)),
        )
        .fallback(async || (StatusCode::NOT_FOUND, "nothing is here; try /livez, /readyz or /metrics\n"))
        .layer(DefaultBodyLimit::max(limits::HTTP_BODY_BYTES))
        .layer(map_response(protect))
        .with_state(Port { verifier, authority, metrics, links })
}

/// Ready means loaded and not older than the staleness bound: an outage of the database doesn't empty the load balancer.
async fn ready(State(port): State<Port>) -> Response {
    if port.verifier.is_ready() {
        return "ok".into_response();
    }
    (StatusCode::SERVICE_UNAVAILABLE, "the mirror is older than the staleness bound\n").into_response()
}

async fn metrics_text(State(port): State<Port>) -> Response {
    match port.metrics.text() {
        Ok(text) => ([(header::CONTENT_TYPE, METRICS_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "no metrics");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

/// Strangers keep no connection, so that there is always a place for probes.
async fn say_goodbye(mut response: Response) -> Response {
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Whatever is answered: nobody keeps it, takes it for something else, or learns the link from it.
async fn protect(mut response: Response) -> Response {
    for (name, value) in [
        (header::CACHE_CONTROL, "no-store"),
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

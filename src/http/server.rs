//! HTTP/1.1 connections: so many at once, each with bounds on what it sends, how long it takes and how old it gets.

use std::convert::Infallible;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::response::{IntoResponse, Response};
use http::{Request, StatusCode, header};
use http_body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tower::ServiceExt;

use crate::domain::limits;
use crate::tls::{self, Port, Tls};

/// How long to rest when the process has run out of file descriptors.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// To HTTP in the clear, where TLS is spoken.
const USE_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 36\r\nconnection: close\r\n\r\nThis port speaks TLS; use https://.\n";

/// Accepts connections until `stop`, then lets running requests end, for [`limits::DRAIN`] at most. Who comes when all
/// places are taken waits in the system's queue: a probe is late rather than refused.
pub async fn serve(listener: TcpListener, routes: Router, tls: Option<Arc<Tls>>, stop: CancellationToken) {
    let places = Arc::new(Semaphore::new(limits::HTTP_CONNECTIONS));
    let connections = TaskTracker::new();
    let accept = async || (Arc::clone(&places).acquire_owned().await, listener.accept().await);
    while let Some((place, accepted)) = stop.run_until_cancelled(accept()).await {
        let (stream, _) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                // One bad connection, or no descriptor left: neither may end the service.
                tracing::warn!(%error, "an HTTP connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        let (routes, tls, stop) = (routes.clone(), tls.clone(), stop.clone());
        connections.spawn(async move {
            match tls {
                None => speak(stream, routes, stop).await,
                Some(tls) => encrypt(stream, routes, &tls, stop).await,
            }
            drop(place);
        });
    }
    drop(listener);
    connections.close();
    if timeout(limits::DRAIN, connections.wait()).await.is_err() {
        tracing::warn!(connections = connections.len(), "HTTP requests were still running when the time was over");
    }
}

/// Changes to TLS, or tells whoever speaks in the clear to.
async fn encrypt(mut stream: TcpStream, routes: Router, tls: &Tls, stop: CancellationToken) {
    let deadline = Instant::now() + limits::HANDSHAKE;
    let begins = timeout_at(deadline, tls::begins(&stream)).await;
    let begun = match begins {
        Ok(Ok(true)) => timeout_at(deadline, tls.accept(stream, Port::Http)).await,
        Ok(Ok(false)) => {
            // It reads this, or it is gone.
            let _ = timeout_at(deadline, stream.write_all(USE_TLS)).await;
            return;
        }
        Ok(Err(_)) | Err(_) => return,
    };
    match begun {
        Ok(Ok(stream)) => speak(stream, routes, stop).await,
        Ok(Err(error)) => tracing::debug!(%error, "no TLS could be agreed on for HTTP"),
        Err(_) => {}
    }
}

async fn speak(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, routes: Router, stop: CancellationToken) {
    let service = service_fn(move |request| answer(routes.clone(), request));
    let mut connection = pin!(settings().serve_connection(TokioIo::new(stream), service));
    let mut leaving = pin!(timeout(limits::HTTP_CONNECTION_LIFE, stop.cancelled()));
    let ended = tokio::select! {
        ended = connection.as_mut() => Ok(ended),
        _ = leaving.as_mut() => {
            connection.as_mut().graceful_shutdown();
            timeout(limits::HTTP_DEADLINE, connection).await
        }
    };
    if let Ok(Err(error)) = ended {
        tracing::debug!(%error, "an HTTP connection broke");
    }
}

/// A request that announces too much, or isn't answered in time, is given up, and its connection with it.
async fn answer(routes: Router, request: Request<Incoming>) -> Result<Response, Infallible> {
    let close = [(header::CONNECTION, "close")];
    if request.body().size_hint().lower() > limits::HTTP_BODY_BYTES as u64 {
        return Ok((StatusCode::PAYLOAD_TOO_LARGE, close, "the body is too long\n").into_response());
    }
    match timeout(limits::HTTP_DEADLINE, routes.oneshot(request)).await {
        Ok(answered) => answered,
        Err(_) => {
            let retry = [(header::RETRY_AFTER, limits::HTTP_RETRY_AFTER.as_secs())];
            Ok((StatusCode::SERVICE_UNAVAILABLE, close, retry, "it took too long; try again\n").into_response())
        }
    }
}

fn settings() -> http1::Builder {
    let mut settings = http1::Builder::new();
    settings
        .timer(TokioTimer::new())
        .header_read_timeout(limits::HTTP_HEADERS)
        .max_headers(limits::HTTP_HEADER_COUNT)
        .max_header_size(limits::HTTP_HEADER_BYTES)
        .max_buf_size(limits::HTTP_HEADER_BYTES);
    settings
}

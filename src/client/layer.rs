//! A tower layer that lets only requests with a good key through.

use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::header::AUTHORIZATION;
use http::{Extensions, HeaderMap, Request, Response};
use tonic::server::NamedService;
use tower::{Layer, Service};

use super::Verifier;
use super::rejection::Rejection;

/// Lets a request through to the service if it has one header `authorization: Bearer <secret>` and the secret's key grants
/// all of the scopes. The service finds an `Arc<`[`Identity`](super::Identity)`>` in the request's extensions, and no
/// `authorization` any more, so that it can't pass the secret on or log it.
///
/// For any service over HTTP: an axum `Router`, a whole tonic server, or one service of a tonic server. Every other request
/// is refused:
///
/// | why | HTTP | gRPC (`content-type: application/grpc…`) |
/// |---|---|---|
/// | no such header, or two, or a key that isn't good | 401 | UNAUTHENTICATED |
/// | a key without a scope, or from elsewhere than it may be used | 403 | PERMISSION_DENIED |
/// | the authority gives no verdict | 503 | UNAVAILABLE |
#[derive(Debug, Clone)]
pub struct RequireKeyLayer(Arc<Requirement>);

/// A service behind a [`RequireKeyLayer`].
#[derive(Debug, Clone)]
pub struct RequireKey<S> {
    inner: S,
    requirement: Arc<Requirement>,
}

#[derive(Debug)]
struct Requirement {
    verifier: Verifier,
    scopes: Vec<String>,
    client_ip: fn(&Extensions) -> Option<IpAddr>,
}

impl RequireKeyLayer {
    /// Asks `verifier` for keys that grant all of `scopes`; without any, for keys that are good at all. A text that can't be
    /// a scope makes every answer 503.
    ///
    /// Keys with `allowed_networks` are refused until you say by [`client_ip`](Self::client_ip) where clients are.
    #[must_use]
    pub fn new(verifier: Verifier, scopes: impl IntoIterator<Item = impl Into<String>>) -> Self {
        let scopes = scopes.into_iter().map(Into::into).collect();
        Self(Arc::new(Requirement { verifier, scopes, client_ip: |_| None }))
    }

    /// Says where a request comes from. Only you know what can be trusted: the other end of the connection
    /// (`axum::extract::ConnectInfo`, `tonic::transport::server::TcpConnectInfo`), or, behind a proxy of your own, an address
    /// that an outer layer of yours took from the proxy's header and put into the extensions.
    #[must_use]
    pub fn client_ip(self, client_ip: fn(&Extensions) -> Option<IpAddr>) -> Self {
        let Requirement { verifier, scopes, .. } = &*self.0;
        Self(Arc::new(Requirement { verifier: verifier.clone(), scopes: scopes.clone(), client_ip }))
    }
}

impl<S> Layer<S> for RequireKeyLayer {
    type Service = RequireKey<S>;

    fn layer(&self, inner: S) -> RequireKey<S> {
        RequireKey { inner, requirement: self.0.clone() }
    }
}

impl<S, B, R> Service<Request<B>> for RequireKey<S>
where
    S: Service<Request<B>, Response = Response<R>> + Clone + Send + 'static,
    S::Future: Send,
    B: Send + 'static,
    R: Default,
{
    type Response = Response<R>;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<Response<R>, S::Error>> + Send>>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), S::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let requirement = self.requirement.clone();
        // The one that was polled ready takes the request; the clone waits for its own turn.
        let clone = self.inner.clone();
        let mut ready = std::mem::replace(&mut self.inner, clone);
        Box::pin(async move {
            match requirement.admit(&mut request).await {
                Ok(()) => ready.call(request).await,
                Err(rejection) => Ok(rejection.response(request.headers())),
            }
        })
    }
}

/// So that one service of a tonic server can have scopes of its own.
impl<S: NamedService> NamedService for RequireKey<S> {
    const NAME: &'static str = S::NAME;
}

impl Requirement {
    async fn admit<B>(&self, request: &mut Request<B>) -> Result<(), Rejection> {
        let secret = bearer(request.headers()).ok_or(Rejection::NoSecret)?.to_owned();
        let client_ip = (self.client_ip)(request.extensions());
        let identity = self.verifier.verify(&secret, client_ip, &self.scopes).await.map_err(Rejection::from)?;
        request.headers_mut().remove(AUTHORIZATION);
        request.extensions_mut().insert(identity);
        Ok(())
    }
}

/// The one bearer token. The scheme's name may be in any case (RFC 9110, 11.1); the token is taken as it is.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let (Some(value), None) = (values.next(), values.next()) else { return None };
    let (scheme, token) = value.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token)
}

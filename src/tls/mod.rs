//! TLS of our own ports: the certificate, whom clients may say they are, and a new certificate without a restart. The only
//! user of rustls.
//!
//! Both ports have the same certificate. On the gRPC port a client may present one too, which an authority of
//! `tls_client_ca_file` signed: it is never demanded, because callers have keys. No session is resumed, so that each
//! connection proves its certificate anew, against the authorities of now; a full handshake costs less than a millisecond,
//! and connections of gRPC live long.

mod identity;
pub mod own_service;
mod peers;
pub mod pem;
mod reload;
mod x509;

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::net::TcpStream;
use tokio_rustls::TlsAcceptor;
pub use tokio_rustls::server::TlsStream;

use crate::clock::Clock;
use crate::domain::peer_name::PeerNames;
use crate::metrics::Metrics;

use identity::{Contents, Identity};
use reload::Watched;

/// The first byte of a TLS connection: a record that holds a handshake (RFC 8446, 5.1).
const HANDSHAKE_RECORD: u8 = 22;

/// Where the certificates are.
#[derive(Debug, Clone)]
pub struct TlsFiles {
    /// Our certificate, and those of its issuers below it.
    pub certificate: PathBuf,
    /// Its private key.
    pub key: PathBuf,
    /// The authorities whose certificates clients may present; without it, none.
    pub client_ca: Option<PathBuf>,
}

/// What is wrong with the files, each in a sentence.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct TlsError(Vec<String>);

/// The certificate of our ports.
pub struct Tls {
    files: TlsFiles,
    clock: Clock,
    identity: RwLock<Arc<Identity>>,
    watched: Mutex<Watched>,
    loaded: AtomicU64,
    refused: AtomicU64,
}

/// Which of our ports.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Port {
    /// gRPC: HTTP/2, and client certificates.
    Grpc,
    /// HTTP/1.1, and no client certificates.
    Http,
}

impl Tls {
    /// Reads the files; or says everything that is wrong with them.
    pub fn load(files: TlsFiles, clock: Clock) -> Result<Self, TlsError> {
        let contents = Contents::read(&files)?;
        let identity = Identity::new(&files, &contents, &clock)?;
        let watched = Mutex::new(Watched::new(contents.digest()));
        let identity = RwLock::new(Arc::new(identity));
        Ok(Self { files, clock, identity, watched, loaded: AtomicU64::new(0), refused: AtomicU64::new(0) })
    }

    /// Shakes hands, however long that takes. Whoever breaks the rules gets the alert that says so.
    pub async fn accept(&self, stream: TcpStream, port: Port) -> io::Result<TlsStream<TcpStream>> {
        let identity = Arc::clone(&self.identity.read());
        TlsAcceptor::from(identity.config(port)).accept(stream).await
    }

    /// A name that our certificate is good for, when there is one that is no wildcard.
    #[must_use]
    pub fn name(&self) -> Option<String> {
        self.identity.read().name.clone()
    }

    /// Where the certificates are.
    #[must_use]
    pub fn files(&self) -> &TlsFiles {
        &self.files
    }

    /// From now on shows when the certificate ends, and how often new files were taken or refused.
    pub fn show(self: &Arc<Self>, metrics: &Metrics) {
        let (counting, ending) = (Arc::clone(self), Arc::clone(self));
        metrics.observe_counts(
            "claviger_tls_reloads",
            "Looks at changed TLS files, by whether they were taken; refused ones are looked at again and again.",
            "result",
            move || {
                [("loaded", &counting.loaded), ("refused", &counting.refused)]
                    .map(|(result, count)| (result, count.load(Ordering::Relaxed)))
            },
        );
        metrics.observe_tls_expiry(move || ending.identity.read().expire_time);
    }
}

/// Whether the peer begins with TLS. Waits until it says something; nothing is taken from the stream.
pub async fn begins(stream: &TcpStream) -> io::Result<bool> {
    let mut first = [0];
    match stream.peek(&mut first).await? {
        0 => Err(io::ErrorKind::UnexpectedEof.into()),
        _ => Ok(first[0] == HANDSHAKE_RECORD),
    }
}

/// The names of the client certificate that this connection was made with.
#[must_use]
pub fn peer_names(stream: &TlsStream<TcpStream>) -> Option<PeerNames> {
    let (_, connection) = stream.get_ref();
    // An error would have ended the handshake.
    peers::names_of(connection.peer_certificates()?.first()?).ok().flatten()
}

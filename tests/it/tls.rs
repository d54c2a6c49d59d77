//! TLS of our own ports, through real sockets and real clients.

mod client_certificates;
mod collector;
mod handshakes;
mod outside;
mod reload;
mod starting;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::process::Command;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tonic::transport::{Certificate, Channel, ClientTlsConfig, Endpoint, Identity};

use crate::harness::certificates::{Authority, Certified, Wanted};
use crate::harness::{Client, Engine, Place, Process, engine::tool, process};

const LONGEST: Duration = Duration::from_secs(60);
/// What the server's certificate is for.
const NAME: &str = "keys.claviger.test";

/// A place for a service with a certificate, and the authority that signed it.
struct Scene {
    place: Place,
    authority: Authority,
}

impl Scene {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let scene = Self { place: Place { folder, database_url: None }, authority: Authority::new("the authority") };
        std::fs::write(scene.file("ca.crt"), &scene.authority.pem).expect("written");
        scene.authority.sign(&Wanted::server(&[NAME])).write(scene.folder(), "tls");
        scene
    }

    fn folder(&self) -> &Path {
        self.place.folder.path()
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder().join(name)
    }

    /// The binary with the certificate. `client_ca`: whose clients may present one.
    fn command(&self, client_ca: bool) -> Command {
        let mut command = process::command(&self.place);
        command.env("CLAVIGER_TLS_CERTIFICATE_FILE", self.file("tls.crt"));
        command.env("CLAVIGER_TLS_KEY_FILE", self.file("tls.key"));
        if client_ca {
            command.env("CLAVIGER_TLS_CLIENT_CA_FILE", self.file("ca.crt"));
        }
        command
    }

    async fn start(&self) -> Process {
        Process::start_command(self.command(false)).await
    }

    /// The same with authorities of clients, and what it logs in the file `log`.
    async fn start_logging(&self) -> Process {
        self.start_logging_with("CLAVIGER_LOG", "info").await
    }

    /// The same with another setting.
    async fn start_logging_with(&self, name: &str, value: &str) -> Process {
        let mut command = self.command(true);
        command.env(name, value);
        let log = std::fs::File::options().create(true).append(true).open(self.file("log")).expect("a file");
        Process::start_logging(command, log.into()).await
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).expect("a log")
    }

    /// A caller with the root key, over TLS.
    async fn root(&self, address: SocketAddr) -> Client {
        let channel = self.channel(address, None).await.expect("connected");
        Client::over(channel, Some(&process::root_secret(self.folder())))
    }

    /// A connection over TLS that trusts our authority, maybe with a certificate.
    async fn channel(&self, address: SocketAddr, own: Option<&Certified>) -> Result<Channel, tonic::transport::Error> {
        let trusting = ClientTlsConfig::new().ca_certificate(Certificate::from_pem(&self.authority.pem));
        let trusting = trusting.domain_name(NAME);
        let config = match own {
            Some(own) => trusting.identity(Identity::from_pem(&own.certificate, &own.key)),
            None => trusting,
        };
        let endpoint = Endpoint::from_shared(format!("https://{address}")).expect("an address");
        endpoint.tls_config(config).expect("a configuration").connect().await
    }

    /// A handshake that trusts our authority and proposes this protocol.
    async fn shake_hands(
        &self,
        address: SocketAddr,
        protocol: &str,
        own: Option<&Certified>,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(certificate(&self.authority.pem)).expect("an authority");
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let builder = builder.expect("versions").with_root_certificates(roots);
        let mut config = match own {
            Some(own) => {
                let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).expect("a key");
                builder.with_client_auth_cert(vec![certificate(&own.certificate)], key).expect("an identity")
            }
            None => builder.with_no_client_auth(),
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(address).await?;
        let name = ServerName::try_from(NAME).expect("a name");
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    }

    /// The certificate that a new connection gets.
    async fn presented(&self, address: SocketAddr) -> CertificateDer<'static> {
        let stream = self.shake_hands(address, "h2", None).await.expect("a handshake");
        let chain = stream.get_ref().1.peer_certificates().expect("a certificate");
        chain[0].clone().into_owned()
    }
}

fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).expect("a certificate")
}

/// Runs a tool to its end; `None`, with a loud line, when it isn't there. Answers exit code, and standard output and error.
async fn run_tool(name: &str, arguments: &[&str]) -> Option<(Option<i32>, String)> {
    let mut command = Command::new(tool(name)?);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (code, out, err) = tokio::time::timeout(LONGEST, process::run(command)).await.expect("it ends");
    Some((code, out + &err))
}

async fn place() -> Place {
    Engine::Sqlite.place().await.expect("SQLite is always there")
}

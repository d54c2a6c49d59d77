//! Connections to the mail server. Ours and not the library's pool: an attempt that takes too long is dropped in the middle,
//! and its connection must die with it, while lettre's pool would give it to the next mail (lettre 0.11.23, async_pool.rs).
//! It also tells what is about us, as a refused login, from what is about a recipient.

use std::time::Duration;

use lettre::Message;
use lettre::transport::smtp::{
    Error,
    authentication::{Credentials, DEFAULT_MECHANISMS},
    client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters},
    commands::{Data, Mail, Rcpt, Rset},
    extension::ClientId,
    response::Response,
};
use parking_lot::Mutex;
use tokio::time::Instant;

use crate::config::{Credentials as Login, Encryption};
use crate::domain::limits;
use crate::tls::pem::Authorities;

/// Longest pause in which a connection is kept for the next mail: servers hang up on silent ones.
const IDLE: Duration = Duration::from_secs(15);

/// A mail server, and the connections to it that wait for the next mail.
pub(super) struct SmtpServer {
    host: String,
    port: u16,
    security: Encryption,
    tls: TlsParameters,
    login: Option<Credentials>,
    hello: ClientId,
    /// How many may wait.
    connections: usize,
    idle: Mutex<Vec<(AsyncSmtpConnection, Instant)>>,
}

/// Why a mail didn't get through.
pub(super) enum Failure {
    /// It didn't come to the mail: no connection, no TLS, no login, or the sender was refused.
    Beforehand(Error),
    /// The server refused its recipient or its content, or was lost in the middle.
    OfThisMail(Error),
}

/// Whom to believe to be `host`: who has a certificate from these authorities, or, without any, from one of the system's.
pub(super) fn parameters(host: &str, authorities: Option<&Authorities>) -> Result<TlsParameters, Error> {
    let Some(authorities) = authorities else { return TlsParameters::new(host.to_owned()) };
    let authorities = Certificate::from_pem(authorities.pem())?;
    TlsParameters::builder(host.to_owned())
        .certificate_store(CertificateStore::None)
        .add_root_certificate(authorities)
        .build()
}

impl SmtpServer {
    pub(super) fn new(
        host: &str,
        port: u16,
        security: Encryption,
        tls: TlsParameters,
        login: Option<&Login>,
        connections: usize,
    ) -> Self {
        Self {
            host: host.to_owned(),
            port,
            security,
            tls,
            login: login.map(|login| Credentials::new(login.user.clone(), login.password.clone())),
            hello: ClientId::default(),
            connections,
            idle: Mutex::default(),
        }
    }

    /// Hands a mail over. Takes as long as the server lets it; dropped, it takes its connection with it.
    pub(super) async fn send(&self, mail: &Message) -> Result<Response, Failure> {
        let mut connection = self.connection().await.map_err(Failure::Beforehand)?;
        let sent = hand_over(&mut connection, mail).await;
        let usable = match &sent {
            Ok(_) => true,
            // A refusal is an answer: the connection is still good for another mail.
            Err(Failure::OfThisMail(error)) => error.status().is_some(),
            Err(Failure::Beforehand(_)) => false,
        };
        if usable {
            self.keep(connection);
        }
        sent
    }

    /// Ends the connections that wait for the next mail.
    pub(super) fn hang_up(&self) {
        let idle = std::mem::take(&mut *self.idle.lock());
        drop(idle);
    }

    async fn connection(&self) -> Result<AsyncSmtpConnection, Error> {
        while let Some(mut connection) = self.kept() {
            // It may have been closed meanwhile, and its last mail may have been refused half-way.
            if connection.command(Rset).await.is_ok() {
                return Ok(connection);
            }
        }
        let tls = (self.security == Encryption::Implicit).then(|| self.tls.clone());
        let server = (self.host.as_str(), self.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(limits::SMTP_CONNECT), &self.hello, tls, None).await?;
        if self.security == Encryption::StartTls {
            connection.starttls(self.tls.clone(), &self.hello).await?;
        }
        if let Some(login) = &self.login {
            connection.auth(DEFAULT_MECHANISMS, login).await?;
        }
        Ok(connection)
    }

    fn kept(&self) -> Option<AsyncSmtpConnection> {
        let mut idle = self.idle.lock();
        idle.retain(|(_, since)| since.elapsed() < IDLE);
        idle.pop().map(|(connection, _)| connection)
    }

    fn keep(&self, connection: AsyncSmtpConnection) {
        let mut idle = self.idle.lock();
        if idle.len() < self.connections {
            idle.push((connection, Instant::now()));
        }
    }
}

async fn hand_over(connection: &mut AsyncSmtpConnection, mail: &Message) -> Result<Response, Failure> {
    let envelope = mail.envelope();
    let from = Mail::new(envelope.from().cloned(), Vec::new());
    connection.command(from).await.map_err(Failure::Beforehand)?;
    for recipient in envelope.to() {
        let recipient = Rcpt::new(recipient.clone(), Vec::new());
        connection.command(recipient).await.map_err(Failure::OfThisMail)?;
    }
    connection.command(Data).await.map_err(Failure::OfThisMail)?;
    connection.message(&mail.formatted()).await.map_err(Failure::OfThisMail)
}

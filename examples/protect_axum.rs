//! An axum service that only keys with the scope `invoices:read` get into: `protect_axum KEY_FILE`.
//!
//! KEY_FILE holds the service's own key, which needs the right `claviger:verify`. Then:
//! `curl -H "authorization: Bearer $secret" http://127.0.0.1:8080/invoices`

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, Extension};
use axum::{Router, routing::get};
use claviger::client::{Identity, Options, RequireKeyLayer, Verifier};
use tonic::transport::Endpoint;

async fn invoices(Extension(identity): Extension<Arc<Identity>>) -> String {
    format!("the invoices of {}\n", identity.tenant)
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let key_file = std::env::args().nth(1).ok_or("usage: protect_axum KEY_FILE")?;
    let channel = Endpoint::from_static("http://127.0.0.1:50051").connect_lazy();
    let verifier = Verifier::new(channel, std::fs::read_to_string(key_file)?.trim_end(), &Options::default())?;

    let protect = RequireKeyLayer::new(verifier, ["invoices:read"])
        .client_ip(|extensions| Some(extensions.get::<ConnectInfo<SocketAddr>>()?.0.ip()));
    let app = Router::new().route("/invoices", get(invoices)).layer(protect);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:8080").await?;
    axum::serve(listener, app.into_make_service_with_connect_info::<SocketAddr>()).await?;
    Ok(())
}

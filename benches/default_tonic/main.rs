//! The yardstick: an empty handler as everybody writes one, on tonic as it comes — `#[tokio::main]`, the system's allocator,
//! cargo's own release profile (`--profile plain`). Prints where it listens, and serves until it is killed.

#![allow(unreachable_pub, reason = "a program has no outside")]

use tokio::net::TcpListener;
use tokio_stream::wrappers::{ReceiverStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status, Streaming};

use claviger::proto::v1::verification_service_server::{VerificationService, VerificationServiceServer};
use claviger::proto::v1::{
    BatchVerifyRequest, BatchVerifyResponse, VerifyRequest, VerifyResponse, VerifyStreamRequest, VerifyStreamResponse,
    WatchRevocationsRequest, WatchRevocationsResponse,
};

#[path = "../claviger/answer.rs"]
mod answer;

struct Empty;

#[tonic::async_trait]
impl VerificationService for Empty {
    async fn verify(&self, _request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        Ok(Response::new(answer::constant()))
    }

    async fn batch_verify(
        &self,
        _request: Request<BatchVerifyRequest>,
    ) -> Result<Response<BatchVerifyResponse>, Status> {
        Err(Status::unimplemented("only Verify is measured"))
    }

    type VerifyStreamStream = ReceiverStream<Result<VerifyStreamResponse, Status>>;

    async fn verify_stream(
        &self,
        _request: Request<Streaming<VerifyStreamRequest>>,
    ) -> Result<Response<Self::VerifyStreamStream>, Status> {
        Err(Status::unimplemented("only Verify is measured"))
    }

    type WatchRevocationsStream = ReceiverStream<Result<WatchRevocationsResponse, Status>>;

    async fn watch_revocations(
        &self,
        _request: Request<WatchRevocationsRequest>,
    ) -> Result<Response<Self::WatchRevocationsStream>, Status> {
        Err(Status::unimplemented("only Verify is measured"))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    // A listener of one's own loses tonic's default of TCP_NODELAY; what everybody writes has it.
    let connections = TcpListenerStream::new(listener);
    let connections = tokio_stream::StreamExt::map(connections, |connection| {
        connection.and_then(|connection| connection.set_nodelay(true).map(|()| connection))
    });
    let service = VerificationServiceServer::new(Empty);
    Server::builder().add_service(service).serve_with_incoming(connections).await?;
    Ok(())
}

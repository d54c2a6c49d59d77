//! An empty handler on the service's own kind of server: the same connections, layers, counters and check of the caller;
//! then a constant.

use std::sync::Arc;

use futures_util::FutureExt;
use hyper::body::{Bytes, Incoming};
use prost::Message;
use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::Status;
use tonic::body::Body;
use tonic::service::Routes;

use claviger::app;
use claviger::authority::Authority;
use claviger::clock::Clock;
use claviger::config::Settings;
use claviger::data_folder::{DataFolder, read_peppers};
use claviger::grpc::{
    caller::{Gate, Opening},
    fast_lane::{CHECK, FastLane, framed},
    layers::Services,
    server,
};
use claviger::metrics::Metrics;
use claviger::proto::envoy::service::auth::v3::CheckRequest;
use claviger::proto::v1::{BatchVerifyRequest, VerifyRequest};
use claviger::store::Store;
use claviger::verify::{
    Verifier, mirror::Mirror, recogniser::Recogniser, refresh::Refresher, rehash::RehashQueue, tally::Tally,
    usage::Usage, verdict::Verdict,
};

use crate::Outcome;
use crate::answer;
use crate::decision;
use crate::service;

#[derive(Clone)]
struct Empty {
    gate: Gate,
    tally: Arc<Tally>,
}

impl FastLane for Empty {
    fn announce(&self, _message: &[u8]) {}

    async fn verify_stream(&self, _request: http::Request<Incoming>) -> http::Response<Body> {
        Status::unimplemented("nobody asks for it").into_http()
    }

    async fn verify(&self, opening: Opening<'_>, _request: &VerifyRequest) -> Result<Bytes, Status> {
        self.gate.admit_verification(opening, "claviger.v1.VerificationService/Verify").await?;
        self.tally.count(&Ok(Verdict::Valid));
        let answer = answer::constant();
        Ok(framed(answer.encoded_len(), |bytes| answer.encode_raw(bytes)))
    }

    async fn check(&self, opening: Opening<'_>, _request: &CheckRequest) -> Result<Bytes, Status> {
        self.gate.admit_verification(opening, CHECK).await?;
        self.tally.count(&Ok(Verdict::Valid));
        let decision = decision::decision();
        Ok(framed(decision.encoded_len(), |bytes| decision.encode_raw(bytes)))
    }

    async fn batch_verify(&self, _opening: Opening<'_>, _request: &BatchVerifyRequest) -> Result<Bytes, Status> {
        Err(Status::unimplemented("only Verify and Check are measured"))
    }
}

/// Prints where it listens, and serves until it is killed.
pub async fn serve() -> Outcome<()> {
    let (settings, _telemetry) = service::begin()?;
    let gate = gate(&settings).await?;
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    println!("listening on {}", listener.local_addr()?);
    let empty = Empty { gate, tally: Arc::default() };
    let services = Services::new(Routes::default(), empty, Arc::default());
    server::serve(listener, services, None, CancellationToken::new()).await;
    Ok(())
}

/// As `app` puts it together.
async fn gate(settings: &Settings) -> Outcome<Gate> {
    let folder = DataFolder::open(&settings.data, settings.database.is_none())?;
    let store = Store::connect(&app::target(settings, &folder), "claviger-bench").await?;
    let peppers = Arc::new(read_peppers(&folder.pepper_file())?);
    let (clock, mirror) = (Clock::system(), Arc::new(Mirror::new(Arc::clone(&peppers))));
    let end_again = Box::new(|_| async { Ok(0) }.boxed());
    let (feed, metrics, never) = (store.feed(), Arc::new(Metrics::new()?), CancellationToken::new());
    let mut refresher = Refresher::start(Arc::clone(&mirror), feed, clock.clone(), metrics, end_again, never);
    while refresher.position().is_none() {
        refresher.looked().await;
    }
    let rehash = Arc::new(RehashQueue::new(Arc::clone(&peppers), &store.pepper_registrations().await?));
    let usage = Arc::new(Usage::new(store.clone(), clock.clone()));
    let recogniser = Recogniser::new(&claviger::random::bytes()?);
    let bound = settings.staleness_bound;
    let verifier =
        Verifier::new(mirror, refresher, Arc::clone(&peppers), rehash, usage, clock.clone(), bound, recogniser);
    let own = claviger::replicas::name_this_process()?;
    let authority = Authority::new(store, peppers, None, clock.clone(), TaskTracker::new(), own);
    Ok(Gate::new(Arc::new(verifier), authority, clock))
}

//! What a generator is asked to do, and what it answers. Driver and generator are two processes; this travels between them.

use std::net::SocketAddr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What to send.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Load {
    /// Where to.
    pub address: SocketAddr,
    /// The server's process, whose CPU time is read at both ends of the measurement.
    pub server: u32,
    /// The secret of the caller, checked by the server in every call.
    pub caller: String,
    /// What each call is.
    pub shape: Shape,
    /// Calls that the same generator makes beside those, of which only the errors are told. Two generators would have to
    /// share a core, and each would wait for the other's slices of time.
    pub beside: Option<Shape>,
    /// Keys that the server has.
    pub keys: u64,
    /// Time before the measurement.
    pub warm_up: Duration,
    /// The measurement.
    pub duration: Duration,
}

/// The shape of a load.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shape {
    /// Which RPC.
    pub method: Method,
    /// Connections.
    pub connections: usize,
    /// Calls, or messages of a stream, that wait for an answer on each connection.
    pub in_flight: usize,
    /// Which secrets are asked about.
    pub secrets: Secrets,
    /// Calls a second, sent on time whatever the answers do; `None` = each answer makes room for the next call.
    pub rate: Option<u32>,
}

/// The RPC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Method {
    /// Verify.
    Verify,
    /// BatchVerify of 100.
    BatchVerify,
    /// VerifyStream, one stream on each connection.
    VerifyStream,
    /// Envoy's Check.
    Check,
}

/// Which secrets are asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Secrets {
    /// Up to 200,000 keys spread over all, drawn at random.
    Random,
    /// One.
    Hot,
    /// Well-formed, and nobody's.
    Unknown,
    /// Of the wrong check characters.
    Malformed,
}

impl Method {
    /// Questions in one call.
    pub fn questions(self) -> u64 {
        match self {
            Self::Verify | Self::VerifyStream | Self::Check => 1,
            Self::BatchVerify => 100,
        }
    }

    /// The path of the RPC.
    pub fn path(self) -> &'static str {
        match self {
            Self::Verify => "/claviger.v1.VerificationService/Verify",
            Self::BatchVerify => "/claviger.v1.VerificationService/BatchVerify",
            Self::VerifyStream => "/claviger.v1.VerificationService/VerifyStream",
            Self::Check => "/envoy.service.auth.v3.Authorization/Check",
        }
    }
}

/// What one run of a generator found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Measurement {
    /// Length of the measurement.
    pub seconds: f64,
    /// Good answers: right verdict, right length, status 0.
    pub calls: u64,
    /// Questions that were answered.
    pub verifies: u64,
    /// All other answers.
    pub errors: u64,
    /// The first of those, in words.
    pub first_error: Option<String>,
    /// Bytes of one answer with its gRPC prefix, on average.
    pub answer_bytes: f64,
    /// Latencies in microseconds. At a fixed rate they count from when the call was due.
    pub p50: f64,
    /// The same.
    pub p99: f64,
    /// The same.
    pub longest: f64,
    /// CPU time of the server in seconds.
    pub server_cpu: f64,
    /// CPU time of the generator in seconds.
    pub generator_cpu: f64,
    /// CPU time of everything else in seconds.
    pub other_cpu: f64,
}

impl Measurement {
    /// Calls a second.
    pub fn call_rate(&self) -> f64 {
        self.calls as f64 / self.seconds
    }

    /// Verifies a second.
    pub fn verify_rate(&self) -> f64 {
        self.verifies as f64 / self.seconds
    }

    /// Microseconds of the server's CPU for one verify.
    pub fn server_cpu_per_verify(&self) -> f64 {
        self.server_cpu * 1e6 / self.verifies.max(1) as f64
    }

    /// Cores that somebody else used.
    pub fn other_load(&self) -> f64 {
        self.other_cpu / self.seconds
    }
}

//! A real Envoy with the configuration of `examples/envoy`, on ports of its own; and curl, which asks it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use tempfile::TempDir;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use super::{engine::tool, http, process::run};

const EXAMPLE: &str = "examples/envoy/envoy.yaml";
const START: Duration = Duration::from_secs(60);
const LONGEST: Duration = Duration::from_secs(60);
const ADMIN: &str = "admin: { address: { socket_address: { address: 127.0.0.1, port_value: 0 } } }";

/// A running Envoy; killed when dropped.
pub struct Envoy {
    _child: Child,
    folder: TempDir,
    curl: PathBuf,
    /// The sample backend, guarded.
    pub guarded: SocketAddr,
    /// Claviger itself as REST.
    pub rest: SocketAddr,
    /// Requests to the guarded port.
    asked: AtomicUsize,
}

impl Envoy {
    /// Starts it before this service. It calls with `key`. `None` when a tool isn't there.
    pub async fn start(claviger: SocketAddr, key: &str) -> Option<Self> {
        Self::start_with(claviger, key, &[]).await
    }

    /// The same with texts of the configuration replaced.
    pub async fn start_with(claviger: SocketAddr, key: &str, edits: &[(&str, &str)]) -> Option<Self> {
        let (program, curl) = (tool("envoy")?, tool("curl")?);
        let folder = tempfile::tempdir().expect("a temporary folder");
        let at = folder.path();
        std::fs::write(at.join("claviger.binpb"), claviger::proto::DESCRIPTORS).expect("written");
        std::fs::write(at.join("envoy.yaml"), configuration(at, claviger, edits)).expect("written");
        let log = |name: &str| Stdio::from(std::fs::File::create(at.join(name)).expect("a file"));
        let mut command = Command::new(program);
        command.args(["-c", "envoy.yaml", "--config-yaml", ADMIN, "--admin-address-path", "admin"]);
        command
            .args(["--disable-hot-restart", "--concurrency", "1", "-l", "warning", "--file-flush-interval-msec", "20"])
            .current_dir(at);
        command.env_clear().env("CLAVIGER_ENVOY_KEY", key).kill_on_drop(true);
        let child = command.stdin(Stdio::null()).stdout(log("out")).stderr(log("err")).spawn().expect("it starts");
        let admin = admin(at).await;
        let listeners = http::ask(admin, "GET", "/listeners?format=json", "").await.body;
        let listeners: Value = serde_json::from_str(&unchunked(&listeners)).expect("JSON");
        let (guarded, rest) = (address(&listeners, "guarded"), address(&listeners, "rest"));
        Some(Self { _child: child, folder, curl, guarded, rest, asked: AtomicUsize::new(0) })
    }

    /// Asks for a path of the sample backend with these headers.
    pub async fn get(&self, path: &str, headers: &[&str]) -> http::Answer {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.curl(self.guarded, "GET", path, headers, None).await
    }

    /// Calls Claviger as REST.
    pub async fn call(&self, method: &str, path: &str, secret: &str, body: Option<Value>) -> (u16, Value) {
        let credential = format!("authorization: Bearer {secret}");
        let headers = [credential.as_str(), "content-type: application/json"];
        let answer = self.curl(self.rest, method, path, &headers, body.as_ref()).await;
        // What isn't JSON at all Envoy refuses by itself, in words.
        (answer.status, serde_json::from_str(&answer.body).unwrap_or(Value::String(answer.body)))
    }

    async fn curl(
        &self,
        to: SocketAddr,
        method: &str,
        path: &str,
        headers: &[&str],
        body: Option<&Value>,
    ) -> http::Answer {
        let mut command = Command::new(&self.curl);
        command.args(["-sS", "-i", "--path-as-is", "--max-time", "30", "-X", method]).arg(format!("http://{to}{path}"));
        for header in headers {
            command.args(["-H", header]);
        }
        if let Some(body) = body {
            command.args(["-d", &body.to_string()]);
        }
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let (code, out, err) = timeout(LONGEST, run(command)).await.expect("it ends");
        assert_eq!(code, Some(0), "curl {method} {path}: {err}");
        http::Answer::parse(&out)
    }

    /// The access log: a line for each request to the guarded port.
    pub async fn access_log(&self) -> Vec<Value> {
        let begun = Instant::now();
        loop {
            let text = std::fs::read_to_string(self.folder.path().join("out")).expect("a file");
            let lines: Vec<Value> = text.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
            if lines.len() == self.asked.load(Ordering::SeqCst) {
                return lines;
            }
            assert!(begun.elapsed() < LONGEST, "not every request is logged: {text}");
            sleep(Duration::from_millis(20)).await;
        }
    }
}

/// Everything as in the example but for ports: the service's, and free ones; the backend is reached by a file.
fn configuration(at: &Path, claviger: SocketAddr, edits: &[(&str, &str)]) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(EXAMPLE);
    let mut text = std::fs::read_to_string(file).expect("the example");
    let socket = |port: u16| format!("socket_address: {{ address: 127.0.0.1, port_value: {port} }}");
    let backend = format!("pipe: {{ path: {} }}", at.join("backend").display());
    let places = [(socket(8080), socket(0)), (socket(8081), socket(0)), (socket(8082), backend)];
    let service = (socket(50_051), socket(claviger.port()));
    let edits = edits.iter().map(|(from, to)| ((*from).to_owned(), (*to).to_owned()));
    for (from, to) in places.into_iter().chain([service]).chain(edits) {
        assert!(text.contains(&from), "{EXAMPLE} has no {from}");
        text = text.replace(&from, &to);
    }
    text
}

/// The address of its own port, when it serves.
async fn admin(at: &Path) -> SocketAddr {
    let begun = Instant::now();
    loop {
        let address = std::fs::read_to_string(at.join("admin")).ok().and_then(|text| text.trim().parse().ok());
        if let Some(address) = address
            && http::ask(address, "GET", "/ready", "").await.status == 200
        {
            return address;
        }
        let said = || std::fs::read_to_string(at.join("err")).unwrap_or_default();
        assert!(begun.elapsed() < START, "Envoy doesn't serve: {}", said());
        sleep(Duration::from_millis(20)).await;
    }
}

fn address(listeners: &Value, name: &str) -> SocketAddr {
    let all = listeners["listener_statuses"].as_array().expect("listeners");
    let found = all.iter().find(|listener| listener["name"] == name).expect("the listener");
    let socket = &found["local_address"]["socket_address"];
    let port = socket["port_value"].as_u64().and_then(|port| u16::try_from(port).ok()).expect("a port");
    ([127, 0, 0, 1], port).into()
}

/// The one JSON object in a body that may come in chunks.
fn unchunked(body: &str) -> String {
    let from = body.find('{').unwrap_or(0);
    let to = body.rfind('}').map_or(body.len(), |end| end + 1);
    body[from..to].to_owned()
}

//! The Envoy door: a real Envoy with the configuration of `examples/envoy`, asked by curl. What each product's header does
//! is in `products`.

mod addresses;
mod admitted;
pub mod decisions;
mod denied;
mod hostile;
mod rest;

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use claviger::proto::v1;
use serde_json::Value;
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Client, Engine, Envoy, TestApp, engine::tool, http::Answer, process::run};

/// A service with a tenant and an Envoy before it.
struct Scene {
    app: TestApp,
    envoy: Envoy,
    root: Client,
    tenant: String,
    owner: String,
}

const TENANT: &str = "tenants/acme";
const READ: [&str; 1] = ["reports:read"];

impl Scene {
    async fn set() -> Option<Self> {
        Self::set_with(&[], &[]).await
    }

    /// The same with further settings, and texts of Envoy's configuration replaced.
    async fn set_with(settings: &[(&str, &str)], edits: &[(&str, &str)]) -> Option<Self> {
        let app = TestApp::start_with(Engine::Sqlite, settings).await?;
        let mut root = app.root().await;
        let tenant = root.create_tenant("acme").await;
        let owner = root.create_service_user(&tenant, "billing").await;
        let gateway = root.create_service_user("tenants/system", "envoy").await;
        let (_, key) = root.create_key(&gateway, &["claviger:verify"]).await;
        let envoy = Envoy::start_with(app.address(), &key, edits).await?;
        Some(Self { app, envoy, root, tenant, owner })
    }

    /// A key of `billing` that may read reports, as this changes it.
    async fn key(&mut self, change: impl FnOnce(&mut v1::CreateKeyRequest)) -> (v1::Key, String) {
        let scopes = READ.map(str::to_owned).into();
        let key = v1::Key { display_name: "a key".to_owned(), scopes, ..Default::default() };
        let mut request = v1::CreateKeyRequest { parent: self.owner.clone(), key: Some(key), ..Default::default() };
        change(&mut request);
        let made = self.root.keys.create_key(request).await.expect("a key").into_inner();
        (made.key.expect("a key"), made.secret)
    }

    /// Asks for a path with the secret as `x-api-key`.
    async fn get(&self, path: &str, secret: &str) -> Answer {
        self.envoy.get(path, &[&format!("x-api-key: {secret}")]).await
    }
}

/// What the backend was told.
fn told(answer: &Answer) -> Value {
    assert_eq!(answer.status, 200, "{}", answer.body);
    serde_json::from_str(&answer.body).expect("what the backend was told")
}

#[tokio::test]
async fn the_example_is_a_configuration_that_envoy_takes() {
    let Some(envoy) = tool("envoy") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("claviger.binpb"), claviger::proto::DESCRIPTORS).expect("written");
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/envoy/envoy.yaml");
    let mut command = Command::new(envoy);
    command.args(["--mode", "validate", "-c"]).arg(example).current_dir(folder.path());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let (code, out, err) = timeout(Duration::from_secs(60), run(command)).await.expect("it ends");
    assert_eq!(code, Some(0), "{out}{err}");
}

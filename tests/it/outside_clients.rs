//! Clients that we didn't write and that have no generated code: grpcurl and Python's grpcio over reflection v1alpha, buf
//! over reflection v1.

use std::process::Stdio;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{
    Engine, Place, Process,
    engine::tool,
    process::{root_secret, run},
};

const LONGEST: Duration = Duration::from_secs(60);
const SERVICES: [&str; 12] = [
    "claviger.v1.AuditService",
    "claviger.v1.KeyGroupService",
    "claviger.v1.KeyService",
    "claviger.v1.NotificationService",
    "claviger.v1.ServiceUserService",
    "claviger.v1.TenantService",
    "claviger.v1.UserGroupService",
    "claviger.v1.VerificationService",
    "envoy.service.auth.v3.Authorization",
    "grpc.health.v1.Health",
    "grpc.reflection.v1.ServerReflection",
    "grpc.reflection.v1alpha.ServerReflection",
];

/// A running service and one of the tools.
struct Stranger {
    place: Place,
    service: Process,
    tool: std::path::PathBuf,
}

impl Stranger {
    /// `None`, with a loud line, when there is no such tool.
    async fn with(name: &str) -> Option<Self> {
        let tool = tool(name)?;
        let place = Engine::Sqlite.place().await.expect("SQLite is always there");
        let service = Process::start(&place).await;
        Some(Self { place, service, tool })
    }

    /// Runs the tool; answers exit code, standard output, standard error.
    async fn run(&self, arguments: &[&str]) -> (Option<i32>, String, String) {
        let mut command = Command::new(&self.tool);
        command.args(arguments).current_dir(self.place.folder.path());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        timeout(LONGEST, run(command)).await.expect("it ends")
    }

    fn address(&self) -> String {
        self.service.address.to_string()
    }

    fn header(&self) -> String {
        format!("authorization: Bearer {}", root_secret(self.place.folder.path()))
    }

    /// A call with grpcurl and the root key.
    async fn grpcurl(&self, method: &str, request: &str) -> (Option<i32>, String, String) {
        self.run(&["-plaintext", "-H", &self.header(), "-d", request, &self.address(), method]).await
    }
}

#[tokio::test]
async fn grpcurl_lists_every_service() {
    let Some(stranger) = Stranger::with("grpcurl").await else { return };
    let (code, out, err) = stranger.run(&["-plaintext", &stranger.address(), "list"]).await;
    assert_eq!(code, Some(0), "{err}");
    assert_eq!(out.lines().collect::<Vec<_>>(), SERVICES);
}

#[tokio::test]
async fn grpcurl_describes_every_service_and_message() {
    let Some(stranger) = Stranger::with("grpcurl").await else { return };
    for service in SERVICES {
        let (code, out, err) = stranger.run(&["-plaintext", &stranger.address(), "describe", service]).await;
        assert_eq!(code, Some(0), "{service}: {err}");
        assert!(out.starts_with(&format!("{service} is a service:")), "{out}");
        let types = out.lines().filter_map(|line| line.trim().strip_prefix("rpc "));
        let types = types.flat_map(|line| line.split(['(', ')']).map(str::trim).filter(|part| part.starts_with('.')));
        for message in types {
            let (code, _, err) = stranger.run(&["-plaintext", &stranger.address(), "describe", &message[1..]]).await;
            assert_eq!(code, Some(0), "{message}: {err}");
        }
    }
}

#[tokio::test]
async fn grpcurl_asks_for_health_without_a_key() {
    let Some(stranger) = Stranger::with("grpcurl").await else { return };
    for service in ["", "claviger.v1.VerificationService", "claviger.v1.KeyService", "claviger.v1.AuditService"] {
        let request = format!("{{\"service\": \"{service}\"}}");
        let address = stranger.address();
        let arguments = ["-plaintext", "-d", &request, &address, "grpc.health.v1.Health/Check"];
        let (code, out, err) = stranger.run(&arguments).await;
        assert_eq!(code, Some(0), "{service}: {err}");
        assert!(out.contains("\"SERVING\""), "{service}: {out}");
    }
}

#[tokio::test]
async fn grpcurl_prints_a_quota_failure_in_clear_text() {
    let Some(stranger) = Stranger::with("grpcurl").await else { return };
    let tenant = r#"{"tenant_id": "acme", "tenant": {"display_name": "Acme"}}"#;
    assert_eq!(stranger.grpcurl("claviger.v1.TenantService/CreateTenant", tenant).await.0, Some(0));
    let owner =
        r#"{"parent": "tenants/acme", "service_user_id": "billing", "service_user": {"display_name": "Billing"}}"#;
    assert_eq!(stranger.grpcurl("claviger.v1.ServiceUserService/CreateServiceUser", owner).await.0, Some(0));
    let key = r#"{"parent": "tenants/acme/serviceUsers/billing", "key": {"display_name": "a key"}}"#;
    for number in 1..=10 {
        let (code, _, err) = stranger.grpcurl("claviger.v1.KeyService/CreateKey", key).await;
        assert_eq!(code, Some(0), "key {number}: {err}");
    }
    let (code, out, err) = stranger.grpcurl("claviger.v1.KeyService/CreateKey", key).await;
    assert_ne!(code, Some(0), "{out}");
    for part in
        ["ResourceExhausted", "google.rpc.QuotaFailure", "tenants/acme/serviceUsers/billing", "KEY_LIMIT_REACHED"]
    {
        assert!(err.contains(part), "no {part} in {err}");
    }
    assert!(!err.contains("@value"), "a detail came in bytes: {err}");
}

#[tokio::test]
async fn grpcurl_prints_every_bad_field_in_clear_text() {
    let Some(stranger) = Stranger::with("grpcurl").await else { return };
    let request = r#"{"parent": "nonsense", "key": {"display_name": "", "scopes": ["A B"]}}"#;
    let (code, out, err) = stranger.grpcurl("claviger.v1.KeyService/CreateKey", request).await;
    assert_ne!(code, Some(0), "{out}");
    for part in [
        "InvalidArgument",
        "google.rpc.BadRequest",
        "\"parent\"",
        "\"key.display_name\"",
        "\"key.scopes[0]\"",
        "google.rpc.ErrorInfo",
        "FIELD_INVALID",
    ] {
        assert!(err.contains(part), "no {part} in {err}");
    }
}

#[tokio::test]
async fn grpcurl_without_a_key_is_told_how_to_present_one() {
    let Some(stranger) = Stranger::with("grpcurl").await else { return };
    let (_, _, err) = stranger.run(&["-plaintext", &stranger.address(), "claviger.v1.TenantService/ListTenants"]).await;
    for part in ["Unauthenticated", "authorization: Bearer cvg_", "google.rpc.ErrorInfo", "CALLER_MISSING"] {
        assert!(err.contains(part), "no {part} in {err}");
    }
}

#[tokio::test]
async fn python_by_reflection_creates_verifies_revokes_and_reads_rich_errors() {
    let Some(stranger) = Stranger::with("python3").await else { return };
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/it/outside_client.py");
    let (code, out, err) = stranger.run(&[script, &stranger.address(), "root.key"]).await;
    assert_eq!(code, Some(0), "{err}");
    let expected = [
        "owner tenants/acme/serviceUsers/billing",
        "created VERDICT_VALID",
        "revoked VERDICT_REVOKED",
        "limit RESOURCE_EXHAUSTED KEY_LIMIT_REACHED tenants/acme/serviceUsers/billing",
        "invalid INVALID_ARGUMENT FIELD_INVALID key.display_name,parent",
        "stranger UNAUTHENTICATED CALLER_INVALID claviger",
    ];
    assert_eq!(out.lines().collect::<Vec<_>>(), expected);
}

#[tokio::test]
async fn buf_curl_verifies_by_reflection_v1() {
    let Some(stranger) = Stranger::with("buf").await else { return };
    let (header, secret) = (stranger.header(), root_secret(stranger.place.folder.path()));
    let request = format!("{{\"secret\": \"{secret}\"}}");
    let url = format!("http://{}/claviger.v1.VerificationService/Verify", stranger.address());
    let protocol =
        ["curl", "--http2-prior-knowledge", "--protocol", "grpc", "--reflect", "--reflect-protocol", "grpc-v1"];
    let (code, out, err) = stranger.run(&[&protocol[..], &["-H", &header, "-d", &request, &url]].concat()).await;
    assert_eq!(code, Some(0), "{err}");
    let answer: serde_json::Value = serde_json::from_str(&out).expect("JSON");
    assert_eq!(answer["verdict"], "VERDICT_VALID", "{out}");
    assert_eq!(answer["tenant"], "tenants/system", "{out}");
}

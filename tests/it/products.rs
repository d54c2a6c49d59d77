//! What the documents of five products promise of their key systems (`reference/peers.md`, section 3), line by line,
//! through grpcurl, and curl through Envoy: clients that we didn't write. One file for each product, one test for each
//! line, named after it.

mod blancco;
mod blnk;
mod bloxone;
mod blubracket;
mod ivanti;

use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use claviger::clock::Clock;
use serde_json::{Value, json};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{Engine, Envoy, TestApp, app::start_of_time, engine::tool, process::run};

const LONGEST: Duration = Duration::from_secs(60);
const DAY: i64 = 86_400;

/// A service whose clock the test sets, with the service user `billing` of tenant `acme`; and grpcurl.
struct Shop {
    app: TestApp,
    grpcurl: PathBuf,
}

/// Why a call was refused: code and reason.
#[derive(Debug, PartialEq, Eq)]
struct Refused {
    code: String,
    reason: String,
    /// Everything that was printed.
    text: String,
}

type Answer = Result<Value, Refused>;

const TENANT: &str = "tenants/acme";
const OWNER: &str = "tenants/acme/serviceUsers/billing";

impl Shop {
    async fn open() -> Option<Self> {
        let grpcurl = tool("grpcurl")?;
        let place = Engine::Sqlite.place().await?;
        let mails = format!("file:{}", place.folder.path().join("mails").display());
        let mail = [("CLAVIGER_SMTP_URL", mails.as_str()), ("CLAVIGER_MAIL_FROM", "keys@example.com")];
        let shop = Self { app: TestApp::start_at_with(place, Clock::manual(start_of_time()), &mail).await, grpcurl };
        shop.make_owner("acme", "billing").await;
        Some(shop)
    }

    /// A tenant and a service user of it; answers the service user's name.
    async fn make_owner(&self, tenant: &str, service_user: &str) -> String {
        let made = json!({"tenant_id": tenant, "tenant": {"display_name": tenant}});
        self.root("TenantService/CreateTenant", made).await.expect("a tenant");
        self.make_service_user(&format!("tenants/{tenant}"), service_user).await
    }

    async fn make_service_user(&self, tenant: &str, id: &str) -> String {
        let made = json!({"parent": tenant, "service_user_id": id, "service_user": {"display_name": id}});
        let made = self.root("ServiceUserService/CreateServiceUser", made).await.expect("a service user");
        text(&made["serviceUser"]["name"]).to_owned()
    }

    /// A call with the root key.
    async fn root(&self, method: &str, request: Value) -> Answer {
        self.call(&self.app.root_secret, method, request).await
    }

    /// A call with this secret.
    async fn call(&self, secret: &str, method: &str, request: Value) -> Answer {
        let mut command = Command::new(&self.grpcurl);
        let header = format!("authorization: Bearer {secret}");
        command.args(["-plaintext", "-format-error", "-H", &header, "-d", &request.to_string()]);
        command.arg(self.app.address().to_string()).arg(format!("claviger.v1.{method}"));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let (code, out, err) = timeout(LONGEST, run(command)).await.expect("it ends");
        if code == Some(0) {
            return Ok(serde_json::from_str(&out).expect("JSON"));
        }
        let status: Value = serde_json::from_str(&err).unwrap_or_else(|_| panic!("{method} {request}: {err}"));
        let reasons = status["details"].as_array().into_iter().flatten().filter_map(|detail| detail["reason"].as_str());
        let (code, reason) = (status["code"].to_string(), reasons.map(str::to_owned).collect());
        Err(Refused { code, reason, text: err })
    }

    /// An Envoy before the service, for curl. `None` when a tool isn't there.
    async fn envoy(&self) -> Option<Envoy> {
        let gateway = self.make_service_user("tenants/system", "envoy").await;
        let key = json!({"display_name": "Envoy", "scopes": ["claviger:verify"]});
        let made = self.root("KeyService/CreateKey", json!({"parent": gateway, "key": key})).await.expect("a key");
        Envoy::start(self.app.address(), text(&made["secret"])).await
    }

    /// Makes a key of `billing`; answers record and secret.
    async fn create(&self, key: Value) -> (Value, String) {
        let made = self.root("KeyService/CreateKey", json!({"parent": OWNER, "key": key})).await.expect("a key");
        (made["key"].clone(), text(&made["secret"]).to_owned())
    }

    /// Calls an RPC of KeyService that takes nothing but a name.
    async fn act(&self, method: &str, key: &Value) -> Answer {
        self.root(&format!("KeyService/{method}"), json!({"name": key["name"]})).await
    }

    async fn get(&self, key: &Value) -> Value {
        self.act("GetKey", key).await.expect("a key")["key"].clone()
    }

    async fn list(&self, secret: &str, parent: &str) -> Result<Vec<Value>, Refused> {
        let listed = self.call(secret, "KeyService/ListKeys", json!({"parent": parent})).await?;
        Ok(listed["keys"].as_array().cloned().unwrap_or_default())
    }

    async fn verify(&self, question: Value) -> Value {
        self.root("VerificationService/Verify", question).await.expect("a verdict")
    }

    async fn verdict(&self, secret: &str) -> String {
        verdict(&self.verify(json!({"secret": secret})).await)
    }

    /// An instant so many seconds from now, as JSON has it.
    fn after(&self, seconds: i64) -> String {
        (self.app.clock.now() + chrono::TimeDelta::seconds(seconds))
            .to_rfc3339_opts(chrono::SecondsFormat::Micros, true)
    }

    fn advance(&self, seconds: i64) {
        self.app.advance(chrono::TimeDelta::seconds(seconds));
    }

    /// What happens at the hour: warnings are made and sent. Answers how many were planned.
    async fn warn(&self) -> i64 {
        let ran = self.root("NotificationService/RunWarnings", json!({"tenant": TENANT})).await.expect("a run");
        ran["planned"].as_i64().unwrap_or(0)
    }

    /// Days left, as the readable feed tells, the last one first.
    async fn told(&self) -> Vec<i64> {
        let list = json!({"parent": TENANT, "page_size": 100});
        let listed = self.root("NotificationService/ListNotifications", list).await.expect("notifications");
        let all = listed["notifications"].as_array().cloned().unwrap_or_default();
        let warnings = all.iter().filter(|told| told["kind"] == "NOTIFICATION_KIND_KEY_EXPIRING");
        warnings.map(|told| told["daysLeft"].as_i64().unwrap_or(0)).collect()
    }
}

/// A header admits the bearer of a secret, and not of what is no secret; answers what the backend was told.
async fn admits(envoy: &Envoy, header: &str, secret: &str) -> Value {
    let refused = envoy.get("/", &[&format!("{header}{}", secret.replace("cvg_", "cvg-"))]).await;
    assert_eq!(refused.status, 401);
    let admitted = envoy.get("/", &[&format!("{header}{secret}")]).await;
    assert_eq!(admitted.status, 200, "{}", admitted.body);
    serde_json::from_str(&admitted.body).expect("what the backend was told")
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("a text, not {value}"))
}

fn verdict(answer: &Value) -> String {
    text(&answer["verdict"]).strip_prefix("VERDICT_").expect("a verdict").to_owned()
}

fn refused(answer: Answer) -> String {
    answer.expect_err("refused").reason
}

fn named(name: &str) -> Value {
    json!({"display_name": name})
}

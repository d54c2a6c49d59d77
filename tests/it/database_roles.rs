//! The README's two roles: one brings the schema up to date, the other serves and can't touch it.

use std::time::Duration;

use claviger::proto::v1::{RevokeKeyRequest, Verdict};
use sea_orm::{ConnectionTrait, Database};
use tokio::process::Command;
use tokio::time::timeout;

use crate::harness::{
    Cluster, Engine, Place, Process,
    process::{command, root_secret, run},
};
use crate::readme::only_block;
use crate::rig::eventually;

const LONGEST: Duration = Duration::from_secs(60);

/// The binary as this role, whose password is in a file.
fn as_role(place: &Place, role: &str, password: &str, port: u16) -> Command {
    let file = place.folder.path().with_extension(role);
    std::fs::write(&file, format!("{password}\n")).expect("written");
    let mut command = command(place);
    command.env("CLAVIGER_DATABASE_URL", format!("postgres://{role}@127.0.0.1:{port}/claviger"));
    command.env("CLAVIGER_DATABASE_PASSWORD_FILE", file);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn the_readmes_roles_migrate_and_serve_and_no_more() {
    let rules = "host all all 127.0.0.1/32 scram-sha-256";
    let Some(cluster) = Cluster::start(rules, &[], |_| {}).await else { return };
    cluster.psql("postgres", &only_block("Database roles", "sql"));
    let place = Engine::Sqlite.place().await.expect("a folder");
    let serve = |password| as_role(&place, "claviger_serve", password, cluster.port);

    let (code, _, err) = timeout(LONGEST, run(serve("replace-me-2"))).await.expect("it ends");
    assert!(code == Some(1) && err.contains("`claviger migrate` with the role"), "without a schema: {code:?} {err}");
    let (code, _, err) = timeout(LONGEST, run(serve("replace-me-3"))).await.expect("it ends");
    assert!(code == Some(1) && err.contains("password authentication failed"), "{code:?} {err}");
    assert!(!err.contains("replace-me"), "{err}");

    let mut migrate = as_role(&place, "claviger_owner", "replace-me-1", cluster.port);
    migrate.arg("migrate");
    let (code, out, err) = timeout(LONGEST, run(migrate)).await.expect("it ends");
    assert!(code == Some(0) && out.contains("migration(s) applied"), "{code:?} {out} {err}");

    let service = Process::start_command(serve("replace-me-2")).await;
    let mut root = service.caller(Some(&root_secret(place.folder.path()))).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (key, secret) = root.create_key(&owner, &[]).await;
    assert_eq!(root.verdict(&secret).await, Verdict::Valid);
    root.keys.revoke_key(RevokeKeyRequest { name: key.name, ..Default::default() }).await.expect("revoked");
    eventually(LONGEST, "revoked", async || root.verdict(&secret).await == Verdict::Revoked).await;
    assert_eq!(service.terminate().await, Some(0));

    let url = format!("postgres://claviger_serve:replace-me-2@127.0.0.1:{}/claviger", cluster.port);
    let role = Database::connect(url).await.expect("the role may log in");
    for forbidden in
        ["CREATE TABLE loot (x int)", "DROP TABLE api_key", "ALTER TABLE api_key ADD x int", "TRUNCATE api_key"]
    {
        let refused = role.execute_unprepared(forbidden).await.expect_err(forbidden).to_string();
        assert!(refused.contains("permission denied") || refused.contains("must be owner"), "{forbidden}: {refused}");
    }
    role.close().await.expect("closed");
}

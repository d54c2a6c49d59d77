//! A real pgbouncer between the service and PostgreSQL: session pooling works, transaction pooling is refused.

use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use claviger::proto::v1::Verdict;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::process::{Child, Command};
use tokio::time::{sleep, timeout};

use crate::harness::{
    Engine, Place, Process,
    engine::tool,
    process::{command, run},
};

const LONGEST: Duration = Duration::from_secs(60);

/// A running pgbouncer in front of a place's database; killed when dropped.
struct Pooler {
    _child: Child,
    _folder: TempDir,
}

impl Pooler {
    /// A place whose URL leads through a pooler. `None`, with a loud line, when either isn't there.
    async fn start(pool_mode: &str) -> Option<(Self, Place)> {
        let program = tool("pgbouncer")?;
        let mut place = Engine::Postgres.place().await?;
        let url = place.database_url.take().expect("a URL");
        let (user, server) = url.trim_start_matches("postgres://").split_once('@').expect("a user");
        let (address, database) = server.split_once('/').expect("a database");
        let (host, port) = address.split_once(':').expect("a port");
        let free = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        let own_port = free.local_addr().expect("an address").port();
        drop(free);
        let folder = tempfile::tempdir().expect("a folder");
        let settings = format!(
            "[databases]\n{database} = host={host} port={port} user={user}\n\
             [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {own_port}\nunix_socket_dir =\n\
             auth_type = any\npool_mode = {pool_mode}\n"
        );
        let child = run_pooler(&program, folder.path(), &settings).await;
        let answers = async {
            while TcpStream::connect(("127.0.0.1", own_port)).await.is_err() {
                pause().await
            }
        };
        timeout(LONGEST, answers).await.expect("pgbouncer listens");
        place.database_url = Some(format!("postgres://{user}@127.0.0.1:{own_port}/{database}"));
        Some((Self { _child: child, _folder: folder }, place))
    }
}

async fn pause() {
    sleep(Duration::from_millis(20)).await;
}

/// pgbouncer refuses to be root; as root we let it be `postgres`, who then must be able to read its settings.
async fn run_pooler(program: &Path, folder: &Path, settings: &str) -> Child {
    let file = folder.join("pgbouncer.ini");
    std::fs::write(&file, settings).expect("written");
    let mut pooler = Command::new(program);
    if is_root().await {
        let mut chmod = Command::new("chmod");
        assert!(chmod.arg("755").arg(folder).status().await.expect("chmod runs").success());
        pooler.args(["-u", "postgres"]);
    }
    pooler.arg("-q").arg(file).stdin(Stdio::null()).stderr(Stdio::inherit()).kill_on_drop(true);
    pooler.spawn().expect("pgbouncer starts")
}

async fn is_root() -> bool {
    let answer = Command::new("id").arg("-u").output().await.expect("id runs");
    answer.stdout == b"0\n"
}

#[tokio::test]
async fn transaction_pooling_is_refused_with_the_way_out() {
    let Some((_pooler, place)) = Pooler::start("transaction").await else { return };
    for subcommand in ["serve", "migrate"] {
        let mut refused = command(&place);
        refused.arg(subcommand);
        let (code, out, err) = timeout(LONGEST, run(refused)).await.expect("it ends");
        assert_eq!((code, &*out), (Some(1), ""), "{subcommand}: {err}");
        assert!(
            err.contains("pooler in transaction mode") && err.contains("pool_mode = session"),
            "{subcommand}: {err}"
        );
    }
}

#[tokio::test]
async fn session_pooling_creates_and_verifies() {
    let Some((_pooler, place)) = Pooler::start("session").await else { return };
    let service = Process::start(&place).await;
    let mut root = service.caller(Some(&crate::harness::process::root_secret(place.folder.path()))).await;
    let tenant = root.create_tenant("acme").await;
    let owner = root.create_service_user(&tenant, "billing").await;
    let (_, secret) = root.create_key(&owner, &[]).await;
    assert_eq!(root.verdict(&secret).await, Verdict::Valid);
    assert_eq!(service.terminate().await, Some(0));
}

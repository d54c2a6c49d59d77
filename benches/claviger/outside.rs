//! The measure from outside: h2load, of nghttp2, against nginx with a body of the same size, and against Verify.

use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::Duration;

use prost::Message;
use tempfile::TempDir;

use claviger::proto::v1::VerifyRequest;

use crate::Outcome;
use crate::answer;
use crate::comparisons::Size;
use crate::generator::messages::{PREFIX, with_prefix};
use crate::load::Method;
use crate::machine;
use crate::postgres::{is_root, run};
use crate::report::{Bar, Report, Row};
use crate::runner::wait_until_quiet;
use crate::secrets::{Family, Numbers, secret};
use crate::server::{Cores, Server, beside, bound};
use crate::site::Site;
use crate::statistics::{Spread, shuffled};
use crate::world::World;

/// Where Debian keeps nginx; not everybody's PATH has it.
const NGINX: &str = "/usr/sbin/nginx";
/// What a run sends in a full second of nginx, about.
const REQUESTS_A_SECOND: f64 = 100_000.0;

/// Measures, the server on one core and h2load on the other.
pub async fn measure(world: &mut World, report: &mut Report) -> Outcome<()> {
    ensure_programs()?;
    let plan = world.plan;
    let site = world.site(Size::Many).await?;
    let server = Server::claviger(site, Cores::One, &[])?;
    let nginx = Nginx::start()?;
    let body = nginx.folder.path().join("body.bin");
    fs::write(&body, with_prefix(&hot_request(site)?.encode_to_vec()))?;
    let verify = [
        format!("--data={}", body.display()),
        "--header=content-type: application/grpc".to_owned(),
        "--header=te: trailers".to_owned(),
        format!("--header=authorization: Bearer {}", site.caller),
        format!("http://{}{}", server.address, Method::Verify.path()),
    ];
    let cells = [verify.to_vec(), vec![format!("http://127.0.0.1:{}/", nginx.port)]];
    let requests = (REQUESTS_A_SECOND * plan.duration.as_secs_f64()) as u64;
    let (mut ratios, mut other) = (Vec::new(), Vec::new());
    for cell in &cells {
        h2load(cell, requests)?;
    }
    for round in 0..plan.rounds {
        wait_until_quiet(plan.patience).await?;
        let mut rates = [0.0; 2];
        for index in shuffled(cells.len(), round) {
            let served_by = [server.process(), nginx.worker()?][index];
            let (rate, load) = with_other_load(served_by, || h2load(&cells[index], requests))?;
            rates[index] = rate;
            other.push(load);
        }
        eprintln!("nginx: round {} of {}: {:.0} against {:.0}/s", round + 1, plan.rounds, rates[0], rates[1]);
        ratios.push(rates[0] / rates[1]);
    }
    let spread = Spread::of(ratios).ok_or("no round")?;
    report.rows.push(Row {
        what: "Verify, one hot key / nginx, body of the same size, one core each, 4x25".to_owned(),
        unit: "×",
        spread,
        rounds: plan.rounds,
        bar: Some(Bar::AtLeast(1.0)),
        other_load: Spread::of(other).map(|other| other.median),
        errors: 0,
        by: "h2load",
    });
    Ok(())
}

/// Installs what is missing where that is possible.
fn ensure_programs() -> Outcome<()> {
    let is_there = |program: &str| Command::new(program).arg("--version").output().is_ok();
    if Path::new(NGINX).exists() && is_there("h2load") {
        return Ok(());
    }
    if !is_root() {
        return Err("nginx or h2load is missing: apt-get install nginx-light nghttp2-client".into());
    }
    eprintln!("installing nginx-light and nghttp2-client");
    run(Command::new("apt-get").args(["install", "-y", "--no-install-recommends", "nginx-light", "nghttp2-client"]))?;
    Ok(())
}

fn hot_request(site: &Site) -> Outcome<VerifyRequest> {
    Ok(VerifyRequest {
        secret: secret(Family::Seeded, site.keys / 2)?.reveal().to_owned(),
        required_scopes: vec!["invoices:read".to_owned()],
        client_ip: "203.0.113.7".to_owned(),
        ..VerifyRequest::default()
    })
}

/// Requests a second. A failed one, or one without status 2xx, is an error.
fn h2load(target: &[String], requests: u64) -> Outcome<f64> {
    let mut command = beside(Path::new("h2load"), Cores::One);
    command.args(["-c", "4", "-m", "25", "-n", &requests.to_string()]).args(target);
    let said = run(&mut command)?;
    let number = |before: &str, after: &str| {
        let (_, rest) = said.split_once(before)?;
        rest.split_once(after)?.0.trim().parse::<f64>().ok()
    };
    let good = number("status codes: ", " 2xx").unwrap_or(0.0) as u64;
    if good != requests || !said.contains(" 0 failed, 0 errored") {
        return Err(format!("h2load: not all requests were answered with 2xx:\n{said}").into());
    }
    let finished = said.lines().find(|line| line.starts_with("finished in ")).unwrap_or_default();
    let rate = finished.split(", ").nth(1).and_then(|rate| rate.strip_suffix(" req/s")?.parse().ok());
    rate.ok_or_else(|| format!("h2load's answer can't be understood:\n{said}").into())
}

/// What a run found, and the cores that neither the server nor the one full core of h2load used.
fn with_other_load(server: u32, run: impl FnOnce() -> Outcome<f64>) -> Outcome<(f64, f64)> {
    let (all, own, start) = (machine::cpu_of_all()?, machine::cpu_of(server)?, std::time::Instant::now());
    let rate = run()?;
    let seconds = start.elapsed().as_secs_f64();
    let others = machine::cpu_of_all()? - all - (machine::cpu_of(server)? - own);
    Ok((rate, (others / seconds - 1.0).max(0.0)))
}

/// A running nginx; stopped when dropped.
struct Nginx {
    master: Child,
    folder: TempDir,
    port: u16,
}

impl Nginx {
    fn start() -> Outcome<Self> {
        let folder = tempfile::Builder::new().prefix("claviger-bench-nginx.").tempdir()?;
        let mut numbers = Numbers::from_start(u64::from(std::process::id()) + 1);
        let port = 20_000 + u16::try_from(numbers.below(12_000))?;
        let file = folder.path().join("nginx.conf");
        fs::write(&file, configuration(port, answer::constant().encoded_len() + PREFIX))?;
        let mut command = bound(Path::new(NGINX), Cores::One);
        command.arg("-p").arg(folder.path()).arg("-c").arg(&file).arg("-e").arg("error.log");
        let master = command.stdin(Stdio::null()).spawn()?;
        let nginx = Self { master, folder, port };
        for _ in 0..100 {
            if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                return Ok(nginx);
            }
            sleep(Duration::from_millis(50));
        }
        Err("nginx doesn't start; it said why above".into())
    }

    /// The process that serves.
    fn worker(&self) -> Outcome<u32> {
        let master = self.master.id();
        let children = fs::read_to_string(format!("/proc/{master}/task/{master}/children"))?;
        Ok(children.split_whitespace().next().ok_or("nginx has no worker")?.parse()?)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The worker ends when its master says so: TERM, not KILL.
        if let Some(master) = i32::try_from(self.master.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(master, rustix::process::Signal::TERM);
        }
        let _ = self.master.wait();
    }
}

/// One worker without a log, that answers a constant and never ends a connection.
fn configuration(port: u16, bytes: usize) -> String {
    let body = "x".repeat(bytes);
    format!(
        "daemon off;\nworker_processes 1;\npid nginx.pid;\nevents {{ worker_connections 128; }}\n\
         http {{\n access_log off;\n keepalive_requests 100000000;\n \
         server {{ listen 127.0.0.1:{port} http2; location / {{ return 200 \"{body}\"; }} }}\n}}\n"
    )
}

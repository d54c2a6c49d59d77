//! The generator "blast": one thread, non-blocking sockets, HTTP/2 frames by hand; so cheap that the server's core is the
//! one that is full. It checks every answer: its status, its length, its verdicts.

mod connection;
mod frames;
mod headers;
mod histogram;
pub mod messages;
mod tally;

use std::process;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::Outcome;
use crate::load::{Load, Measurement};
use crate::machine;

use connection::Connection;
use messages::Messages;
use tally::Tally;

/// How long to wait at most for anything to happen.
const NAP: Duration = Duration::from_millis(20);

/// Drives the load, and measures.
pub fn run(load: &Load) -> Outcome<Measurement> {
    let mut generator = Generator::new(load)?;
    generator.run_until(load.warm_up)?;
    generator.tally.begin();
    let before = Reading::take(load.server)?;
    generator.run_until(load.warm_up + load.duration)?;
    let after = Reading::take(load.server)?;
    Ok(measurement(load, &generator.tally, &before, &after))
}

struct Generator {
    connections: Vec<Connection>,
    messages: Messages,
    tally: Tally,
    in_flight: usize,
    pace: Option<Pace>,
    start: Instant,
}

/// Calls at a fixed rate, in turn on every connection.
struct Pace {
    nanoseconds: f64,
    sent: u64,
}

impl Generator {
    fn new(load: &Load) -> Outcome<Self> {
        // First, as it takes a while: a server waits only so long for a new connection to say hello.
        let messages = Messages::new(load)?;
        let connections = (0..load.shape.connections).map(|_| Connection::open(load)).collect::<Outcome<_>>()?;
        let pace = load.shape.rate.map(|rate| Pace { nanoseconds: 1e9 / f64::from(rate), sent: 0 });
        let in_flight = load.shape.in_flight;
        Ok(Self { connections, messages, tally: Tally::new(), in_flight, pace, start: Instant::now() })
    }

    fn run_until(&mut self, end: Duration) -> Outcome<()> {
        loop {
            let now = self.start.elapsed();
            if now >= end {
                return Ok(());
            }
            self.send(nanoseconds(now));
            for connection in &mut self.connections {
                connection.flush()?;
            }
            let ready = self.wait(end - now)?;
            let start = self.start;
            for (connection, ready) in self.connections.iter_mut().zip(ready) {
                if ready {
                    connection.receive(&self.messages, &mut self.tally, || nanoseconds(start.elapsed()))?;
                }
            }
        }
    }

    fn send(&mut self, now: u64) {
        let Some(pace) = &mut self.pace else {
            for connection in &mut self.connections {
                while connection.in_flight() < self.in_flight && connection.send(&mut self.messages, now) {}
            }
            return;
        };
        loop {
            let due = pace.due();
            let turn = pace.sent as usize % self.connections.len();
            let connection = &mut self.connections[turn];
            // A call that must wait for its turn is late, and its latency says so.
            if due > now || connection.in_flight() >= self.in_flight || !connection.send(&mut self.messages, due) {
                return;
            }
            pace.sent += 1;
        }
    }

    /// Waits until an answer comes, or a call is due; answers which connections have something.
    fn wait(&self, rest: Duration) -> Outcome<Vec<bool>> {
        let mut longest = NAP.min(rest);
        if let Some(pace) = &self.pace {
            let now = nanoseconds(self.start.elapsed());
            longest = longest.min(Duration::from_nanos(pace.due().saturating_sub(now)));
        }
        let wanted = |connection: &Connection| {
            if connection.is_blocked() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
        };
        let mut sockets: Vec<_> =
            self.connections.iter().map(|each| PollFd::new(each.socket(), wanted(each))).collect();
        match poll(&mut sockets, Some(&Timespec::try_from(longest)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(sockets.iter().map(|socket| !socket.revents().difference(PollFlags::OUT).is_empty()).collect())
    }
}

impl Pace {
    fn due(&self) -> u64 {
        (self.sent as f64 * self.nanoseconds) as u64
    }
}

fn nanoseconds(span: Duration) -> u64 {
    u64::try_from(span.as_nanos()).unwrap_or(u64::MAX)
}

/// CPU times, in seconds, and when they were read.
struct Reading {
    time: Instant,
    server: f64,
    generator: f64,
    machine: f64,
}

impl Reading {
    fn take(server: u32) -> Outcome<Self> {
        let (server, generator) = (machine::cpu_of(server)?, machine::cpu_of(process::id())?);
        Ok(Self { time: Instant::now(), server, generator, machine: machine::cpu_of_all()? })
    }
}

fn measurement(load: &Load, tally: &Tally, before: &Reading, after: &Reading) -> Measurement {
    let calls = tally.latencies.count();
    let (server_cpu, generator_cpu) = (after.server - before.server, after.generator - before.generator);
    Measurement {
        seconds: (after.time - before.time).as_secs_f64(),
        calls,
        verifies: calls * load.shape.method.questions(),
        errors: tally.errors,
        first_error: tally.first_error.clone(),
        answer_bytes: tally.answer_bytes as f64 / calls.max(1) as f64,
        p50: tally.latencies.quantile(0.50),
        p99: tally.latencies.quantile(0.99),
        longest: tally.latencies.longest(),
        server_cpu,
        generator_cpu,
        other_cpu: after.machine - before.machine - server_cpu - generator_cpu,
    }
}

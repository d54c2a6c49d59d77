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
use crate::load::{Load, Measurement, Shape};
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
    generator.sides.iter_mut().for_each(|side| side.tally.begin());
    let before = Reading::take(load.server)?;
    generator.run_until(load.warm_up + load.duration)?;
    let after = Reading::take(load.server)?;
    Ok(measurement(load, &generator.sides, &before, &after))
}

struct Generator {
    /// What is measured, and what is done beside it.
    sides: Vec<Side>,
    start: Instant,
}

/// Calls of one shape.
struct Side {
    connections: Vec<Connection>,
    messages: Messages,
    tally: Tally,
    in_flight: usize,
    pace: Option<Pace>,
}

/// Calls at a fixed rate, in turn on every connection.
struct Pace {
    nanoseconds: f64,
    sent: u64,
}

impl Generator {
    fn new(load: &Load) -> Outcome<Self> {
        let shapes: Vec<Shape> = [load.shape].into_iter().chain(load.beside).collect();
        // First, as it takes a while: a server waits only so long for a new connection to say hello.
        let messages = shapes.iter().map(|shape| Messages::new(load, *shape)).collect::<Outcome<Vec<_>>>()?;
        let sides = shapes.iter().zip(messages).map(|(shape, messages)| Side::new(load, *shape, messages));
        Ok(Self { sides: sides.collect::<Outcome<_>>()?, start: Instant::now() })
    }

    fn run_until(&mut self, end: Duration) -> Outcome<()> {
        loop {
            let now = self.start.elapsed();
            if now >= end {
                return Ok(());
            }
            for side in &mut self.sides {
                side.send(nanoseconds(now));
                side.flush()?;
            }
            let mut ready = self.wait(end - now)?.into_iter();
            for side in &mut self.sides {
                side.receive(&mut ready, self.start)?;
            }
        }
    }

    /// Waits until an answer comes, or a call is due; answers which connections have something, side by side.
    fn wait(&self, rest: Duration) -> Outcome<Vec<bool>> {
        let now = nanoseconds(self.start.elapsed());
        let until_due = |pace: &Pace| Duration::from_nanos(pace.due().saturating_sub(now));
        let due = self.sides.iter().filter_map(|side| side.pace.as_ref().map(until_due)).min();
        let longest = due.unwrap_or(NAP).min(NAP).min(rest);
        let wanted = |connection: &Connection| {
            if connection.is_blocked() { PollFlags::IN | PollFlags::OUT } else { PollFlags::IN }
        };
        let connections = self.sides.iter().flat_map(|side| &side.connections);
        let mut sockets: Vec<_> = connections.map(|each| PollFd::new(each.socket(), wanted(each))).collect();
        match poll(&mut sockets, Some(&Timespec::try_from(longest)?)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(sockets.iter().map(|socket| !socket.revents().difference(PollFlags::OUT).is_empty()).collect())
    }
}

impl Side {
    fn new(load: &Load, shape: Shape, messages: Messages) -> Outcome<Self> {
        let connections = (0..shape.connections).map(|_| Connection::open(load, shape)).collect::<Outcome<_>>()?;
        let pace = shape.rate.map(|rate| Pace { nanoseconds: 1e9 / f64::from(rate), sent: 0 });
        Ok(Self { connections, messages, tally: Tally::new(), in_flight: shape.in_flight, pace })
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

    fn flush(&mut self) -> Outcome<()> {
        self.connections.iter_mut().try_for_each(Connection::flush)
    }

    /// Takes the next of `ready` for each of its connections.
    fn receive(&mut self, ready: &mut impl Iterator<Item = bool>, start: Instant) -> Outcome<()> {
        for (connection, ready) in self.connections.iter_mut().zip(ready) {
            if ready {
                connection.receive(&self.messages, &mut self.tally, || nanoseconds(start.elapsed()))?;
            }
        }
        Ok(())
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

fn measurement(load: &Load, sides: &[Side], before: &Reading, after: &Reading) -> Measurement {
    let tally = &sides[0].tally;
    let calls = tally.latencies.count();
    let (server_cpu, generator_cpu) = (after.server - before.server, after.generator - before.generator);
    Measurement {
        seconds: (after.time - before.time).as_secs_f64(),
        calls,
        verifies: calls * load.shape.method.questions(),
        errors: sides.iter().map(|side| side.tally.errors).sum(),
        first_error: sides.iter().find_map(|side| side.tally.first_error.clone()),
        answer_bytes: tally.answer_bytes as f64 / calls.max(1) as f64,
        p50: tally.latencies.quantile(0.50),
        p99: tally.latencies.quantile(0.99),
        longest: tally.latencies.longest(),
        server_cpu,
        generator_cpu,
        other_cpu: after.machine - before.machine - server_cpu - generator_cpu,
    }
}

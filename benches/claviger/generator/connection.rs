//! One connection: calls go out as far as the windows allow, answers come in and are checked.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use crate::Outcome;
use crate::load::{Load, Method, Shape};

use super::frames::{
    self, ACK, END_HEADERS, END_STREAM, FIRST_WINDOW, Frame, PAYLOAD, WINDOW, kind, put, put_header, put_window_update,
};
use super::headers;
use super::messages::{Messages, PREFIX};
use super::tally::Tally;

/// Calls whose state is kept; more than a server allows on one connection.
const PLACES: usize = 1_024;
/// Answers that are decoded in full before the short check is trusted.
const DECODED_IN_FULL: u64 = 32;
const READ_BYTES: usize = 256 << 10;

/// A connection.
pub struct Connection {
    socket: TcpStream,
    path: &'static str,
    authority: String,
    caller: String,
    streaming: bool,
    out: Vec<u8>,
    written: usize,
    inbound: Vec<u8>,
    filled: usize,
    /// What we may send: on the connection, on a new stream, on the one stream of a streaming call.
    window: i64,
    first_stream_window: i64,
    stream_window: i64,
    /// What we received since we last widened the other side's window.
    received: u32,
    next_stream: u32,
    calls: Vec<Call>,
    /// Where answers were, to be used again: one for each of all the calls would touch 24 MB with batches, memory that a virtual
    /// machine may not even have yet.
    spare: Vec<Vec<u8>>,
    /// When the messages were due that the stream hasn't answered.
    due: VecDeque<u64>,
    stream_bytes: Vec<u8>,
    in_flight: usize,
    answers: u64,
}

/// A call that waits for its answer.
#[derive(Default)]
struct Call {
    stream: u32,
    due: u64,
    answer: Vec<u8>,
    status_ok: bool,
}

impl Connection {
    /// Connects and says hello.
    pub fn open(load: &Load, shape: Shape) -> Outcome<Self> {
        let socket = TcpStream::connect(load.address)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut out = Vec::with_capacity(READ_BYTES);
        frames::put_hello(&mut out);
        Ok(Self {
            socket,
            path: shape.method.path(),
            authority: load.address.to_string(),
            caller: load.caller.clone(),
            streaming: shape.method == Method::VerifyStream,
            out,
            written: 0,
            inbound: vec![0; READ_BYTES],
            filled: 0,
            window: FIRST_WINDOW,
            first_stream_window: FIRST_WINDOW,
            stream_window: FIRST_WINDOW,
            received: 0,
            next_stream: 1,
            calls: (0..PLACES).map(|_| Call::default()).collect(),
            spare: Vec::new(),
            due: VecDeque::new(),
            stream_bytes: Vec::new(),
            in_flight: 0,
            answers: 0,
        })
    }

    /// The socket, to wait for.
    pub fn socket(&self) -> &TcpStream {
        &self.socket
    }

    /// Whether bytes wait for the socket.
    pub fn is_blocked(&self) -> bool {
        self.written < self.out.len()
    }

    /// Calls that wait for their answers.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Sends one call, or one message of the stream, that was due at `due`; `false` when a window is shut.
    pub fn send(&mut self, messages: &mut Messages, due: u64) -> bool {
        let bytes = messages.request_bytes();
        let opens_stream = !self.streaming || self.next_stream == 1;
        let stream_window = if opens_stream { self.first_stream_window } else { self.stream_window };
        let place = (self.next_stream / 2) as usize % PLACES;
        let taken = !self.streaming && self.calls[place].stream != 0;
        if self.window.min(stream_window) < bytes as i64 || bytes > PAYLOAD || taken {
            return false;
        }
        if opens_stream {
            self.open_stream();
        }
        let (flags, stream) = (if self.streaming { 0 } else { END_STREAM }, self.next_stream - 2);
        put_header(&mut self.out, kind::DATA, flags, stream, bytes);
        messages.put_next(&mut self.out);
        self.window -= bytes as i64;
        self.in_flight += 1;
        if self.streaming {
            self.stream_window -= bytes as i64;
            self.due.push_back(due);
        } else {
            let call = &mut self.calls[place];
            (call.stream, call.due, call.status_ok) = (stream, due, false);
            call.answer = self.spare.pop().unwrap_or_default();
        }
        true
    }

    fn open_stream(&mut self) {
        let stream = self.next_stream;
        self.next_stream += 2;
        if stream == 1 {
            let block = headers::first(self.path, &self.authority, &self.caller);
            put(&mut self.out, kind::HEADERS, END_HEADERS, stream, &block);
        } else {
            put(&mut self.out, kind::HEADERS, END_HEADERS, stream, &headers::LATER);
        }
    }

    /// Writes what the socket takes.
    pub fn flush(&mut self) -> Outcome<()> {
        while self.is_blocked() {
            match self.socket.write(&self.out[self.written..]) {
                Ok(0) => return Err("the server closed a connection".into()),
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.into()),
            }
        }
        self.out.clear();
        self.written = 0;
        Ok(())
    }

    /// Reads once, and takes in every whole frame. `now` is asked after the read.
    pub fn receive(&mut self, messages: &Messages, tally: &mut Tally, now: impl Fn() -> u64) -> Outcome<()> {
        match self.socket.read(&mut self.inbound[self.filled..]) {
            Ok(0) => return Err("the server closed a connection".into()),
            Ok(read) => self.filled += read,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
            Err(error) => return Err(error.into()),
        }
        let now = now();
        let inbound = std::mem::take(&mut self.inbound);
        let mut start = 0;
        while let Some((frame, length)) = Frame::first_of(&inbound[start..self.filled]) {
            self.take_in(&frame, messages, tally, now)?;
            start += length;
        }
        self.inbound = inbound;
        self.inbound.copy_within(start..self.filled, 0);
        self.filled -= start;
        Ok(())
    }

    fn take_in(&mut self, frame: &Frame<'_>, messages: &Messages, tally: &mut Tally, now: u64) -> Outcome<()> {
        match frame.kind {
            kind::DATA if self.streaming => self.take_stream_data(frame, messages, tally, now),
            kind::DATA => self.take_data(frame),
            kind::HEADERS => self.take_headers(frame, messages, tally, now)?,
            kind::SETTINGS if !frame.has(ACK) => {
                if let Some(window) = frame.initial_window() {
                    self.stream_window += window - self.first_stream_window;
                    self.first_stream_window = window;
                }
                put(&mut self.out, kind::SETTINGS, ACK, 0, &[]);
            }
            kind::PING if !frame.has(ACK) => put(&mut self.out, kind::PING, ACK, 0, frame.payload),
            kind::WINDOW_UPDATE if frame.stream == 0 => self.window += i64::from(frame.number_at(0)),
            kind::WINDOW_UPDATE if self.streaming => self.stream_window += i64::from(frame.number_at(0)),
            kind::RST_STREAM => return Err(format!("the server reset a stream: error {}", frame.number_at(0)).into()),
            kind::GOAWAY => return Err(format!("the server said GOAWAY: error {}", frame.number_at(4)).into()),
            _ => {}
        }
        Ok(())
    }

    fn take_data(&mut self, frame: &Frame<'_>) {
        self.widen(frame);
        if let Some(call) = self.call(frame.stream) {
            call.answer.extend(frame.payload);
        }
    }

    fn take_stream_data(&mut self, frame: &Frame<'_>, messages: &Messages, tally: &mut Tally, now: u64) {
        self.widen(frame);
        let mut bytes = std::mem::take(&mut self.stream_bytes);
        bytes.extend(frame.payload);
        let mut start = 0;
        while let Some(length) = whole_message(&bytes[start..]) {
            let answer = &bytes[start..start + length];
            let due = self.due.pop_front().unwrap_or(now);
            self.answered(answer, true, due, messages, tally, now);
            start += length;
        }
        bytes.drain(..start);
        self.stream_bytes = bytes;
    }

    fn take_headers(&mut self, frame: &Frame<'_>, messages: &Messages, tally: &mut Tally, now: u64) -> Outcome<()> {
        if self.streaming {
            let ended = || format!("the stream ended: {:02x?}", start_of(frame.payload));
            return if frame.has(END_STREAM) { Err(ended().into()) } else { Ok(()) };
        }
        let Some(call) = self.call(frame.stream) else { return Err("headers of a call that was not made".into()) };
        if !frame.has(END_STREAM) {
            call.status_ok = headers::are_ok(frame.payload);
            return Ok(());
        }
        let (due, status_ok) = (call.due, call.status_ok && headers::say_ok(frame.payload));
        let mut answer = std::mem::take(&mut call.answer);
        call.stream = 0;
        if !status_ok {
            tally.explain(|| format!("an answer of {} bytes, trailers {:02x?}", answer.len(), start_of(frame.payload)));
        }
        self.answered(&answer, status_ok, due, messages, tally, now);
        answer.clear();
        self.spare.push(answer);
        Ok(())
    }

    fn answered(&mut self, answer: &[u8], status_ok: bool, due: u64, messages: &Messages, tally: &mut Tally, now: u64) {
        self.in_flight -= 1;
        self.answers += 1;
        let is_right = match self.answers {
            0..=DECODED_IN_FULL => messages.is_right(answer) && messages.is_right_in_full(answer),
            _ => messages.is_right(answer),
        };
        if status_ok && is_right {
            tally.good(answer.len(), now.saturating_sub(due));
        } else {
            tally.bad();
            tally.explain(|| format!("an answer of {} bytes: {:02x?}", answer.len(), start_of(answer)));
        }
    }

    fn call(&mut self, stream: u32) -> Option<&mut Call> {
        self.calls.get_mut((stream / 2) as usize % PLACES).filter(|call| call.stream == stream)
    }

    /// Gives back what a frame took of the windows, in large pieces.
    fn widen(&mut self, frame: &Frame<'_>) {
        self.received += u32::try_from(frame.payload.len()).unwrap_or(0);
        if self.received > WINDOW / 4 {
            put_window_update(&mut self.out, 0, self.received);
            if self.streaming {
                put_window_update(&mut self.out, frame.stream, self.received);
            }
            self.received = 0;
        }
    }
}

/// The length of the gRPC message that `bytes` begin with, prefix included; `None` while it isn't whole.
fn whole_message(bytes: &[u8]) -> Option<usize> {
    let (prefix, rest) = bytes.split_first_chunk::<PREFIX>()?;
    let length = u32::from_be_bytes([prefix[1], prefix[2], prefix[3], prefix[4]]) as usize;
    (rest.len() >= length).then_some(PREFIX + length)
}

/// As much as an explanation shows.
fn start_of(bytes: &[u8]) -> &[u8] {
    &bytes[..bytes.len().min(48)]
}

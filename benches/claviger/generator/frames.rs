//! HTTP/2 frames by hand (RFC 9113, 4.1): written into a buffer, read out of one.

/// What a client sends first.
pub const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// The largest payload of one frame, as nothing else is agreed on.
pub const PAYLOAD: usize = 16_384;
/// The largest window (RFC 9113, 6.9.1).
pub const WINDOW: u32 = (1 << 31) - 1;
/// The window of a connection and of a stream before anything else is said.
pub const FIRST_WINDOW: i64 = 65_535;

/// Flag of HEADERS and DATA.
pub const END_STREAM: u8 = 0x1;
/// Flag of HEADERS.
pub const END_HEADERS: u8 = 0x4;
/// Flag of SETTINGS and PING.
pub const ACK: u8 = 0x1;

/// Types of frames.
pub mod kind {
    pub const DATA: u8 = 0;
    pub const HEADERS: u8 = 1;
    pub const RST_STREAM: u8 = 3;
    pub const SETTINGS: u8 = 4;
    pub const PING: u8 = 6;
    pub const GOAWAY: u8 = 7;
    pub const WINDOW_UPDATE: u8 = 8;
}

const HEADER: usize = 9;
const INITIAL_WINDOW_SIZE: u16 = 4;

/// A frame that came in.
pub struct Frame<'a> {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: &'a [u8],
}

impl<'a> Frame<'a> {
    /// The frame that `bytes` begin with and its length with its header; `None` while it isn't whole.
    pub fn first_of(bytes: &'a [u8]) -> Option<(Self, usize)> {
        let (&[a, b, c, kind, flags, s1, s2, s3, s4], _) = bytes.split_first_chunk::<HEADER>()?;
        let end = HEADER + u32::from_be_bytes([0, a, b, c]) as usize;
        let payload = bytes.get(HEADER..end)?;
        let stream = u32::from_be_bytes([s1, s2, s3, s4]) & WINDOW;
        Some((Self { kind, flags, stream, payload }, end))
    }

    /// Whether `flag` is set.
    pub fn has(&self, flag: u8) -> bool {
        self.flags & flag != 0
    }

    /// The number that a WINDOW_UPDATE, RST_STREAM or GOAWAY carries at `offset`.
    pub fn number_at(&self, offset: usize) -> u32 {
        let bytes = self.payload.get(offset..offset + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map_or(0, u32::from_be_bytes)
    }

    /// The window of new streams, if these SETTINGS say it.
    pub fn initial_window(&self) -> Option<i64> {
        let settings = self.payload.chunks_exact(6);
        let mut windows = settings.filter(|setting| setting[..2] == INITIAL_WINDOW_SIZE.to_be_bytes());
        windows
            .next_back()
            .map(|setting| i64::from(u32::from_be_bytes([setting[2], setting[3], setting[4], setting[5]])))
    }
}

/// Writes the header of a frame; its payload of `length` bytes must follow.
pub fn put_header(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, length: usize) {
    let [_, a, b, c] = u32::try_from(length).unwrap_or(u32::MAX).to_be_bytes();
    out.extend([a, b, c, kind, flags]);
    out.extend(stream.to_be_bytes());
}

/// Writes a whole frame.
pub fn put(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    put_header(out, kind, flags, stream, payload.len());
    out.extend(payload);
}

/// Lets the other side send `increment` bytes more; stream 0 is the connection.
pub fn put_window_update(out: &mut Vec<u8>, stream: u32, increment: u32) {
    put(out, kind::WINDOW_UPDATE, 0, stream, &increment.to_be_bytes());
}

/// What the generator says first: windows that never close.
pub fn put_hello(out: &mut Vec<u8>) {
    out.extend(PREFACE);
    let [a, b, c, d] = WINDOW.to_be_bytes();
    let [high, low] = INITIAL_WINDOW_SIZE.to_be_bytes();
    put(out, kind::SETTINGS, 0, 0, &[high, low, a, b, c, d]);
    put_window_update(out, 0, WINDOW - 65_535);
}

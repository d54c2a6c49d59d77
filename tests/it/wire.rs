//! HTTP/2 below gRPC: requests that no client library would send, and frames written by hand.

use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{Request, Response};
use hyper::body::{Body as _, Incoming};
use hyper::client::conn::http2::SendRequest;
use hyper_util::rt::{TokioExecutor, TokioIo};
use prost::Message;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tonic::Code;
use tonic::body::Body;

use claviger::proto::v1;

pub const HEADERS: u8 = 1;
pub const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const MAX_CONCURRENT_STREAMS: u16 = 3;
const ACK: u8 = 1;
pub const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
/// RFC 9113, 7.
pub const REFUSED_STREAM: u32 = 7;
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(30);

/// One HTTP/2 connection for requests of any form.
pub struct Http2 {
    address: SocketAddr,
    sender: SendRequest<Body>,
}

impl Http2 {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        let mut builder = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
        // Header lists of any size may be sent; what comes back is the server's business.
        builder.max_header_list_size(1 << 20);
        let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.expect("HTTP/2");
        tokio::spawn(connection);
        Self { address, sender }
    }

    pub async fn send(&mut self, request: Request<Body>) -> Response<Incoming> {
        self.try_send(request).await.expect("an answer")
    }

    /// `None` when the stream or the connection is refused; then the next request gets a new connection.
    pub async fn try_send(&mut self, request: Request<Body>) -> Option<Response<Incoming>> {
        if self.sender.is_closed() {
            *self = Self::connect(self.address).await;
        }
        timeout(PATIENCE, self.sender.send_request(request)).await.expect("in time").ok()
    }
}

/// A CreateTenant as gRPC would send it, by another method or to another path.
pub fn create_tenant(method: &str, path: &str, secret: &str, id: &str) -> Request<Body> {
    post(path, secret, body(create_tenant_message(id))).map_method(method)
}

trait MapMethod {
    fn map_method(self, method: &str) -> Self;
}

impl MapMethod for Request<Body> {
    fn map_method(mut self, method: &str) -> Self {
        *self.method_mut() = method.parse().expect("a method");
        self
    }
}

fn post(path: &str, secret: &str, body: Body) -> Request<Body> {
    Request::post(format!("http://claviger.test{path}"))
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .header("authorization", format!("Bearer {secret}"))
        .body(body)
        .expect("a request")
}

/// A call whose message never comes.
pub fn never_ending(path: &str, secret: &str, grpc_timeout: Option<&str>) -> Request<Body> {
    let mut request = post(path, secret, Body::new(Never));
    if let Some(value) = grpc_timeout {
        request.headers_mut().insert("grpc-timeout", value.parse().expect("a value"));
    }
    request
}

/// A body that never comes.
struct Never;

impl hyper::body::Body for Never {
    type Data = hyper::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Poll::Pending
    }
}

/// A body of one piece.
pub fn body(bytes: Vec<u8>) -> Body {
    Body::new(Whole(Some(bytes.into())))
}

struct Whole(Option<hyper::body::Bytes>);

impl hyper::body::Body for Whole {
    type Data = hyper::body::Bytes;
    type Error = std::convert::Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Self::Data>, Self::Error>>> {
        Poll::Ready(self.0.take().map(|bytes| Ok(hyper::body::Frame::data(bytes))))
    }
}

/// gRPC's prefix and the message.
fn framed(message: &impl Message) -> Vec<u8> {
    let message = message.encode_to_vec();
    let length = u32::try_from(message.len()).expect("a short message");
    [&[0], &length.to_be_bytes()[..], &message].concat()
}

pub fn create_tenant_message(id: &str) -> Vec<u8> {
    let tenant = v1::Tenant { display_name: "odd".to_owned(), ..Default::default() };
    framed(&v1::CreateTenantRequest { tenant_id: id.to_owned(), tenant: Some(tenant) })
}

/// Any message whose first field is this text.
pub fn text_message(text: &str) -> Vec<u8> {
    framed(&v1::GetTenantRequest { name: text.to_owned() })
}

/// `grpc-status`, from the headers or the trailers.
pub async fn grpc_status(response: Response<Incoming>) -> Option<Code> {
    let of = |headers: &http::HeaderMap| headers.get("grpc-status").map(|value| Code::from_bytes(value.as_bytes()));
    if let Some(code) = of(response.headers()) {
        return Some(code);
    }
    let mut body = response.into_body();
    loop {
        let next = std::future::poll_fn(|context| Pin::new(&mut body).poll_frame(context));
        let frame = timeout(PATIENCE, next).await.expect("in time")?.ok()?;
        if let Some(trailers) = frame.trailers_ref() {
            return of(trailers);
        }
    }
}

/// All until the other end closes, or breaks off.
pub async fn read_to_end(stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
    let mut all = Vec::new();
    let reading = timeout(PATIENCE, stream.read_to_end(&mut all)).await;
    reading.expect("it is closed in time").ok();
    all
}

/// A frame (RFC 9113, 4.1).
#[derive(Debug)]
pub struct Frame {
    pub kind: u8,
    pub flags: u8,
    pub stream: u32,
    pub payload: Vec<u8>,
}

/// A connection on which every frame is written by hand.
pub struct Wire {
    stream: TcpStream,
    /// What the server's SETTINGS say.
    pub max_concurrent_streams: Option<u32>,
}

impl Wire {
    pub async fn open(address: SocketAddr) -> Self {
        Self::open_from("127.0.0.1", address).await.expect("served")
    }

    /// From this loopback address. `None` when the server closes before it says anything.
    pub async fn open_from(from: &str, address: SocketAddr) -> Option<Self> {
        let socket = TcpSocket::new_v4().expect("a socket");
        socket.bind(format!("{from}:0").parse().expect("an address")).expect("bound");
        let mut stream = socket.connect(address).await.expect("connected");
        let hello = [PREFACE, &frame(SETTINGS, 0, 0, &[])].concat();
        stream.write_all(&hello).await.ok()?;
        let mut wire = Self { stream, max_concurrent_streams: None };
        let settings = wire.next(PATIENCE).await?;
        assert_eq!(settings.kind, SETTINGS);
        for entry in settings.payload.chunks_exact(6) {
            if entry[..2] == MAX_CONCURRENT_STREAMS.to_be_bytes() {
                wire.max_concurrent_streams = Some(u32::from_be_bytes([entry[2], entry[3], entry[4], entry[5]]));
            }
        }
        wire.write(&frame(SETTINGS, ACK, 0, &[])).await;
        Some(wire)
    }

    /// Speaks first on a connection that is there, and doesn't wait for what the server says.
    pub async fn over(mut stream: TcpStream) -> Self {
        stream.write_all(&[PREFACE, &frame(SETTINGS, 0, 0, &[])].concat()).await.ok();
        Self { stream, max_concurrent_streams: None }
    }

    /// Opens a stream as a gRPC call to `path`.
    pub async fn headers(&mut self, stream: u32, path: &str, more: &[(&str, String)], end: bool) {
        let usual = [(":method", "POST"), (":scheme", "http"), (":path", path), (":authority", "claviger.test")];
        let usual = usual.into_iter().chain([("content-type", "application/grpc"), ("te", "trailers")]);
        let mut block: Vec<u8> = usual.flat_map(|(name, value)| literal(name, value)).collect();
        block.extend(more.iter().flat_map(|(name, value)| literal(name, value)));
        let flags = END_HEADERS | if end { END_STREAM } else { 0 };
        self.write(&frame(HEADERS, flags, stream, &block)).await;
    }

    /// The last data of a stream.
    pub async fn data(&mut self, stream: u32, bytes: &[u8]) {
        self.write(&frame(0, END_STREAM, stream, bytes)).await;
    }

    /// The server may be gone already, which the next read will tell.
    async fn write(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).await.ok();
    }

    /// The next frame; `None` when the connection is closed.
    pub async fn next(&mut self, patience: Duration) -> Option<Frame> {
        let reading = async {
            let mut head = [0; 9];
            self.stream.read_exact(&mut head).await.ok()?;
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).expect("24 bits")];
            self.stream.read_exact(&mut payload).await.ok()?;
            let stream = u32::from_be_bytes([head[5], head[6], head[7], head[8]]);
            Some(Frame { kind: head[3], flags: head[4], stream, payload })
        };
        timeout(patience, reading).await.expect("a frame in time")
    }

    pub async fn next_of(&mut self, wanted: impl Fn(&Frame) -> bool, patience: Duration) -> Option<Frame> {
        loop {
            let frame = self.next(patience).await?;
            if wanted(&frame) {
                return Some(frame);
            }
        }
    }

    pub async fn next_of_stream(&mut self, stream: u32, patience: Duration) -> Option<Frame> {
        self.next_of(|frame| frame.stream == stream, patience).await
    }
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).expect("a short frame").to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// A header that is neither indexed nor compressed (RFC 7541, 6.2.2).
fn literal(name: &str, value: &str) -> Vec<u8> {
    let length = |text: &str| u8::try_from(text.len()).ok().filter(|length| *length < 127).expect("a short text");
    [&[0, length(name)], name.as_bytes(), &[length(value)], value.as_bytes()].concat()
}

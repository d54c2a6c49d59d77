//! What comes first on a connection, and what is said to those who came with another protocol.

use std::io::{self, ErrorKind, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};

/// What every HTTP/2 client sends first (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/// To HTTP/1.
pub(super) const USE_HTTP_2: &[u8] = b"HTTP/1.1 426 Upgrade Required\r\nupgrade: h2c\r\ncontent-length: 43\r\nconnection: close\r\n\r\nThis port speaks gRPC; try it with grpcurl.";
/// To HTTP/1 in the clear, where TLS is spoken.
pub(super) const USE_TLS: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-length: 20\r\nconnection: close\r\n\r\nThis port speaks TLS";
/// To HTTP/2 in the clear, where TLS is spoken: empty SETTINGS, and GOAWAY with INADEQUATE_SECURITY and a reason, which
/// clients show (RFC 9113, 6.8).
pub(super) const GO_AWAY_USE_TLS: &[u8] =
    b"\0\0\0\x04\0\0\0\0\0\0\0\x1c\x07\0\0\0\0\0\0\0\0\0\0\0\0\x0cthis port speaks TLS";

/// Reads what the peer says first; `false` at the first byte that no HTTP/2 client sends.
pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<bool> {
    let mut start = [0; PREFACE.len()];
    let mut length = 0;
    while length < start.len() {
        let read = stream.read(&mut start[length..]).await?;
        if read == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        length += read;
        if !PREFACE.starts_with(&start[..length]) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Says something last. The peer may be gone already; there is nobody to tell then.
pub(super) async fn say_and_close(mut stream: impl AsyncWrite + Unpin, last_words: &[u8]) {
    if stream.write_all(last_words).await.is_ok() {
        let _ = stream.shutdown().await;
    }
}

/// A stream whose preface was read, for somebody who wants to read it too.
pub(super) struct WithPreface<S> {
    given: usize,
    stream: S,
}

impl<S> WithPreface<S> {
    pub(super) fn again(stream: S) -> Self {
        Self { given: 0, stream }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for WithPreface<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.given < PREFACE.len() {
            let length = buffer.remaining().min(PREFACE.len() - self.given);
            buffer.put_slice(&PREFACE[self.given..self.given + length]);
            self.given += length;
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for WithPreface<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_has_the_length_it_says() {
        for (said, body) in
            [(USE_HTTP_2, "This port speaks gRPC; try it with grpcurl."), (USE_TLS, "This port speaks TLS")]
        {
            let text = String::from_utf8_lossy(said);
            assert!(text.ends_with(&format!("\r\n\r\n{body}")));
            assert!(text.contains(&format!("\r\ncontent-length: {}\r\n", body.len())));
        }
        let go_away = &GO_AWAY_USE_TLS[9..];
        assert_eq!(usize::from(go_away[2]) + 9, go_away.len());
    }
}

//! A stream that tells its [`Watch`] what passes.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use socket2::SockRef;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio_rustls::server::TlsStream;

use crate::watch::{Verdict, Watch};

/// What has a socket of TCP at its bottom.
pub(crate) trait Socket {
    fn socket(&self) -> &TcpStream;
}

impl Socket for TcpStream {
    fn socket(&self) -> &TcpStream {
        self
    }
}

impl Socket for TlsStream<TcpStream> {
    fn socket(&self) -> &TcpStream {
        self.get_ref().0
    }
}

/// `io`, watched.
#[derive(Debug)]
pub(crate) struct Watched<S: Socket> {
    io: S,
    watch: Arc<Watch>,
}

impl<S: Socket> Drop for Watched<S> {
    fn drop(&mut self) {
        // Who does not read is sent nothing more: the kernel would keep what is unsent for minutes.
        if matches!(self.watch.verdict(), Some(Verdict::SlowReader | Verdict::Stopped)) {
            let _: io::Result<()> = SockRef::from(self.io.socket()).set_linger(Some(Duration::ZERO));
        }
    }
}

impl<S: Socket> Watched<S> {
    pub(crate) const fn new(io: S, watch: Arc<Watch>) -> Self {
        Self { io, watch }
    }

    fn note(&self, written: &Poll<io::Result<usize>>) {
        match written {
            Poll::Ready(Ok(bytes)) => self.watch.sent(*bytes),
            Poll::Ready(Err(_)) => self.watch.broke(),
            Poll::Pending => self.watch.blocked(Instant::now()),
        }
    }
}

impl<S: AsyncRead + Socket + Unpin> AsyncRead for Watched<S> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let read = Pin::new(&mut self.io).poll_read(cx, buf);
        match &read {
            Poll::Ready(Ok(())) if buf.filled().len() > before => self.watch.received(Instant::now()),
            Poll::Ready(Ok(())) if buf.remaining() > 0 => self.watch.closed(),
            // Of TLS, whose clients mostly close without a word. Who has not read all that came resets the connection.
            Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof => self.watch.closed(),
            Poll::Ready(Err(_)) => self.watch.broke(),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        read
    }
}

impl<S: AsyncWrite + Socket + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write(cx, buf);
        self.note(&written);
        written
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.note(&written);
        written
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.io).poll_flush(cx);
        match &flushed {
            Poll::Ready(Ok(())) => self.watch.flushed(Instant::now()),
            Poll::Ready(Err(_)) => self.watch.broke(),
            Poll::Pending => self.watch.blocked(Instant::now()),
        }
        flushed
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

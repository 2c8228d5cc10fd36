//! One connection, from the handshake to its end.

use std::error::Error;
use std::future::Future;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use headcount::method::Api;
use hyper::body::{Body, Incoming};
use hyper::rt::bounds::Http2ServerConnExec;
use hyper::server::conn::{http1, http2};
use hyper::service::{HttpService, service_fn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::sync::watch as stage;

use crate::registry::Place;
use crate::service::Connection;
use crate::shared::Shared;
use crate::tls::Certificate;
use crate::watch::Verdict;
use crate::watched::{Socket, Watched};

/// Whether the server goes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    Running,
    /// No new requests; those under way are answered.
    Draining,
    /// Those, too, are broken off.
    Aborting,
}

/// Longest head of a request: a query may hold what a form may.
pub(crate) const MAX_HEAD: usize = 64 << 10;
/// Headers of a request, as hyper takes them by HTTP/1: by HTTP/2 each may be one byte, and is a hundred here.
pub(crate) const MOST_HEADERS: usize = 100;
/// Bytes that a header takes besides its text: two strings, and what the allocator adds to each.
pub(crate) const HEADER: usize = size_of::<(String, String)>() + 2 * 24;
/// Rendered bytes that wait for the socket: one piece while another is written.
const WRITE_BUFFER: usize = 512 << 10;
/// Bytes that the kernel keeps unsent for a client beyond what is on its way: without a bound every client that does not read
/// costs megabytes. The kernel asks for more when half of it has gone, and takes some more than it was told to: with a half
/// of what a client has to take in a time, one that takes twice as much is seen to.
fn unsent(slow_bytes: u64) -> u32 {
    const LEAST: u32 = 16 << 10;
    const MOST: u32 = 256 << 10;
    u32::try_from(slow_bytes / 2).unwrap_or(MOST).clamp(LEAST, MOST)
}

/// Bytes that are sealed for a client beyond what the kernel has taken. They count as taken by the client: of what is left at
/// the end no more is waited for than what it has to take in a time.
fn sealed(slow_bytes: u64) -> usize {
    // A record of TLS; and what rustls keeps unless it is told.
    const LEAST: usize = 16 << 10;
    const MOST: usize = 64 << 10;
    usize::try_from(slow_bytes).unwrap_or(MOST).clamp(LEAST, MOST)
}

/// Streams of HTTP/2 at the same time: each may wait for the rest of its body.
const STREAMS: u32 = 32;
/// Bytes that a client of HTTP/2 may send on a stream, and on all of a connection, before they are looked at.
const WINDOWS: (u32, u32) = (64 << 10, 256 << 10);

/// What a connection needs of its listener and server.
#[derive(Debug, Clone)]
pub(crate) struct Context {
    pub(crate) shared: Arc<Shared>,
    pub(crate) api: Arc<Api>,
    pub(crate) certificate: Option<Arc<Certificate>>,
    pub(crate) insecure_loopback: bool,
    pub(crate) stage: stage::Receiver<Stage>,
}

/// Serves `stream` until it ends.
pub(crate) async fn serve(stream: TcpStream, peer: SocketAddr, place: Place, context: Context) {
    // A connection that is gone already says so when it is read.
    let local = stream.local_addr().map_or(IpAddr::from([0, 0, 0, 0]), |address| address.ip());
    let _: std::io::Result<()> = stream.set_nodelay(true);
    #[cfg(target_os = "linux")]
    let _: std::io::Result<()> =
        socket2::SockRef::from(&stream).set_tcp_notsent_lowat(unsent(context.shared.limits.slow_bytes));
    let connection = Connection {
        shared: Arc::clone(&context.shared),
        api: Arc::clone(&context.api),
        watch: Arc::clone(&place.watch),
        peer: peer.ip(),
        local,
        secure: context.certificate.is_some(),
        insecure_loopback: context.insecure_loopback,
    };
    let Some(certificate) = &context.certificate else {
        return http(stream, false, connection, &place, context.stage).await;
    };
    let patience = Duration::from_secs(context.shared.limits.handshake_seconds);
    let accepted = tokio::select! {
        accepted = tokio::time::timeout(patience, certificate.acceptor().accept(stream)) => accepted,
        verdict = place.watch.given_up() => {
            tracing::debug!(peer = %peer, why = verdict.as_str(), "a connection was given up in its TLS handshake");
            return;
        }
    };
    match accepted {
        Ok(Ok(mut stream)) => {
            stream.get_mut().1.set_buffer_limit(Some(sealed(context.shared.limits.slow_bytes)));
            let multiplexed = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            http(stream, multiplexed, connection, &place, context.stage).await;
        }
        Ok(Err(error)) => {
            context.shared.metrics.refused("handshake");
            tracing::debug!(peer = %peer, %error, "no TLS handshake");
        }
        Err(_) => {
            context.shared.metrics.refused("handshake");
            tracing::debug!(peer = %peer, "the TLS handshake took too long");
        }
    }
}

async fn http<S>(stream: S, multiplexed: bool, connection: Connection, place: &Place, stage: stage::Receiver<Stage>)
where
    S: AsyncRead + AsyncWrite + Socket + Unpin + Send + 'static,
{
    let io = TokioIo::new(Watched::new(stream, Arc::clone(&place.watch)));
    let peer = connection.peer;
    let service = service_fn(move |request| connection.clone().serve(request));
    place.watch.expect_requests(multiplexed, Instant::now());
    let ended = if multiplexed {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        // Without pings, and the timer that they take: one waits behind what the client has not read yet, so that a slow reader
        // seems to be dead. The watch sees to those who do not read, and to those who ask for nothing.
        builder.max_header_list_size(u32::try_from(MAX_HEAD).unwrap_or(u32::MAX));
        builder.max_concurrent_streams(STREAMS).max_send_buf_size(WRITE_BUFFER);
        builder.initial_stream_window_size(WINDOWS.0).initial_connection_window_size(WINDOWS.1);
        run(std::pin::pin!(builder.serve_connection(io, service)), place, stage).await
    } else {
        let mut builder = http1::Builder::new();
        // Requests come in time: the watch sees to that, and hyper needs no timer of its own. A client may close its side
        // when it has asked.
        builder.half_close(true).max_buf_size(WRITE_BUFFER).max_header_size(MAX_HEAD).header_read_timeout(None);
        run(std::pin::pin!(builder.serve_connection(io, service)), place, stage).await
    };
    match ended {
        Ended::Closed(Err(error)) => tracing::debug!(peer = %peer, %error, "a connection broke off"),
        Ended::Closed(Ok(())) => {}
        Ended::GivenUp(verdict) => tracing::debug!(peer = %peer, why = verdict.as_str(), "a connection was given up"),
    }
}

/// How a connection ended.
enum Ended {
    Closed(hyper::Result<()>),
    GivenUp(Verdict),
}

/// A connection of hyper's that can be told to take no more requests.
trait Graceful: Future<Output = hyper::Result<()>> {
    fn shut_down(self: Pin<&mut Self>);
}

impl<I, S, B> Graceful for http1::Connection<I, S>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin + 'static,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

impl<I, S, B, E> Graceful for http2::Connection<I, S, E>
where
    S: HttpService<Incoming, ResBody = B>,
    S::Error: Into<Box<dyn Error + Send + Sync>>,
    I: hyper::rt::Read + hyper::rt::Write + Unpin,
    B: Body + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
    E: Http2ServerConnExec<S::Future, B>,
{
    fn shut_down(self: Pin<&mut Self>) {
        self.graceful_shutdown();
    }
}

/// Runs a connection until it ends, is given up, or the server has waited for it long enough.
async fn run<C: Graceful>(mut running: Pin<&mut C>, place: &Place, mut stage: stage::Receiver<Stage>) -> Ended {
    loop {
        match *stage.borrow_and_update() {
            Stage::Running => {}
            Stage::Draining => running.as_mut().shut_down(),
            Stage::Aborting => {
                place.watch.give_up(Verdict::Stopped);
            }
        }
        tokio::select! {
            ended = running.as_mut() => return Ended::Closed(ended),
            verdict = place.watch.given_up() => return Ended::GivenUp(verdict),
            changed = stage.changed() => if changed.is_err() {
                place.watch.give_up(Verdict::Stopped);
            },
        }
    }
}

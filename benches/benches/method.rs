//! Requests to the method, without a socket: what a call costs besides its bytes.
//!
//! Each request is decoded, authorized, answered, and its body read to the end.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use criterion::Throughput;
use headcount::method::{Api, Request, Secret, Settings, Site, Sites, sign};
use headcount::{Store, User};
use headcount_benches::{Mix, Synth};

const SECRET: &str = "c2VjcmV0LWtleS1mb3ItdGVzdGluZy1vbmx5ISE=";
const NOW: u64 = 1_416_000_000;

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(NOW)
}

fn api(users: impl IntoIterator<Item = User>) -> Result<Api, Box<dyn std::error::Error>> {
    let store = Arc::new(Store::temporary()?);
    store.load(users)?;
    let site = Site::new("3_key", store, Secret::new(SECRET)?);
    Ok(Api::new(Sites::new([site])?, Settings::default(), UNIX_EPOCH))
}

fn request(verb: &str, params: &str, accept: &str) -> Request {
    let target = format!("/socialize.{verb}?apiKey=3_key&secret={SECRET}{params}");
    let mut request = Request::new("GET", &target, now());
    request.secure = true;
    request.headers.push(("accept-encoding".to_owned(), accept.to_owned()));
    request
}

fn signed(nonce: u64) -> Result<Request, Box<dyn std::error::Error>> {
    let (nonce, time) = (nonce.to_string(), NOW.to_string());
    let params = [("apiKey", "3_key"), ("timestamp", &*time), ("nonce", &*nonce), ("limit", "1")];
    let sig = sign("GET", "http://localhost/socialize.exportUsers", &params, &Secret::new(SECRET)?);
    let sig = headcount::method::percent_encode(&sig);
    let target = format!("/socialize.exportUsers?apiKey=3_key&timestamp={time}&nonce={nonce}&limit=1&sig={sig}");
    let mut request = Request::new("GET", &target, now());
    request.host = Some("localhost".to_owned());
    Ok(request)
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut c = headcount_benches::criterion();
    let one = api([User::new("6625ID").with_identity("site", "6625ID")])?;
    let many = api(Synth::new(7, Mix::USUAL).take(100_000))?;
    let mut group = c.benchmark_group("method");
    group.throughput(Throughput::Elements(1));
    let mut run = |name: &str, api: &Api, request: &Request| {
        group.bench_function(name, |b| b.iter(|| api.handle(request).body.read().map(|body| body.len())));
    };
    run("one-user", &one, &request("exportUsers", "", "identity"));
    run("one-of-100000", &many, &request("exportUsers", "&limit=1", "identity"));
    run("300-of-100000", &many, &request("exportUsers", "&limit=300", "identity"));
    run("300-gzip", &many, &request("exportUsers", "&limit=300", "gzip"));
    run("300-zstd", &many, &request("exportUsers", "&limit=300", "zstd"));
    run("3000-of-100000", &many, &request("exportUsers", "&limit=3000", "identity"));
    run("get-user-info", &one, &request("getUserInfo", "&UID=6625ID", "identity"));
    run("refused", &one, &request("exportUsers", "&limit=x", "identity"));
    let mut nonce = 0;
    group.bench_function("signed", |b| {
        b.iter_batched(
            || {
                nonce += 1;
                signed(nonce)
            },
            |request| request.map(|request| one.handle(&request).status).unwrap_or_default(),
            criterion::BatchSize::SmallInput,
        );
    });
    group.finish();
    c.final_summary();
    Ok(())
}

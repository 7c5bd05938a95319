//! How long the ICE-servers API takes to answer at 2,000 requests per second on one core, beside a
//! bare axum handler that returns a constant of the same size, in the same run.
//!
//! The load is an open loop: each request has a time at which it is due, whether or not earlier ones
//! have been answered, and its latency counts from then. Servers take turns; the first round is thrown
//! away.
//!
//!     cargo bench -p turn-operator --bench ice_api -- [requests per second] [seconds] [rounds]
//!
//! # What it has found
//!
//! 2026-11-23, two cores of an AMD EPYC in a virtual machine, the second of them with the load; p99 in
//! milliseconds, 2,000 requests per second, rounds of five seconds:
//!
//! | meanwhile | bare axum | API | ratios |
//! |---|---|---|---|
//! | an idle cluster | 1.75, 1.77, 2.23, 1.76 | 2.23, 1.81, 1.81, 1.72 | 1.27, 1.02, 0.81, 0.98 |
//! | a cluster at work, and browsers | 159, 49, 6.4 | 198, 6.1, 179 | 1.25, 0.12, 28 |
//!
//! The second line measures who else has the cores.
#![expect(clippy::print_stdout, reason = "what this program finds is printed")]

use std::{
    convert::Infallible,
    net::{SocketAddr, TcpListener},
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use axum::{
    Router,
    http::{Request, Response, header::CONTENT_TYPE},
    routing::get,
};
use http_body_util::{BodyExt as _, Empty};
use hyper_util::{
    client::legacy::{Client as HttpClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use kube::{Client, client::Body as KubeBody};
use rustix::thread::{CpuSet, sched_setaffinity};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tower::service_fn;
use turn_operator::{
    ice_api::{IceApi, serve},
    metrics::Metrics,
    reachability::Leading,
};

const PATH: &str = "/v1/namespaces/media/turnservers/edge/iceservers";
const BARE: &str = "/bare";
/// How many requests may wait for an answer until the load counts as too much.
const MOST_WAITING: usize = 20_000;

fn main() -> Result<()> {
    let arguments = std::env::args().skip(1).filter(|word| !word.starts_with("--"));
    let numbers = arguments.map(|word| word.parse()).collect::<Result<Vec<u32>, _>>()?;
    let number = |index: usize, default: u32| numbers.get(index).copied().unwrap_or(default);
    let (rate, seconds, rounds) = (number(0, 2000), number(1, 5), number(2, 5));
    let address = start_server()?;
    pin(1)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    println!("{rate} requests per second for {seconds} s, {rounds} rounds; latencies in ms");
    println!("{:>14} {:>14} {:>10}", "axum p50/p99", "API p50/p99", "ratio p99");
    let mut worst = Duration::ZERO;
    for round in 0..=rounds {
        let bare = runtime.block_on(load(address, BARE, rate, seconds))?;
        let api = runtime.block_on(load(address, PATH, rate, seconds))?;
        if round > 0 {
            worst = worst.max(api.p99);
            let ratio = api.p99.as_secs_f64() / bare.p99.as_secs_f64();
            println!("{:>14} {:>14} {ratio:>10.2}", bare.to_string(), api.to_string());
        }
    }
    println!("the API's p99 is {:.2} ms at most", worst.as_secs_f64() * 1e3);
    Ok(())
}

fn pin(core: usize) -> Result<()> {
    let mut set = CpuSet::new();
    set.set(core % thread::available_parallelism()?.get());
    sched_setaffinity(None, &set).context("pin a thread to a core")
}

/// Both servers on one port and one core.
fn start_server() -> Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let (failed, failures) = mpsc::channel();
    thread::spawn(move || {
        let served = pin(0).and_then(|()| run_server(listener));
        // Nobody listens any more when all is over.
        let _over = failed.send(served);
    });
    match failures.recv_timeout(Duration::from_millis(500)) {
        Ok(ended) => ended.map(|()| address),
        Err(_) => Ok(address),
    }
}

fn run_server(listener: TcpListener) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let api = IceApi::new(cluster(), Metrics::new()?, Leading::default());
        let constant = "x".repeat(420);
        let bare = get(move || {
            let body = format!("{{\"iceServers\":\"{constant}\"}}");
            async move { ([(CONTENT_TYPE, "application/json")], body) }
        });
        let router = Router::new().route(BARE, bare).merge(api.routes());
        tokio::select! {
            served = serve(listener, None, router) => Ok(served?),
            () = api.follow(cluster()) => Ok(()),
        }
    })
}

/// An API server that has one `TurnServer` with eight relays, and its Secrets.
fn cluster() -> Client {
    Client::new(
        service_fn(|request: Request<KubeBody>| async move {
            if request.uri().query().is_some_and(|query| query.contains("watch=")) {
                std::future::pending::<()>().await;
            }
            let answer = answer(request.uri().path());
            Ok::<_, Infallible>(Response::new(KubeBody::from(answer.to_string().into_bytes())))
        }),
        "default",
    )
}

fn answer(path: &str) -> Value {
    let secret = |data: Value| json!({"metadata": {"name": "any"}, "data": data});
    match path {
        "/api/v1/namespaces/media/secrets/edge-credentials" => {
            secret(json!({"shared-secret": "c2hhcmVk"}))
        }
        "/api/v1/namespaces/media/secrets/keys" => secret(json!({"load": "a2V5"})),
        _ => json!({
            "apiVersion": "turnpike.dev/v1alpha1",
            "kind": "TurnServerList",
            "metadata": {"resourceVersion": "1"},
            "items": [turn_server()],
        }),
    }
}

fn turn_server() -> Value {
    let relay = |index: u8| {
        json!({
            "pod": format!("relay-{index}"), "region": "default", "ready": true,
            "urls": [
                format!("turn:192.0.2.{index}:3478?transport=udp"),
                format!("turn:192.0.2.{index}:3478?transport=tcp"),
                format!("turns:192.0.2.{index}:443?transport=tcp"),
            ],
        })
    };
    json!({
        "apiVersion": "turnpike.dev/v1alpha1",
        "kind": "TurnServer",
        "metadata": {"name": "edge", "namespace": "media", "uid": "u1"},
        "spec": {"iceServers": {
            "apiKeys": {"secretRef": {"name": "keys"}},
            "requestsPerSecond": 100_000,
        }},
        "status": {"relays": (1..=8).map(relay).collect::<Vec<_>>()},
    })
}

/// What was measured.
struct Latencies {
    p50: Duration,
    p99: Duration,
}

impl std::fmt::Display for Latencies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let millis = |of: Duration| of.as_secs_f64() * 1e3;
        f.pad(&format!("{:.2}/{:.2}", millis(self.p50), millis(self.p99)))
    }
}

type Http = HttpClient<HttpConnector, Empty<&'static [u8]>>;

async fn load(address: SocketAddr, path: &str, rate: u32, seconds: u32) -> Result<Latencies> {
    let client: Http = HttpClient::builder(TokioExecutor::new()).build_http();
    let uri = format!("http://{address}{path}");
    let begun = Instant::now();
    let (mut running, mut latencies) = (JoinSet::new(), Vec::new());
    for number in 0..rate * seconds {
        let due = begun + Duration::from_secs(1) * number / rate;
        tokio::time::sleep_until(due.into()).await;
        running.spawn(ask(client.clone(), uri.clone(), due));
        ensure!(running.len() < MOST_WAITING, "{path}: {MOST_WAITING} requests wait");
        while let Some(done) = running.try_join_next() {
            latencies.push(done??);
        }
    }
    while let Some(done) = running.join_next().await {
        latencies.push(done??);
    }
    latencies.sort_unstable();
    let at = |part: f64| {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "an index of a list of thousands"
        )]
        let index = (latencies.len() as f64 * part) as usize;
        latencies.get(index).copied().context("no requests")
    };
    Ok(Latencies { p50: at(0.5)?, p99: at(0.99)? })
}

async fn ask(client: Http, uri: String, due: Instant) -> Result<Duration> {
    let request = Request::get(uri).header("x-api-key", "key").body(Empty::new())?;
    let response = client.request(request).await?;
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    ensure!(status.is_success(), "{status}: {}", String::from_utf8_lossy(&body));
    Ok(due.elapsed())
}

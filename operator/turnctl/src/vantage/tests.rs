//! The agent against a server that speaks the operator's protocol, and a relay that runs.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::{HeaderMap, StatusCode, Uri, header::AUTHORIZATION},
    response::{IntoResponse as _, Response},
};
use relay_config::{Config, RawConfig};
use tokio::sync::{mpsc, oneshot};
use turn_auth::{Secret, TimeLimitedCredential, UnixSeconds};
use turn_operator::{
    metrics::Metrics,
    reachability::{Facts, Leading, Reachability, agent_routes},
};
use turn_probe::{
    Fault, ProbeOrder, Transport,
    agent::{AgentOrder, AgentOrders, AgentReport, OrderId},
    plan::{self, Listener, PortRange, Subject, Vantage, VantageKind},
    survey::Fleet,
};
use turn_relay::process::Process;

use super::{
    Token,
    addresses::Addresses,
    agent::{Agent, End},
    operator::Operator,
};
use crate::http;

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
/// Long enough on a busy machine.
const SOON: Duration = Duration::from_secs(30);

/// What the server answers next; the last one again and again.
enum Say {
    Orders(AgentOrders),
    Status(StatusCode, &'static str),
    Text(&'static str),
    /// Nothing, for so long.
    Nothing(Duration),
}

/// An operator as far as agents see it.
#[derive(Clone)]
struct Server {
    script: Arc<Mutex<VecDeque<Say>>>,
    heard: mpsc::UnboundedSender<Heard>,
}

#[derive(Debug)]
struct Heard {
    path: String,
    token: String,
    report: AgentReport,
    at: Instant,
}

async fn answer(
    State(server): State<Server>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let token = headers[AUTHORIZATION].to_str().expect("text").to_owned();
    let report = serde_json::from_slice(&body).expect("a report");
    let heard = Heard { path: uri.path().to_owned(), token, report, at: Instant::now() };
    // A test that has heard enough listens no more.
    let _over = server.heard.send(heard);
    let say = {
        let mut script = server.script.lock().expect("unpoisoned");
        script.pop_front().unwrap_or_else(|| Say::Orders(orders(Vec::new())))
    };
    match say {
        Say::Orders(orders) => axum::Json(orders).into_response(),
        Say::Status(status, text) => (status, text).into_response(),
        Say::Text(text) => text.into_response(),
        Say::Nothing(time) => {
            tokio::time::sleep(time).await;
            StatusCode::OK.into_response()
        }
    }
}

async fn serve(script: Vec<Say>) -> (SocketAddr, mpsc::UnboundedReceiver<Heard>) {
    let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.expect("loopback");
    let address = listener.local_addr().expect("it is bound");
    let (heard, receiver) = mpsc::unbounded_channel();
    let server = Server { script: Arc::new(Mutex::new(script.into())), heard };
    let router = Router::new().fallback(answer).with_state(server);
    tokio::spawn(async move { axum::serve(listener, router).await });
    (address, receiver)
}

fn orders(orders: Vec<AgentOrder>) -> AgentOrders {
    AgentOrders { orders, wait_milliseconds: 200, refused: 0 }
}

fn secret() -> Secret {
    Secret::from_file(b"north").expect("a secret")
}

fn order(server: SocketAddr, round: u64) -> AgentOrder {
    let until = UnixSeconds(4_000_000_000);
    let minted = TimeLimitedCredential::mint_for_probe(&secret(), "berlin", until);
    let TimeLimitedCredential { username, password } = minted;
    let subject = Subject {
        relay: "edge-1".into(),
        address: server.ip(),
        listener: "udp".into(),
        transport: Transport::Udp,
        port: server.port(),
    };
    let probe = ProbeOrder {
        server,
        transport: Transport::Udp,
        username,
        password,
        relay_ports: [61_000, 61_099],
        certificates: Vec::new(),
        limit_milliseconds: 1_000,
    };
    AgentOrder { id: OrderId::new(&subject, round), probe }
}

/// A relay in this process, until it is dropped.
struct Relay {
    address: SocketAddr,
    _stop: oneshot::Sender<()>,
}

async fn relay() -> Relay {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("secret");
    std::fs::write(&file, "north\n").expect("written");
    let port = free_port();
    let text = format!(
        "realm: example.org\naddresses: [127.0.0.1]\n\
         listeners: [{{name: udp, protocol: UDP, port: {port}}}]\n\
         auth: {{sharedSecrets: [{file:?}]}}\nrelayPorts: {{from: 61000, to: 61099}}\n\
         admin: {{address: \"127.0.0.1:{}\"}}\npeers: {{allow: [127.0.0.1/32]}}\n",
        free_port()
    );
    let raw: RawConfig = serde_saphyr::from_str(&text).expect("it is read");
    let config = Config::try_from(raw).expect("it is good");
    let (ready, is_ready) = oneshot::channel();
    let (stop, stopped) = oneshot::channel();
    // All of it ends with its runtime.
    std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.expect("a runtime").block_on(async move {
            let started = Process::start(config, &[LOOPBACK], None).await;
            let _process = started.expect("it starts");
            let _nobody_waits = ready.send(());
            let _dropped = stopped.await;
        });
        drop(folder);
    });
    is_ready.await.expect("it starts");
    Relay { address: SocketAddr::new(LOOPBACK, port), _stop: stop }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((LOOPBACK, 0)).expect("a port");
    listener.local_addr().expect("it is bound").port()
}

type Lines = mpsc::UnboundedReceiver<String>;

fn agent(api: SocketAddr, ranges: &[&str]) -> (Agent, Lines) {
    patient_agent(api, ranges, SOON)
}

fn patient_agent(api: SocketAddr, ranges: &[&str], limit: Duration) -> (Agent, Lines) {
    let url = format!("http://{api}/v1/namespaces/media/turnservers/edge/vantages/berlin");
    let url = http::safe_url(&url).expect("loopback");
    let verifier = http::verifier(None).expect("the system has certificates");
    let operator = Operator::new(url, Token::Given(secret()), verifier, limit).expect("a client");
    let ranges = ranges.iter().map(|range| range.parse().expect("a range")).collect();
    let (sender, lines) = mpsc::unbounded_channel();
    let tell = move |line: &str| drop(sender.send(line.to_owned()));
    (Agent::new(operator, Addresses::new(ranges), Box::new(tell)), lines)
}

/// Lets it run until the server has heard what is waited for.
async fn until<T>(
    agent: &mut Agent,
    heard: &mut mpsc::UnboundedReceiver<Heard>,
    mut is_it: impl FnMut(Heard) -> Option<T>,
) -> T {
    let wait = async {
        loop {
            let heard = heard.recv().await.expect("the server runs");
            if let Some(found) = is_it(heard) {
                return found;
            }
        }
    };
    tokio::select! {
        never = agent.run() => match never {},
        found = tokio::time::timeout(SOON, wait) => found.expect("in time"),
    }
}

fn told(lines: &mut Lines) -> Vec<String> {
    std::iter::from_fn(|| lines.try_recv().ok()).collect()
}

#[tokio::test]
async fn what_is_ordered_is_probed_and_reported() {
    let relay = relay().await;
    let good = relay.address;
    let gone = SocketAddr::new(LOOPBACK, free_port());
    let first = Say::Orders(orders(vec![order(good, 1), order(gone, 1)]));
    let (api, mut heard) = serve(vec![first]).await;
    let (mut agent, mut lines) = agent(api, &["127.0.0.0/8"]);
    let mut answers = Vec::new();
    until(&mut agent, &mut heard, |one| {
        assert_eq!(one.path, "/v1/namespaces/media/turnservers/edge/vantages/berlin");
        assert_eq!(one.token, "Bearer north");
        answers.extend(one.report.answers);
        (answers.len() == 2).then_some(())
    })
    .await;
    let of = |server| {
        let id = order(server, 1).id;
        answers.iter().find(|answer| answer.id == id).expect("it is answered")
    };
    let (reached, refused) = (&of(good).observation, &of(gone).observation);
    assert_eq!((reached.fault, reached.ports.len()), (None, 2), "{reached:?}");
    assert_eq!(refused.fault, Some(Fault::Refused), "{refused:?}");
    let lines = told(&mut lines);
    assert_eq!(lines[0], format!("http://{api}: connected"));
    assert!(lines.contains(&format!("relay edge-1: UDP {good} reached")), "{lines:?}");
    let not = format!("relay edge-1: UDP {gone} not reached: ");
    assert!(lines.iter().any(|line| line.starts_with(&not)), "{lines:?}");
}

#[tokio::test]
async fn the_leader_is_looked_for_and_what_was_found_is_kept_for_it() {
    let gone = SocketAddr::new(LOOPBACK, free_port());
    let not_leader = || Say::Status(StatusCode::SERVICE_UNAVAILABLE, "this replica does not lead");
    let script =
        vec![not_leader(), Say::Orders(orders(vec![order(gone, 1)])), not_leader(), not_leader()];
    let (api, mut heard) = serve(script).await;
    let (mut agent, mut lines) = agent(api, &["127.0.0.0/8"]);
    let began = Instant::now();
    let mut told_times = 0;
    let last = until(&mut agent, &mut heard, |one| {
        told_times += usize::from(!one.report.answers.is_empty());
        (told_times == 2).then_some(one.at)
    })
    .await;
    assert!(last - began < Duration::from_secs(10), "it asks soon");
    let lines = told(&mut lines);
    let says = |what: &str| lines.iter().filter(|line| line.contains(what)).count();
    assert_eq!((says("does not lead"), says("connected")), (2, 1), "{lines:?}");
}

#[tokio::test]
async fn a_bad_token_is_told_once_with_the_servers_words_and_tried_slowly() {
    let refuse = || {
        let says = r#"{"error": {"message": "unknown vantage, or not its token"}}"#;
        Say::Status(StatusCode::UNAUTHORIZED, says)
    };
    let (api, mut heard) = serve(vec![refuse(), refuse(), refuse()]).await;
    let (mut agent, mut lines) = agent(api, &[]);
    let mut times = Vec::new();
    until(&mut agent, &mut heard, |one| {
        times.push(one.at);
        (times.len() == 2).then_some(())
    })
    .await;
    assert!(times[1] - times[0] >= Duration::from_secs(2));
    let says = format!("http://{api}: it refuses the token: unknown vantage, or not its token");
    assert_eq!(told(&mut lines), [says]);
}

#[tokio::test]
async fn nonsense_and_errors_are_told_and_outlived() {
    let script = vec![
        Say::Text("<html>Welcome to nginx!</html>"),
        Say::Text(r#"{"orders": 7}"#),
        Say::Status(StatusCode::FOUND, ""),
    ];
    let (api, mut heard) = serve(script).await;
    let (mut agent, mut lines) = agent(api, &[]);
    let mut count = 0;
    until(&mut agent, &mut heard, |_| {
        count += 1;
        (count == 5).then_some(())
    })
    .await;
    let lines = told(&mut lines);
    assert!(lines[0].contains("makes no sense; is it a Turnpike operator?"), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("302 Found")), "{lines:?}");
    assert!(lines.last().is_some_and(|line| line.ends_with(": connected")), "{lines:?}");
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_once_and_waited_for() {
    let api = SocketAddr::new(LOOPBACK, free_port());
    let (mut agent, mut lines) = agent(api, &[]);
    let limit = Duration::from_secs(3);
    let ran = tokio::time::timeout(limit, agent.run()).await;
    assert!(ran.is_err());
    let lines = told(&mut lines);
    assert_eq!(lines.len(), 1, "{lines:?}");
    assert!(lines[0].to_lowercase().contains("connection refused"), "{lines:?}");
}

#[tokio::test]
async fn a_server_that_says_nothing_is_given_up_in_time() {
    let (api, mut heard) = serve(vec![Say::Nothing(SOON)]).await;
    let (mut agent, mut lines) = patient_agent(api, &[], Duration::from_millis(300));
    let mut count = 0;
    until(&mut agent, &mut heard, |_| {
        count += 1;
        (count == 3).then_some(())
    })
    .await;
    let lines = told(&mut lines);
    assert!(lines[0].contains("timed out"), "{lines:?}");
    assert!(lines[1].ends_with(": connected"), "{lines:?}");
}

#[tokio::test]
async fn an_operator_makes_no_scanner_of_it() {
    let here = SocketAddr::new(LOOPBACK, free_port());
    let metadata = SocketAddr::from(([169, 254, 169, 254], 80));
    let first = Say::Orders(orders(vec![order(here, 1), order(metadata, 1)]));
    let (api, mut heard) = serve(vec![first]).await;
    let (mut agent, _lines) = agent(api, &[]);
    let answers = until(&mut agent, &mut heard, |one| {
        (!one.report.answers.is_empty()).then_some(one.report.answers)
    })
    .await;
    assert_eq!(answers.len(), 2);
    for answer in answers {
        assert!(answer.observation.is_beside_the_point(), "{answer:?}");
        assert!(answer.observation.says.contains("--addresses"), "{answer:?}");
    }
}

#[tokio::test]
async fn a_flood_of_orders_is_made_as_far_as_there_is_room() {
    let gone = SocketAddr::new(LOOPBACK, free_port());
    let flood = (0..5_000).map(|round| order(gone, round)).collect();
    let (api, mut heard) = serve(vec![Say::Orders(orders(flood))]).await;
    let (mut agent, mut lines) = agent(api, &["127.0.0.0/8"]);
    let (mut count, mut asked) = (0, 0);
    until(&mut agent, &mut heard, |one| {
        assert!(one.report.answers.len() <= turn_probe::agent::MOST_ANSWERS);
        count += one.report.answers.len();
        asked += 1;
        (asked == 8).then_some(())
    })
    .await;
    assert_eq!(count, 200, "two seconds' worth");
    let lines = told(&mut lines);
    assert!(lines.contains(&"4800 probes not made: too many at once".to_owned()), "{lines:?}");
}

#[tokio::test]
async fn one_round_says_whether_all_is_reached() {
    let relay = relay().await;
    let good = relay.address;
    let gone = SocketAddr::new(LOOPBACK, free_port());
    for (servers, expected) in [(vec![good], End::AllReached), (vec![good, gone], End::NotReached)]
    {
        let of = servers.iter().map(|server| order(*server, 1)).collect();
        let (api, mut heard) = serve(vec![Say::Orders(orders(of))]).await;
        let (mut agent, _lines) = agent(api, &["127.0.0.0/8"]);
        assert_eq!(agent.once().await, expected);
        heard.recv().await.expect("it has asked");
        let report = heard.recv().await.expect("it has reported").report;
        assert_eq!(report.answers.len(), servers.len());
    }
}

/// What the operator knows, once nothing but this agent tells it of a relay.
#[tokio::test]
async fn the_operators_own_api_is_told_that_a_relay_is_reached_and_then_that_it_is_not() {
    let relay = relay().await;
    let address = relay.address;
    let (changed, mut changes) = mpsc::unbounded_channel();
    let metrics = Metrics::new().expect("metrics");
    let on_change = Arc::new(move |_: &str| _ = changed.send(()));
    let reachability = Reachability::new(metrics, on_change);
    reachability.follow("uid", Some(facts(address)));
    let leading = Leading::default();
    let listener = tokio::net::TcpListener::bind((LOOPBACK, 0)).await.expect("loopback");
    let api = listener.local_addr().expect("it is bound");
    let routes = agent_routes(leading.clone());
    tokio::spawn(async move { axum::serve(listener, routes).await });
    let (mut agent, mut lines) = agent(api, &["127.0.0.0/8"]);
    let mut relay = Some(relay);
    let wait = async {
        // The leader comes later.
        tokio::time::sleep(Duration::from_secs(1)).await;
        let _term = leading.begin(reachability.clone());
        for expected in [true, false] {
            while reachability.verdict("uid").and_then(|all| all.relays.get("edge-1")?.reached)
                != Some(expected)
            {
                changes.recv().await.expect("it is observed");
            }
            // The relay goes away.
            drop(relay.take());
        }
    };
    tokio::select! {
        never = agent.run() => match never {},
        waited = tokio::time::timeout(2 * SOON, wait) => waited.expect("in time"),
    }
    let lines = told(&mut lines);
    let says = |what: &str| lines.iter().any(|line| line.contains(what));
    assert!(says("does not lead") && says("connected"), "{lines:?}");
    assert!(says(&format!("relay edge-1: UDP {address} reached")), "{lines:?}");
    assert!(says(&format!("relay edge-1: UDP {address} not reached: ")), "{lines:?}");
}

/// A fleet of one relay, which nobody but the agent probes.
fn facts(relay: SocketAddr) -> Facts {
    let vantage = Vantage { name: "berlin".into(), kind: VantageKind::Outside, node: None };
    Facts {
        namespace: "media".to_owned(),
        name: "edge".to_owned(),
        fleet: Fleet {
            relays: vec![plan::Relay {
                name: "edge-1".into(),
                node: "node-1".to_owned(),
                region: "default".into(),
                addresses: vec![relay.ip()],
            }],
            listeners: vec![Listener {
                name: "udp".into(),
                transport: Transport::Udp,
                port: relay.port(),
            }],
            vantages: vec![vantage],
            relay_ports: PortRange { from: 61_000, to: 61_099 },
            min_vantages: 1,
            fail_open: true,
            admitted: std::collections::BTreeSet::new(),
            skewed: std::collections::BTreeSet::new(),
        },
        secret: secret(),
        certificate: None,
        admin: std::collections::BTreeMap::new(),
        agents: [("berlin".to_owned(), secret())].into(),
    }
}

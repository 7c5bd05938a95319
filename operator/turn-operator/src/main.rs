//! `turn-operator`: see [`turn_operator`].

use std::{
    io::{IsTerminal as _, Write as _},
    net::{SocketAddr, TcpListener},
    path::PathBuf,
};

use anyhow::{Context as _, bail};
use clap::{Args, Parser, Subcommand};
use kube::Client;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;
use turn_operator::{
    check,
    health::{self, Health},
    ice_api::{self, IceApi, TlsFiles},
    leader::{self, Election},
    metrics::Metrics,
    reachability::Leading,
    turnserver::{controller, desired::Settings},
};

/// Reconciles TurnServer resources into TURN relays.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Reconcile until SIGTERM.
    Run(Box<Run>),
    /// Print the CustomResourceDefinitions.
    Crd,
    /// Ask an operator whether it is ready, and the API server whether it serves the resources.
    Check {
        /// Host and port of the operator's HTTP port.
        address: String,
    },
}

#[derive(Debug, Args)]
struct Run {
    /// The relay's image, unless a TurnServer names another one.
    #[arg(long, env = "TURNPIKE_RELAY_IMAGE", default_value = concat!("turnpike/relay:", env!("CARGO_PKG_VERSION")))]
    relay_image: String,
    /// The imagePullPolicy of the relays. Absent: what Kubernetes makes of the image's tag.
    #[arg(long, env = "TURNPIKE_RELAY_IMAGE_PULL_POLICY")]
    relay_image_pull_policy: Option<String>,
    /// Where to serve /livez, /readyz and /metrics.
    #[arg(long, env = "TURNPIKE_HTTP_ADDRESS", default_value = "0.0.0.0:8080")]
    http_address: SocketAddr,
    /// Where to serve the ICE-servers API, and agents outside.
    #[arg(long, env = "TURNPIKE_API_ADDRESS", default_value = "0.0.0.0:8443")]
    api_address: SocketAddr,
    /// The certificate of the API in PEM, read again when it changes. Absent: the API is plain HTTP,
    /// for an ingress or a load balancer that does TLS in front of it.
    #[arg(long, env = "TURNPIKE_API_CERTIFICATE", requires = "api_private_key")]
    api_certificate: Option<PathBuf>,
    /// The private key of the API's certificate, in PEM.
    #[arg(long, env = "TURNPIKE_API_PRIVATE_KEY", requires = "api_certificate")]
    api_private_key: Option<PathBuf>,
    /// The name of this operator among its likes.
    #[arg(long, env = "POD_NAME", default_value_t = own_identity())]
    identity: String,
    /// The node that this operator runs on: what it probes there passes no firewall.
    #[arg(long, env = "NODE_NAME")]
    node_name: Option<String>,
    /// The namespace of the Lease. Absent: the namespace of the pod, or of the kubeconfig.
    #[arg(long, env = "POD_NAMESPACE")]
    lease_namespace: Option<String>,
    /// The name of the Lease.
    #[arg(long, default_value = "turnpike-operator")]
    lease_name: String,
}

fn own_identity() -> String {
    format!("turn-operator-{}", std::process::id())
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    match Arguments::parse().command {
        Command::Run(arguments) => run(*arguments).await,
        Command::Crd => print_crds(),
        Command::Check { address } => {
            check::operator_is_ready(&address).await?;
            let client = Client::try_default().await.context("no API server")?;
            Ok(check::resources_are_served(&client).await?)
        }
    }
}

fn print_crds() -> anyhow::Result<()> {
    let text = serde_saphyr::to_string(&turn_api::crd())?;
    Ok(std::io::stdout().write_all(text.as_bytes())?)
}

async fn run(arguments: Run) -> anyhow::Result<()> {
    start_logs();
    let client = Client::try_default().await.context("no API server")?;
    let settings = Settings {
        relay_image: arguments.relay_image,
        relay_image_pull_policy: arguments.relay_image_pull_policy,
    };
    let (metrics, health) = (Metrics::new()?, Health::default());
    let election = Election {
        namespace: arguments
            .lease_namespace
            .unwrap_or_else(|| client.default_namespace().to_owned()),
        lease: arguments.lease_name,
        identity: arguments.identity.clone(),
    };
    let leading = Leading::default();
    let api = IceApi::new(client.clone(), metrics.clone(), leading.clone());
    let tls_files = arguments
        .api_certificate
        .zip(arguments.api_private_key)
        .map(|(certificate, private_key)| TlsFiles { certificate, private_key });
    let api_listener = TcpListener::bind(arguments.api_address)
        .with_context(|| format!("cannot serve on {}", arguments.api_address))?;
    let lead = || {
        let (name, node) = (arguments.identity.clone(), arguments.node_name.clone());
        let identity = controller::Identity { name, node };
        controller::run(
            client.clone(),
            settings.clone(),
            metrics.clone(),
            health.clone(),
            identity,
            leading.clone(),
        )
    };
    let tell = |leading| {
        health.set_connected();
        health.set_leading(leading);
        metrics.set_leader(leading);
    };
    tokio::select! {
        served = health::serve(arguments.http_address, health.clone(), metrics.clone()) => {
            served.with_context(|| format!("cannot serve on {}", arguments.http_address))
        }
        served = ice_api::serve(api_listener, tls_files, api.routes()) => {
            served.context("cannot serve the ICE-servers API")
        }
        () = api.follow(client.clone()) => bail!("the watch of the ICE-servers API has ended"),
        led = leader::run(client.clone(), election, stopped()?, lead, tell) => {
            led.context("the leader election failed")
        }
    }
}

/// Done at SIGTERM or SIGINT.
fn stopped() -> anyhow::Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// Text on a terminal, JSON otherwise.
fn start_logs() {
    let filter = EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| EnvFilter::new("info,kube_runtime=warn"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::io::stderr().is_terminal() {
        logs.init();
    } else {
        logs.json().init();
    }
}

//! Whether an operator works, asked from beside it: what `helm test` runs.

use std::{io, time::Duration};

use kube::Client;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

/// How long the operator may take to answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// What is wrong.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// The operator does not answer.
    #[error("{address} does not answer")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The operator says that it is not ready.
    #[error("{address} answers {answer:?} to GET /readyz")]
    NotReady {
        /// Host and port.
        address: String,
        /// The first line of its answer.
        answer: String,
    },
    /// The API server does not answer.
    #[error("the API server does not list turnpike.dev/v1alpha1")]
    Discovery(#[source] kube::Error),
    /// The resource is not installed.
    #[error("the API server does not serve turnservers.turnpike.dev: apply the CRDs")]
    NotServed,
}

/// Asks the operator at `address` (host and port) whether it is ready.
///
/// # Errors
/// When it does not answer, or says no.
pub async fn operator_is_ready(address: &str) -> Result<(), CheckError> {
    let unreachable = |source| CheckError::Unreachable { address: address.to_owned(), source };
    let asked = timeout(ANSWER_WITHIN, status_line(address)).await;
    let answer = asked.map_err(|_| unreachable(io::ErrorKind::TimedOut.into()))?;
    let answer = answer.map_err(unreachable)?;
    if answer.split(' ').nth(1) == Some("200") {
        Ok(())
    } else {
        Err(CheckError::NotReady { address: address.to_owned(), answer })
    }
}

async fn status_line(address: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect(address).await?;
    let request = format!("GET /readyz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(4096).read_to_end(&mut answer).await?;
    Ok(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
}

/// Asks the API server whether it serves the resources.
///
/// # Errors
/// When it does not answer, or does not serve them.
pub async fn resources_are_served(client: &Client) -> Result<(), CheckError> {
    let listed = client.list_api_group_resources("turnpike.dev/v1alpha1").await;
    let listed = listed.map_err(CheckError::Discovery)?;
    let served = listed.resources.iter().any(|resource| resource.name == "turnservers");
    if served { Ok(()) } else { Err(CheckError::NotServed) }
}

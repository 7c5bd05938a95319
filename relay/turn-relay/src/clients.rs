//! `GET /clients`: what clients have come to, for the operator, who compares relays by it.

use turn_net::{ClientCounts as Counted, Steps};
use turn_probe::clients::{ByTransport, ClientCounts, ListenerClients, Network, NetworkClients};
use turn_proto::{ByTransport as Allocated, ClientNetworks, ClientStep, Transport};

/// What the workers and the ledger have counted, in the words of the operator.
pub(crate) fn clients(counted: &Counted, networks: &ClientNetworks) -> ClientCounts {
    let listeners = counted.0.iter();
    let named = networks.named.iter();
    ClientCounts {
        listeners: listeners.map(|((name, over), steps)| listener(name, *over, steps)).collect(),
        networks: named
            .map(|(first, allocated)| NetworkClients {
                network: Network::of(*first),
                allocated: by_transport(allocated),
            })
            .collect(),
        other_networks: by_transport(&networks.other),
    }
}

fn listener(name: &str, over: Transport, steps: &Steps) -> ListenerClients {
    let count = |step: ClientStep| steps[step as usize];
    ListenerClients {
        name: name.to_owned(),
        transport: match over {
            Transport::Udp => turn_probe::Transport::Udp,
            Transport::Tcp => turn_probe::Transport::Tcp,
            Transport::Tls => turn_probe::Transport::Tls,
            Transport::Dtls => turn_probe::Transport::Dtls,
        },
        bindings: count(ClientStep::Binding),
        challenged: count(ClientStep::Challenged),
        wrong_credentials: count(ClientStep::WrongCredentials),
        refused: count(ClientStep::Refused),
        allocated: count(ClientStep::Allocated),
    }
}

const fn by_transport(allocated: &Allocated) -> ByTransport {
    ByTransport {
        udp: allocated[Transport::Udp as usize],
        tcp: allocated[Transport::Tcp as usize],
        tls: allocated[Transport::Tls as usize],
        dtls: allocated[Transport::Dtls as usize],
    }
}

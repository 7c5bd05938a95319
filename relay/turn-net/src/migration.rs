//! Allocations on their way to the worker that their clients have come to (RFC 8016): the worker
//! that wants one writes to the worker that has it, and gets it with its relayed sockets.

use turn_proto::{Arrival, Move, RelayedId};

use crate::{
    client_path::ClientPath,
    engine::Engine,
    log_budget::log_rarely,
    relayed::RelayedSocket,
    worker::{Control, Source, now},
};

/// A request for an allocation, on its way to the worker that has it.
pub(crate) struct Errand {
    wanted: Move,
    /// Which worker wants it.
    worker: usize,
    /// How that worker reaches the client.
    path: ClientPath,
}

/// What came of it, on its way back.
pub(crate) struct Delivery {
    arrival: Arrival,
    /// In no worker's poll: what comes to them stays in the kernel.
    sockets: Vec<RelayedSocket>,
    path: ClientPath,
}

impl Engine {
    /// Asks for the allocation that a client wants here.
    pub(crate) fn send_for(&mut self, path: ClientPath) {
        while let Some((from, wanted)) = self.server.poll_move() {
            let errand = Errand { wanted, worker: self.desk.index, path };
            self.desk.tell(from, Control::Depart(Box::new(errand)));
        }
    }

    /// Lets an allocation go to another worker, or to another client's path of this one.
    pub(crate) fn depart(&mut self, errand: Errand) {
        let Errand { wanted, worker, path } = errand;
        let arrival = self.server.depart(wanted);
        let gone: Vec<_> = arrival.departed().into_iter().flat_map(|gone| gone.relayed()).collect();
        let sockets = gone.into_iter().filter_map(|relayed| self.release(relayed)).collect();
        let delivery = Delivery { arrival, sockets, path };
        self.desk.tell(worker, Control::Arrive(Box::new(delivery)));
    }

    fn release(&mut self, relayed: RelayedId) -> Option<RelayedSocket> {
        let mut socket = self.relayed.get_mut(relayed.index()).and_then(Option::take)?;
        socket.release(&self.registry);
        self.wait_for_allocation(socket.path);
        Some(socket)
    }

    /// Takes over an allocation, and answers its client.
    pub(crate) fn arrive(&mut self, delivery: Delivery) {
        let Delivery { arrival, sockets, path } = delivery;
        let client = arrival.client();
        let (id, len) = self.server.arrive(now(), arrival, &mut self.answer);
        if let Some(allocation) = id {
            for socket in sockets {
                let relayed = RelayedId { allocation, family: socket.id.family };
                if let Err(error) = self.take_in(socket, relayed, path) {
                    log_rarely!(WARN, %error, "a relayed socket was lost on its way");
                    self.server.handle_stranded(allocation);
                }
            }
            self.has_allocation(path);
        }
        self.answer(path, &client, len);
        self.run_commands(None);
        if !self.is_there(path) {
            self.server.handle_disconnect(&client);
            self.run_commands(None);
        }
    }

    fn take_in(
        &mut self,
        mut socket: RelayedSocket,
        relayed: RelayedId,
        path: ClientPath,
    ) -> std::io::Result<()> {
        let index = relayed.index();
        socket.take_in(&self.registry, Source::Relayed(index).token(), relayed, path)?;
        self.place(socket);
        Ok(())
    }

    fn is_there(&mut self, path: ClientPath) -> bool {
        match path {
            ClientPath::Udp(_) => true,
            ClientPath::Stream(id) => self.connection(id).is_some(),
            ClientPath::Dtls(id) => self.associations.get(id).is_some(),
        }
    }
}

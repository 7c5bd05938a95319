//! Connections to peers on their way from the worker that made them to the one whose client binds
//! them: a client's second connection may come to another worker than its first (RFC 6062).

use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use foldhash::quality::RandomState;
use hashbrown::HashMap;
use mio::{Waker, net::TcpStream};
use turn_proto::PeerConnectionId;

use crate::worker::Control;

/// How a worker is told something.
#[derive(Debug, Clone)]
pub(crate) struct Mailbox {
    pub(crate) control: mpsc::Sender<Control>,
    pub(crate) waker: Arc<Waker>,
}

impl Mailbox {
    pub(crate) fn tell(&self, control: Control) {
        // A worker that has ended does not listen; `Workers::snapshot` says so.
        if self.control.send(control).is_ok() {
            let _woken_later = self.waker.wake();
        }
    }
}

/// Where a connection to a peer is.
#[derive(Debug)]
enum Place {
    /// Nobody has bound it: it is in no worker's poll, and what comes on it stays in the kernel.
    Waiting(TcpStream),
    /// This worker serves it.
    Served(usize),
}

/// The connections to peers that the workers of a relay have, but for those that are being made.
#[derive(Debug)]
pub(crate) struct Handover {
    places: Mutex<HashMap<PeerConnectionId, Place, RandomState>>,
    mailboxes: Vec<Mailbox>,
}

impl Handover {
    pub(crate) fn new(mailboxes: Vec<Mailbox>) -> Self {
        Self { places: Mutex::new(HashMap::default()), mailboxes }
    }

    fn places(&self) -> MutexGuard<'_, HashMap<PeerConnectionId, Place, RandomState>> {
        // Nothing panics while the lock is held; were it so, the table would still be whole.
        self.places.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One worker's place at it.
#[derive(Debug)]
pub(crate) struct Desk {
    pub(crate) handover: Arc<Handover>,
    /// Which worker.
    pub(crate) index: usize,
}

impl Desk {
    /// Tells a worker something.
    pub(crate) fn tell(&self, worker: usize, control: Control) {
        if let Some(mailbox) = self.handover.mailboxes.get(worker) {
            mailbox.tell(control);
        }
    }

    /// Lays a connection down for whichever worker asks for it.
    pub(crate) fn lay_down(&self, id: PeerConnectionId, stream: TcpStream) {
        self.handover.places().insert(id, Place::Waiting(stream));
    }

    /// Takes a connection up, to be served here. `None` when its allocation has ended meanwhile.
    pub(crate) fn take_up(&self, id: PeerConnectionId) -> Option<TcpStream> {
        let mut places = self.handover.places();
        let place = places.get_mut(&id)?;
        match std::mem::replace(place, Place::Served(self.index)) {
            Place::Waiting(stream) => Some(stream),
            served @ Place::Served(_) => {
                *place = served;
                None
            }
        }
    }

    /// Closes a connection that nobody serves, and has it closed by whoever serves it otherwise.
    pub(crate) fn close(&self, id: PeerConnectionId) {
        let place = self.handover.places().remove(&id);
        if let Some(Place::Served(worker)) = place {
            self.tell(worker, Control::CloseConnection(id));
        }
    }

    /// Forgets a connection that was served here and has ended.
    pub(crate) fn forget(&self, id: PeerConnectionId) {
        self.handover.places().remove(&id);
    }
}
